"""What every reader gives, and the counting that goes with it."""

import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from shoplake.contract.events import encode_event
from shoplake.errors import SourceError

# Key and value must fit into the broker's bound of 1 MiB for a record with its overhead.
MAX_LINE_BYTES = 1_000_000
# Between the parts of an identity: no text of the contract holds it.
SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record of a file, as the topic holds it.

    Attributes:
        offset: the record's number in the file, from 0; bad lines count.
        key: the user, in UTF-8; None where no user could be read.
        value: the contract's JSON, or the untouched bytes of a line that cannot be read as a record.
        timestamp_ms: the event's own time, milliseconds since 1970, cut; between 0 and the moment of opening.
    """

    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """What a format's reader makes of one row.

    `event_ms` is None where the time cannot be read; `is_bad` says that nothing can. `note` is what a person should
    know of such records, of which only the number is told.
    """

    key: bytes | None
    value: bytes
    event_ms: int | None
    is_bad: bool = False
    note: str | None = None


def identify(source: str, cells: Sequence[str]) -> str:
    """Give a line's identity: the SHA-256 (hex) of its source and cells, so a line told twice is one event."""
    return hashlib.sha256(SEPARATOR.join((source, *cells)).encode()).hexdigest()


def make_record(event: Mapping[str, Any], event_ms: int | None, note: str | None = None) -> ParsedRecord:
    """Make the record of an event: its key is the user, its value the contract's JSON."""
    user = event.get("user_id")
    return ParsedRecord(None if user is None else str(user).encode(), encode_event(event), event_ms, note=note)


class SourceReader(Iterator[SourceRecord]):
    """Iterate over a file's records once, in the file's order, in bounded memory.

    The counts grow while reading and are final at the end.

    Attributes:
        record_count: records given so far, bad ones among them.
        bad_lines: lines so far that could not be read as a record; they were given as they are, so that the rule
            json_valid quarantines them. (A bad line that happens to be a JSON object is judged as the event it is.)
        is_truncated: the compressed file ends in its middle; what could be read is given.
    """

    def __init__(
        self, path: Path, rows: Callable[[], Iterator[ParsedRecord]], now_ms: int, is_truncated: bool,
        unread: Sequence[str] = (),
    ) -> None:
        """Read `rows` on the first record; `unread` names files of an archive that hold no records."""
        self.path = path
        self.record_count = 0
        self.bad_lines = 0
        self.is_truncated = is_truncated
        self._unread = unread
        self._notes: Counter[str] = Counter()
        self._records = self._number(rows(), now_ms)

    def __next__(self) -> SourceRecord:
        """Give the next record.

        Raises:
            SourceError: at the end, if the file held no record, or not a single good one.
        """
        return next(self._records)

    def warnings(self) -> Iterator[str]:
        """Give what a person should know about the records given so far."""
        if self.bad_lines:
            yield f"{self.path}: {self.bad_lines} lines cannot be read; they are set aside as they are (json_valid)"
        if self.is_truncated:
            yield f"{self.path} is cut off in its middle; what it still holds was read"
        if self._unread:
            yield f"{self.path}: not read, because they are no tables: {', '.join(self._unread)[:300]}"
        yield from (f"{self.path}: {count:,} {note}" for note, count in self._notes.items())

    def _number(self, rows: Iterator[ParsedRecord], now_ms: int) -> Iterator[SourceRecord]:
        last_ms = 0
        for offset, row in enumerate(rows):
            if row.event_ms is not None:
                # The broker refuses records from the future; the event then fails event_time_not_future instead.
                last_ms = min(max(row.event_ms, 0), now_ms)
            self.record_count = offset + 1
            self.bad_lines += row.is_bad
            if row.note:
                self._notes[row.note] += 1
            yield SourceRecord(offset, row.key, row.value, last_ms)
        if self.record_count == 0:
            raise SourceError(f"{self.path} holds a header but no record; nothing was read")
        if self.bad_lines == self.record_count:
            raise SourceError(
                f"none of the {self.bad_lines} lines of {self.path} can be read as a record; is it the right --source?"
            )


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 (hex) of a file's bytes: the origin of the records read from it.

    Raises:
        SourceError: the file is missing or unreadable.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read; a pipe or a device, which could keep a reader waiting for ever, is none.

    Raises:
        OSError: it is none, or it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for who writes into it
    file = open(handle, "rb")  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def unreadable(path: object, error: OSError) -> SourceError:
    """Make the error for a file that the operating system does not let us read."""
    return SourceError(f"cannot read the file {path}: {error.strerror or error}; give the path of a readable file")
