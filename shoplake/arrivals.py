"""Files in the landing folder: which of them are whole, and how they leave it.

`<landing>/<source>/FILE` is where a shop puts a file; `done/` and `rejected/` beside the sources are where it goes.
What lies there was named and put by others: no link is followed, no name is trusted, nothing is overwritten.
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import count
from pathlib import Path

LOG = logging.getLogger("shoplake.arrivals")
DONE = "done"
REJECTED = "rejected"
REASON_SUFFIX = ".reason.txt"
# What browsers and copy programs call a file that they have not finished.
TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".filepart", ".crdownload", "~")
# A file system takes 255; a hash and the suffix of the reason must find room.
MAX_NAME_BYTES = 180
_TAG_LENGTH = 12


@dataclass(frozen=True)
class Arrival:
    """One thing in the landing folder, as it was when it was looked at.

    Attributes:
        folder: the name of the folder in which it lies; None directly in the landing folder.
        is_file: a regular file: no link, folder or pipe.
        byte_count: its size.
        changed_ns: when its content, name or rights last changed, nanoseconds since 1970; unlike the time of
            modification nobody can set it, so copying programs that keep old times do not make a file look old.
    """

    path: Path
    folder: str | None
    is_file: bool
    byte_count: int
    changed_ns: int
    _inode: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Its name, printable and short."""
        return clean_name(self.path.name)

    @property
    def label(self) -> str:
        """Folder and name, for a person to read."""
        return f"{clean_name(self.folder)}/{self.name}" if self.folder else self.name


def find_arrivals(landing: Path) -> list[Arrival]:
    """Give what lies in the landing folder and its sources' folders, the oldest first.

    Names that begin with a dot are nobody's business; a landing folder that is not there is empty. A folder in it that
    cannot be read is passed over with a warning, so that it does not stop the others.

    Raises:
        OSError: the landing folder itself cannot be read.
    """
    found = []
    for path in _visible(landing):
        if path.is_dir() and not path.is_symlink():
            if path.name not in (DONE, REJECTED):
                found += _look_into(path)
        else:
            found.append(_look(path, None))
    return sorted(filter(None, found), key=lambda arrival: (arrival.changed_ns, os.fsencode(arrival.path)))


def _look_into(folder: Path) -> list[Arrival | None]:
    try:
        return [_look(path, folder.name) for path in _visible(folder)]
    except OSError as error:
        LOG.warning("the folder %s in the landing folder is passed over, it cannot be read: %s",
                    clean_name(folder.name), error.strerror)
        return []


def _visible(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return


def _look(path: Path, folder: str | None) -> Arrival | None:
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return None
    return Arrival(path, folder, stat.S_ISREG(seen.st_mode), seen.st_size, seen.st_ctime_ns,
                   (seen.st_dev, seen.st_ino, seen.st_mtime_ns))


def is_settled(arrival: Arrival, settle_seconds: float) -> bool:
    """Tell whether it is whole: of no temporary name, and untouched for so many seconds."""
    if is_temporary(arrival.path.name):
        return False
    return time.time_ns() - arrival.changed_ns >= settle_seconds * 1e9


def is_temporary(name: str) -> bool:
    """Tell whether a program calls a file so that it has not finished."""
    return name.lower().endswith(TEMPORARY_SUFFIXES)


def is_unchanged(arrival: Arrival) -> bool:
    """Tell whether it still lies there as it was when it was found: the same file, not written to or replaced."""
    return _look(arrival.path, arrival.folder) == arrival


def open_arrival(arrival: Arrival) -> BufferedReader | None:
    """Open the file that was found; None where something else lies there now, be it a link to a file of ours."""
    try:
        handle = os.open(arrival.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if is_unchanged(arrival):
            raise
        LOG.warning("%s is another now: %s", arrival.label, error.strerror)
        return None
    file = open(handle, "rb")  # noqa: SIM115 - the caller closes it
    seen = os.fstat(handle)
    if stat.S_ISREG(seen.st_mode) and (seen.st_dev, seen.st_ino, seen.st_mtime_ns) == arrival._inode:
        return file
    file.close()
    return None


def clean_name(name: str) -> str:
    """Give a name that can be printed, stored and used as a file's name: at most MAX_NAME_BYTES of UTF-8."""
    text = make_printable(os.fsencode(name).decode("utf-8", "replace"))
    if len(text.encode()) <= MAX_NAME_BYTES:
        return text
    stem, dot, suffix = text.rpartition(".")
    ending = f"{dot}{suffix}" if stem and len(suffix.encode()) <= _TAG_LENGTH else ""
    return text.encode()[:MAX_NAME_BYTES - len(ending.encode())].decode("utf-8", "ignore") + ending


def make_printable(text: str) -> str:
    """Replace line breaks, control characters and marks that turn the reading direction."""
    return "".join(character if character.isprintable() else "_" for character in text)


def move_to_done(arrival: Arrival, landing: Path, sha256: str) -> Path | None:
    """Move a file that was taken in to `done/<source>/`; None if another has taken its place, which then stays."""
    folder = _make_folder(landing, DONE, arrival)
    places = (folder / name for name in candidate_names(arrival.name, sha256))
    return _move(arrival, next(place for place in places if _is_free(place)))


def set_aside(arrival: Arrival, landing: Path, reason: str, sha256: str = "") -> Path | None:
    """Move a thing that cannot be taken in to `rejected/<source>/`, with `<name>.reason.txt` beside it.

    The reason is written first, so nothing lies there without one. None if another thing has taken its place, which
    then stays.
    """
    folder = _make_folder(landing, REJECTED, arrival)
    places = (folder / name for name in candidate_names(arrival.name, sha256))
    place = next(place for place in places if _is_free(place) and _is_free(_reason_of(place)))
    if not is_unchanged(arrival):
        return None
    with _reason_of(place).open("x", encoding="utf-8", errors="backslashreplace") as text:  # through no link
        text.write(f"{reason}\n")
    moved = _move(arrival, place)
    if moved is None:
        _reason_of(place).unlink()
    return moved


def _make_folder(landing: Path, name: str, arrival: Arrival) -> Path:
    """Make `done/<source>/` or `rejected/<source>/`.

    Raises:
        OSError: one of the two leads elsewhere: who may put files here could write there with our rights.
    """
    folder = landing / name
    for one in (folder, folder / clean_name(arrival.folder or "")):
        one.mkdir(parents=True, exist_ok=True)
        if one.is_symlink():
            raise OSError(errno.ELOOP, "a folder of the landing place is a link; remove it", str(one))
    return one


def _reason_of(path: Path) -> Path:
    return path.with_name(path.name + REASON_SUFFIX)


def _is_free(path: Path) -> bool:
    return not os.path.lexists(path)


def candidate_names(name: str, sha256: str) -> Iterator[str]:
    """Give the names to try where a file is to go: its own, then with the start of its hash, then numbered."""
    yield name
    stem, suffix = os.path.splitext(name)
    tag = f".{sha256[:_TAG_LENGTH]}" if sha256 else ""
    if tag:
        yield f"{stem}{tag}{suffix}"
    for number in count(2):
        yield f"{stem}{tag}.{number}{suffix}"


def _move(arrival: Arrival, place: Path) -> Path | None:
    if not is_unchanged(arrival):
        return None
    arrival.path.rename(place)
    moved = _look(place, arrival.folder)
    if moved and moved._inode == arrival._inode:
        return place
    # Replaced between the look and the move: what came is not what was taken in, and goes back to be taken in itself.
    back = arrival.path if _is_free(arrival.path) else arrival.path.with_name(f"{time.time_ns()}-{arrival.name}")
    place.rename(back)
    return None
