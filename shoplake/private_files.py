"""Secrets in files: the folder where they lie, and how they are made, written and read.

What lies there is the owner's alone, and never below the lake: who may write to the lake must not read it.
"""

import base64
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from shoplake.errors import ConfigError
from shoplake.settings import Settings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def key_folder(settings: Settings) -> Path:
    """Give the folder of what is the owner's alone.

    Raises:
        ConfigError: it lies below the lake, or others may write there.
    """
    folder = (settings.data_path / "keys").resolve()
    root = Path(settings.lake_root).resolve()
    if "://" not in settings.lake_root and root in (folder, *folder.parents):
        raise ConfigError(f"the folder of the keys, {folder}, lies below the lake {root}: who may write there could "
                          "read the lake's key. Set lake.root (SHOPLAKE_LAKE__ROOT) to a folder of its own")
    _refuse_open(folder)
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; its parent is there, or is made so too.

    Raises:
        ConfigError: others may write there.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
        _refuse_open(one)


def _refuse_open(folder: Path) -> None:
    if folder.exists() and folder.stat().st_mode & _OTHERS_WRITE:
        raise ConfigError(f"others than its owner may write to {folder}, where secrets lie. Run: chmod 700 {folder}")


def write_private(file: Path, content: bytes, *, replace: bool) -> None:
    """Write a file that only its owner may read, whole or not at all; without `replace` one that is there stays."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # its mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as made:
            made.write(content)
            made.flush()
            os.fsync(made.fileno())
        if replace:
            os.replace(name, file)
        else:
            with suppress(FileExistsError):  # another process was first
                os.link(name, file)
        _sync(file.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def delete_private(file: Path) -> None:
    """Delete a file, for good when this returns; one that is gone is fine."""
    file.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    """Make a folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(file: Path) -> TextIO:
    """Open a text file to write it, which only its owner may read: one that is not there yet, or is empty.

    An empty one is what a run leaves that dies before it has something to write.

    Raises:
        ConfigError: it is there, or its folder is not, or nothing may be written there.
    """
    try:
        if file.is_file() and not file.is_symlink() and not file.stat().st_size:
            file.unlink()
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        raise ConfigError(f"{file} cannot be made: {error.strerror}; name a file that does not exist yet") from error


def read_private(file: Path) -> str:
    """Read a file that only its owner may read.

    Raises:
        ConfigError: others may read it too.
    """
    if file.stat().st_mode & _OTHERS:
        raise ConfigError(f"others than its owner may read {file}, which is a secret. Run: chmod 600 {file}")
    return file.read_text(errors="replace")


def keep_secret(settings: Settings, name: str, size: int) -> Path:
    """Give the file of a secret in the folder of the keys; the first time it is made, of `size` random bytes.

    It holds them as base64 for addresses, padded, which Fernet takes for a key if they are 32.

    Raises:
        ConfigError: see key_folder and read_private.
    """
    file = key_folder(settings) / name
    if not file.exists():
        write_private(file, base64.urlsafe_b64encode(secrets.token_bytes(size)), replace=False)
    read_private(file)
    return file
