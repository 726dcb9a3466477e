"""Where files arrive: a folder of this machine, or the same in a bucket; both answer the same questions.

`<landing>/<source>/FILE` is where a shop puts a file; `done/` and `rejected/` beside the sources are where it goes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from shoplake import arrivals
from shoplake.arrivals import DONE, REASON_SUFFIX, REJECTED, candidate_names, clean_name, is_temporary
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import (
    NEW,
    StoredObject,
    delete_object,
    find_object,
    list_folder,
    list_objects,
    move_object,
    write_object,
)
from shoplake.lake.files import fetch_file
from shoplake.settings import Settings
from shoplake.sources.records import file_sha256, unreadable


class Arrived(Protocol):
    """One thing in the landing place, as it was when it was looked at; see `shoplake.arrivals.Arrival`."""

    @property
    def folder(self) -> str | None:
        """The name of the folder in which it lies; None directly in the landing place."""

    @property
    def is_file(self) -> bool:
        """Whether it can be read as a file."""

    @property
    def byte_count(self) -> int:
        """Its size."""

    @property
    def changed_ns(self) -> int:
        """When it last changed, nanoseconds since 1970."""

    @property
    def name(self) -> str:
        """Its name, printable and short."""

    @property
    def label(self) -> str:
        """Folder and name, for a person to read."""


Arrival = TypeVar("Arrival", bound=Arrived)


class Landing(Protocol[Arrival]):
    """The landing place."""

    @property
    def place(self) -> str:
        """Its address."""

    def prepare(self, sources: Sequence[str]) -> None:
        """Make a folder for each source, where folders are made."""

    def find(self) -> Sequence[Arrival]:
        """Give what lies there, the oldest first."""

    def is_settled(self, arrived: Arrival) -> bool:
        """Tell whether it is whole."""

    def fetch(self, arrived: Arrival) -> AbstractContextManager[Path | None]:
        """Give a file of this machine with its bytes, for a block; None where it changed since it was found."""

    def read_hash(self, arrived: Arrival, path: Path) -> str | None:
        """Give the SHA-256 (hex) of what was found, which `fetch` gave the path of; None where it is another now.

        Raises:
            SourceError: it cannot be read.
        """

    def is_unchanged(self, arrived: Arrival) -> bool:
        """Tell whether it still lies there as it was when it was found."""

    def move_to_done(self, arrived: Arrival, sha256: str) -> str | None:
        """Move it to `done/<source>/`; None if another has taken its place, which then stays."""

    def set_aside(self, arrived: Arrival, reason: str, sha256: str) -> str | None:
        """Move it to `rejected/<source>/`, with its reason beside it; None as in move_to_done."""


def open_landing(settings: Settings, lake: Lake) -> Landing[Any]:
    """Give the landing place that lies where the lake lies."""
    if lake.is_local:
        return LandingFolder(settings.landing_path, settings.sources.landing_settle)
    return LandingBucket(settings.landing_root, lake)


@dataclass(frozen=True)
class LandingFolder:
    """A folder of this machine; `settle` is how many seconds a file must be left untouched."""

    path: Path
    settle: float

    @property
    def place(self) -> str:
        """See Landing."""
        return str(self.path)

    def prepare(self, sources: Sequence[str]) -> None:
        """See Landing."""
        for source in sources:
            (self.path / source).mkdir(parents=True, exist_ok=True)

    def find(self) -> Sequence[arrivals.Arrival]:
        """See Landing."""
        return arrivals.find_arrivals(self.path)

    def is_settled(self, arrived: arrivals.Arrival) -> bool:
        """See Landing."""
        return arrivals.is_settled(arrived, self.settle)

    @contextmanager
    def fetch(self, arrived: arrivals.Arrival) -> Iterator[Path | None]:
        """See Landing."""
        yield arrived.path

    def read_hash(self, arrived: arrivals.Arrival, path: Path) -> str | None:
        """See Landing: of the file itself, whatever its path leads to by now."""
        try:
            file = arrivals.open_arrival(arrived)
            if file is None:
                return None
            with file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from error

    def is_unchanged(self, arrived: arrivals.Arrival) -> bool:
        """See Landing."""
        return arrivals.is_unchanged(arrived)

    def move_to_done(self, arrived: arrivals.Arrival, sha256: str) -> str | None:
        """See Landing."""
        moved = arrivals.move_to_done(arrived, self.path, sha256)
        return str(moved) if moved else None

    def set_aside(self, arrived: arrivals.Arrival, reason: str, sha256: str) -> str | None:
        """See Landing."""
        moved = arrivals.set_aside(arrived, self.path, reason, sha256)
        return str(moved) if moved else None


@dataclass(frozen=True)
class ArrivedObject:
    """An object of the landing place; it is there whole or not at all."""

    stored: StoredObject
    folder: str | None
    raw_name: str
    is_file: bool = True

    @property
    def byte_count(self) -> int:
        """See Arrived."""
        return self.stored.byte_count

    @property
    def changed_ns(self) -> int:
        """See Arrived."""
        return int(self.stored.updated_at.timestamp() * 1_000_000) * 1000

    @property
    def name(self) -> str:
        """See Arrived; what lies deeper has its folders in the name."""
        return clean_name(self.raw_name.replace("/", "_"))

    @property
    def label(self) -> str:
        """See Arrived."""
        return f"{clean_name(self.folder)}/{self.name}" if self.folder else self.name


@dataclass(frozen=True)
class LandingBucket:
    """A folder of a bucket; what moves is the generation that was found, and nothing is overwritten."""

    place: str
    lake: Lake

    def prepare(self, sources: Sequence[str]) -> None:
        """See Landing: a bucket has no folders."""

    def find(self) -> Sequence[ArrivedObject]:
        """See Landing; `done/` and `rejected/` are not listed, however much lies there."""
        objects, folders = list_folder(self.lake, f"{self.place}/")
        found = [ArrivedObject(stored, None, _below(stored, f"{self.place}/")) for stored in objects]
        for folder in folders:
            if folder not in (DONE, REJECTED):
                top = f"{self.place}/{folder}/"
                found += [ArrivedObject(stored, folder, _below(stored, top)) for stored in list_objects(self.lake, top)]
        # A name that ends with a slash is a console's sign of an empty folder.
        visible = (one for one in found if one.raw_name and not one.raw_name.startswith(".")
                   and not one.raw_name.endswith("/"))
        return sorted(visible, key=lambda one: (one.changed_ns, one.stored.address))

    def is_settled(self, arrived: ArrivedObject) -> bool:
        """See Landing."""
        return not is_temporary(arrived.raw_name)

    def fetch(self, arrived: ArrivedObject) -> AbstractContextManager[Path | None]:
        """See Landing."""
        return fetch_file(self.lake, arrived.stored)

    def read_hash(self, arrived: ArrivedObject, path: Path) -> str:
        """See Landing."""
        return file_sha256(path)

    def is_unchanged(self, arrived: ArrivedObject) -> bool:
        """See Landing."""
        stored = arrived.stored
        return find_object(self.lake, stored.address) == stored

    def move_to_done(self, arrived: ArrivedObject, sha256: str) -> str | None:
        """See Landing."""
        folder = f"{self.place}/{DONE}/{clean_name(arrived.folder or '')}".rstrip("/")
        for name in candidate_names(arrived.name, sha256):
            target = f"{folder}/{name}"
            if move_object(self.lake, arrived.stored, target):
                return target
            if not self.is_unchanged(arrived):
                break
        return None

    def set_aside(self, arrived: ArrivedObject, reason: str, sha256: str) -> str | None:
        """See Landing; the reason is written first, so nothing lies there without one."""
        folder = f"{self.place}/{REJECTED}/{clean_name(arrived.folder or '')}".rstrip("/")
        for name in candidate_names(arrived.name, sha256):
            target = f"{folder}/{name}"
            text = write_object(self.lake, target + REASON_SUFFIX, f"{reason}\n".encode("utf-8", "backslashreplace"),
                                NEW, "text/plain; charset=utf-8")
            if text is None:
                continue
            if move_object(self.lake, arrived.stored, target):
                return target
            delete_object(self.lake, text.address, text.generation)
            if not self.is_unchanged(arrived):
                break
        return None


def _below(stored: StoredObject, top: str) -> str:
    return stored.address.removeprefix(top)
