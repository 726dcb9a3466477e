"""Whole files that name a person: untouched copies in the lake, and what lies where files arrive.

A file that names the person goes as a whole, where bronze has all of its records. The others are told.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shoplake.arrivals import DONE
from shoplake.errors import ConfigError, SourceError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import delete_object, list_objects
from shoplake.lake.data_keys import DataKeys
from shoplake.lake.files import KEPT_RATES, fetch_file
from shoplake.lake.locks import LANDING, hold_lock
from shoplake.lake.sealed_files import file_owner, open_sealed
from shoplake.settings import Settings
from shoplake.sources import list_sources, open_source
from shoplake.sources.records import SourceRecord

_LONGEST_LINE = 2**20


@dataclass(frozen=True)
class ErasedFiles:
    """Addresses of files: those that were deleted; others that name the user; those that do not tell for certain."""

    deleted: tuple[str, ...]
    left: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """A file: where it is, how its clear bytes are read, how it is deleted."""

    address: str
    read: Callable[[], AbstractContextManager[Path | None]]
    delete: Callable[[], object]


def erase_files(lake: Lake, settings: Settings, data_keys: DataKeys, user: str) -> ErasedFiles:
    """Delete the lake's copies that name a user, and the files that were taken in and lie in `done/`.

    What waits to be taken in, or was rejected, lies nowhere else: it is left, and told.

    Raises:
        LockError: files that have arrived are being taken in for longer than `lake.lock_timeout`.
    """
    found: dict[str, list[str]] = {"deleted": [], "left": [], "unread": []}
    with hold_lock(lake, LANDING, settings.lake.lock_timeout):
        for file in (*_list_copies(lake, data_keys), *_list_below(lake, settings.landing_root)):
            names_him = _names_user(file, settings, user)
            if names_him and _is_elsewhere(file.address, lake, settings):
                file.delete()
                found["deleted"].append(file.address)
            elif names_him:
                found["left"].append(file.address)
            elif names_him is None:
                found["unread"].append(file.address)
    return ErasedFiles(tuple(found["deleted"]), tuple(found["left"]), tuple(found["unread"]))


def names_user(content: bytes, user: str) -> bool | None:
    """Tell whether a text holds a user's id as a word of its own: not as a part of a longer name or address.

    An id of digits alone may be any number: where it is neither the whole text nor the value of `user_id`, the answer
    is None.
    """
    text = content.decode(errors="replace")
    before, after = r"(?<![\w@+-])(?<!\w\.)", r"(?![\w@+-]|\.\w)"
    if not re.search(before + re.escape(user) + after, text):
        return False
    if not user.isdecimal() or text == user or re.search(rf'"user_id"\s*:\s*"?{user}(?!\w|\.\w)', text):
        return True
    return None


def _is_elsewhere(address: str, lake: Lake, settings: Settings) -> bool:
    """Tell whether what a file holds is in bronze: of a copy, and of what was taken in."""
    return address.startswith((f"{lake.kept_folder}/", f"{settings.landing_root}/{DONE}/"))


def _names_user(file: _File, settings: Settings, user: str) -> bool | None:
    """Tell whether a file names a user; None where it, or a line of it with their number, cannot be read."""
    try:
        with file.read() as path:
            if path is None:
                return None
            with path.open("rb") as lines:
                if any(names_user(line, user) for line in iter(lambda: lines.readline(_LONGEST_LINE), b"")):
                    return True
            source = next((part for part in reversed(file.address.split("/")) if part in list_sources(settings)), None)
            if source is None:
                return None
            is_unsure = False
            for record in open_source(path, source, settings):
                names_him = _record_names_user(record, user)
                if names_him:
                    return True
                is_unsure |= names_him is None
            return None if is_unsure else False
    except (SourceError, ConfigError, StorageError, OSError):
        return None


def _record_names_user(record: SourceRecord, user: str) -> bool | None:
    said = {names_user(text, user) for text in (record.key, record.value) if text}
    if True in said:
        return True
    # Who is told by a record that can be read is its key: another number in it is something else.
    return None if None in said and record.key is None else False


def _list_copies(lake: Lake, data_keys: DataKeys) -> Iterator[_File]:
    for file in _list_below(lake, lake.kept_folder):
        source, sha256 = file.address.split("/")[-2:]
        if source == KEPT_RATES:
            continue
        key = data_keys.find_owner(file_owner(sha256))
        if key is not None and key.key is None:  # a killed run has destroyed its key
            file.delete()
            continue

        def delete_copy(sha256: str = sha256, file: _File = file) -> None:
            data_keys.destroy(file_owner(sha256))
            file.delete()

        yield _File(file.address, partial(open_sealed, file.address, sha256, lake, data_keys), delete_copy)


def _list_below(lake: Lake, place: str) -> Iterator[_File]:
    if lake.is_local:
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield _File(str(path), partial(nullcontext, path), path.unlink)
        return
    for stored in list_objects(lake, f"{place}/"):
        yield _File(stored.address, partial(fetch_file, lake, stored),
                    partial(delete_object, lake, stored.address, stored.generation))
