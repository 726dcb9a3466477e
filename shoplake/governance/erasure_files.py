"""Whole files that name a person: untouched copies in the lake, and what lies where files arrive.

A file that names the person goes as a whole. The copy in the lake is there besides the rows in bronze, which stay with
all others' records.
"""

import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from shoplake.errors import ConfigError, SourceError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import delete_object, list_objects
from shoplake.lake.data_keys import DataKeys
from shoplake.lake.files import fetch_file
from shoplake.lake.sealed_files import file_owner, open_sealed
from shoplake.settings import Settings
from shoplake.sources import list_sources, open_source

_COPIES = "bronze/files"
_NOT_OF_RECORDS = ("exchange_rates",)


@dataclass(frozen=True)
class ErasedFiles:
    """Addresses of files: those that were deleted, and those that could not be looked into."""

    deleted: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """A file: where it is, how its clear bytes are read, how it is deleted."""

    address: str
    read: Callable[[], AbstractContextManager[Path | None]]
    delete: Callable[[], object]


def erase_files(lake: Lake, settings: Settings, data_keys: DataKeys, user: str) -> ErasedFiles:
    """Delete every file in which a user is named, of the lake's copies and of the landing place."""
    deleted, unread = [], []
    for file in (*_list_copies(lake, data_keys), *_list_landed(lake, settings)):
        names_him = _names_user(file, settings, user)
        if names_him:
            file.delete()
            deleted.append(file.address)
        elif names_him is None:
            unread.append(file.address)
    return ErasedFiles(tuple(deleted), tuple(unread))


def names_user(text: "bytes | mmap.mmap", user: str) -> bool:
    """Tell whether bytes hold a user's id as a word of its own."""
    word = rb"(?<![0-9A-Za-z_-])" + re.escape(user.encode()) + rb"(?![0-9A-Za-z_-])"
    return re.search(word, text) is not None


def _names_user(file: _File, settings: Settings, user: str) -> bool | None:
    """Tell whether a file names a user; None where it cannot be read."""
    try:
        with file.read() as path:
            if path is None or path.stat().st_size == 0:
                return False
            with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
                if names_user(text, user):
                    return True
            source = next((part for part in reversed(file.address.split("/")) if part in list_sources(settings)), None)
            if source is None:
                return None
            return any(names_user(text, user) for record in open_source(path, source, settings)
                       for text in (record.key, record.value) if text)
    except (SourceError, ConfigError, StorageError):
        return None


def _list_copies(lake: Lake, data_keys: DataKeys) -> Iterator[_File]:
    for address, delete in _list_below(lake, f"{lake.root}/{_COPIES}"):
        source, sha256 = address.split("/")[-2:]
        if source in _NOT_OF_RECORDS:
            continue
        key = data_keys.find_owner(file_owner(sha256))
        if key is not None and key.key is None:  # a killed run has destroyed its key
            delete()
            continue

        def delete_copy(sha256: str = sha256, delete: Callable[[], object] = delete) -> None:
            data_keys.destroy(file_owner(sha256))
            delete()

        yield _File(address, lambda address=address, sha256=sha256: open_sealed(  # type: ignore[misc]
            address, sha256, lake, data_keys), delete_copy)


def _list_landed(lake: Lake, settings: Settings) -> Iterator[_File]:
    if lake.is_local:
        for address, delete in _list_below(lake, settings.landing_root):
            yield _File(address, lambda address=address: nullcontext(Path(address)), delete)  # type: ignore[misc]
        return
    for stored in list_objects(lake, f"{settings.landing_root}/"):
        yield _File(stored.address, lambda stored=stored: fetch_file(lake, stored),  # type: ignore[misc]
                    lambda stored=stored: delete_object(lake, stored.address, stored.generation))  # type: ignore[misc]


def _list_below(lake: Lake, place: str) -> Iterator[tuple[str, Callable[[], object]]]:
    if lake.is_local:
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.unlink
        return
    for stored in list_objects(lake, f"{place}/"):
        yield stored.address, lambda stored=stored: delete_object(  # type: ignore[misc]
            lake, stored.address, stored.generation)
