"""Untouched copies of files of records, encrypted in the lake, each with a data key of its own.

A file is encrypted in pieces of a mebibyte. Each is bound to the file, to its number, and to whether it is the last, so
none can be left out, doubled or put elsewhere.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag

from shoplake.errors import StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import find_object, upload_file
from shoplake.lake.data_keys import DAY, DataKeys, decrypt, encrypt
from shoplake.lake.files import KeptFile, keep_file, open_file
from shoplake.sources import file_sha256
from shoplake.sources.records import open_regular

LOG = logging.getLogger("shoplake.files")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 2**20
_OVERHEAD = 28  # a nonce and a tag


@contextmanager
def keep_sealed(
    path: Path, lake: Lake, source: str, data_keys: DataKeys | None, expected: str | None = None,
) -> Iterator[KeptFile]:
    """Keep an encrypted copy of a file in the lake, and give a file to read for the block, which nobody changes.

    One that is there already is left alone.

    Args:
        data_keys: the lake's; None keeps the copy in the clear.
        expected: the SHA-256 of the file that is meant; of another one no copy stays in the lake.
    """
    if data_keys is None:
        yield keep_file(path, lake, source, expected)
        return
    with tempfile.TemporaryDirectory(prefix="shoplake-") as folder:
        copy = Path(folder) / "copy"
        with open_regular(path) as original, copy.open("wb") as target:
            shutil.copyfileobj(original, target)
        sha256 = file_sha256(copy)
        is_meant = expected in (None, sha256)
        yield KeptFile(copy, sha256, _keep(copy, sha256, lake, source, data_keys) if is_meant else 0)


@contextmanager
def open_sealed(address: str, sha256: str, lake: Lake, data_keys: DataKeys) -> Iterator[Path]:
    """Give a file with the bytes of a kept copy, for the block.

    Raises:
        StorageError: its key was destroyed or is not here, or it is not what was encrypted.
    """
    data_key = data_keys.find_owner(file_owner(sha256))
    if data_key is None or data_key.key is None:
        raise StorageError(f"the copy {address} cannot be opened: its key was destroyed")
    with tempfile.TemporaryDirectory(prefix="shoplake-") as folder, open_file(lake, address) as sealed:
        clear = Path(folder) / "copy"
        _decrypt(sealed, clear, data_key.key, sha256)
        yield clear


@contextmanager
def open_original(address: str, lake: Lake, data_keys: DataKeys | None) -> Iterator[Path]:
    """Give a file as `open_file` does; of one of the lake's encrypted copies, its clear bytes.

    Raises:
        SourceError: there is no such object.
        StorageError: it is a copy that cannot be opened.
    """
    sha256 = address.rsplit("/", 1)[-1]
    if data_keys is not None and _SHA256.fullmatch(sha256) and data_keys.find_owner(file_owner(sha256)):
        with open_sealed(address, sha256, lake, data_keys) as clear:
            yield clear
    else:
        with open_file(lake, address) as path:
            yield path


def file_owner(sha256: str) -> str:
    """Give the owner of a kept file's data key."""
    return f"{DAY}file {sha256}"


def _keep(copy: Path, sha256: str, lake: Lake, source: str, data_keys: DataKeys) -> int:
    """Encrypt a file into the lake; give when its copy was made, in milliseconds."""
    address = f"{lake.kept_files(source)}/{sha256}"
    owner = file_owner(sha256)
    key = data_keys.find_or_make([owner])[owner].key
    if key is None:
        LOG.warning("the copy of the file %s was erased with a user whom it names: another one is not kept", sha256)
        return time.time_ns() // 1_000_000
    sealed = copy.with_name("sealed")
    if not lake.is_local:
        stored = find_object(lake, address)
        if stored is None:
            _encrypt(copy, sealed, key, sha256)
            stored = upload_file(lake, sealed, address) or find_object(lake, address)
        if stored is None:
            raise StorageError(f"{address} was deleted at the same moment; run the command again")
        return int(stored.updated_at.timestamp() * 1000)
    kept = Path(address)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".") as partial:
            _encrypt(copy, Path(partial.name), key, sha256)
            if not kept.exists():
                os.link(partial.name, kept)
    return kept.stat().st_mtime_ns // 1_000_000


def _encrypt(clear: Path, sealed: Path, key: bytes, sha256: str) -> None:
    with clear.open("rb") as source, sealed.open("wb") as target:
        for piece, place in _pieces(source, _PIECE, sha256):
            target.write(encrypt(key, piece, place))


def _decrypt(sealed: Path, clear: Path, key: bytes, sha256: str) -> None:
    try:
        with sealed.open("rb") as source, clear.open("wb") as target:
            for piece, place in _pieces(source, _PIECE + _OVERHEAD, sha256):
                target.write(decrypt(key, piece, place))
    except (InvalidTag, ValueError) as error:
        raise StorageError(f"the copy of the file {sha256} is not what was encrypted: it was cut short or "
                           "changed") from error


def _pieces(source: IO[bytes], size: int, sha256: str) -> Iterator[tuple[bytes, bytes]]:
    """Give a file's pieces, of an empty one a piece of no bytes, each with what it is bound to."""
    piece, number = source.read(size), 0
    while following := source.read(size):
        yield piece, f"{sha256}/{number}/more".encode()
        piece, number = following, number + 1
    yield piece, f"{sha256}/{number}/last".encode()
