"""The lake's secret key, the keys for single purposes that are made from it, and the folder where such things lie.

What lies there is the owner's alone, and never below the lake: who may write to the lake must not read it.
"""

import hmac
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from shoplake.errors import ConfigError
from shoplake.lake.secrets import read_secret
from shoplake.settings import Settings

KEY_BYTES = 32
VARIABLE = "SHOPLAKE_GOVERNANCE__KEY"
NEXT_VARIABLE = "SHOPLAKE_GOVERNANCE__NEXT_KEY"
_NEXT = "next.key"
BOOKMARK = "audit-*.json"  # the names of files that say where a log ends which was written with the key
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def purpose_key(settings: Settings, purpose: str, master_key: bytes | None = None) -> bytes:
    """Give the 32 bytes of a key for one purpose: of the setting, or of the data folder's key, made at its first use.

    Args:
        master_key: another one to make it from.

    Raises:
        ConfigError: the setting is no key; there is none, and the profile is not local, or something was written with
            one that is gone; others may read its file.
    """
    return hmac.digest(master_key or _master_key(settings), purpose.encode(), sha256)


def has_key(settings: Settings) -> bool:
    """Tell whether there is a key already."""
    governance = settings.governance
    return bool(governance.key.get_secret_value() or governance.key_secret) or _key_file(settings).exists()


def next_key(settings: Settings) -> bytes:
    """Give the master key that shall take the place of the present one: governance.next_key, or one that is made here.

    What was made stays until `take_next_key`, so that a rotation that was killed goes on with the same.

    Raises:
        ConfigError: the present key is in the environment, and the next one is not.
    """
    if text := settings.governance.next_key.get_secret_value():
        return _parse(text, NEXT_VARIABLE)
    if settings.governance.key.get_secret_value() or settings.governance.key_secret:
        raise ConfigError(f"the lake's key is not in the folder of keys: the one that shall take its place must be in "
                          f"{NEXT_VARIABLE}")
    file = _key_file(settings).with_name(_NEXT)
    if not file.exists():
        write_private(file, secrets.token_hex(KEY_BYTES).encode(), replace=False)
    return _read(file)


def take_next_key(settings: Settings) -> None:
    """Put the next master key in the place of the present one, where both are in the folder of keys."""
    file = _key_file(settings).with_name(_NEXT)
    if file.exists():
        os.replace(file, _key_file(settings))


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
    if folder.exists() and folder.stat().st_mode & _OTHERS_WRITE:
        raise ConfigError(f"others than its owner may write to {folder}, where secrets lie. Run: chmod 700 {folder}")
    return folder


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
    finally:
        Path(name).unlink(missing_ok=True)


def _key_file(settings: Settings) -> Path:
    return key_folder(settings) / "governance.key"


def _master_key(settings: Settings) -> bytes:
    if text := settings.governance.key.get_secret_value():
        return _parse(text, VARIABLE)
    if name := settings.governance.key_secret:
        told = read_secret(settings.gcp.project_id, name, settings.gcp.secret_endpoint)
        return _parse(told.get("key", ""), f"the secret {name} of Secret Manager")
    file = _key_file(settings)
    if not file.exists():
        if settings.profile != "local":
            raise ConfigError(f"the profile {settings.profile} needs the lake's key, in {VARIABLE} or in the secret "
                              "that governance.key_secret names. Make one, once: python -c \"import secrets; "
                              f"print(secrets.token_hex({KEY_BYTES}))\"")
        if any(file.parent.glob(BOOKMARK)):
            raise ConfigError(f"{file} is gone, and a log was written with it. Put it back; if it is lost, go on with: "
                              "python utils/verify_audit.py --set-aside 'the key is lost'")
        write_private(file, secrets.token_hex(KEY_BYTES).encode(), replace=False)
    return _read(file)


def _read(file: Path) -> bytes:
    if file.stat().st_mode & _OTHERS:
        raise ConfigError(f"others than its owner may read {file}, which is a secret. Run: chmod 600 {file}")
    return _parse(file.read_text(errors="replace"), str(file))


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where} is no key: {2 * KEY_BYTES} hexadecimal digits are needed. Put back the one that "
                          "the lake was begun with: another one does not fit what that one wrote")
    return key
