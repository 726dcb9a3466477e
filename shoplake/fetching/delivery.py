"""Putting what was fetched into the landing folder, whole, and remembering how far it went."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from shoplake.errors import LockError, SourceError
from shoplake.fetching.definitions import DatabaseSource, HttpSource, look_into
from shoplake.settings import Settings
from shoplake.sources.records import file_sha256, unreadable

FILE_ROWS = 100_000
MAX_COLUMNS = 1_000  # of a file: a service that names its fields anew in each row would make a table without end
# arrivals.py passes over files of this ending: they are not whole.
_UNFINISHED = ".part"


class Bookmarks:
    """How far each source was read, in a file of its own below `<data_dir>/fetched`."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Look at the bookmark of one source."""
        self._path = settings.data_path / "fetched" / f"{name}.json"
        self._path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep a second run away.

        Raises:
            LockError: there is one.
        """
        try:
            with FileLock(self._path.with_suffix(".lock"), timeout=0):
                yield
        except Timeout as error:
            raise LockError(f"another run is fetching {self._path.stem} now; wait for its end") from error

    def read(self) -> str | None:
        """Give the bookmark; None before the first run."""
        if not self._path.exists():
            return None
        return str(json.loads(self._path.read_text(encoding="utf-8"))["bookmark"])

    def write(self, bookmark: str) -> None:
        """Set it, whole or not at all."""
        unfinished = self._path.with_suffix(_UNFINISHED)
        unfinished.write_text(json.dumps({"bookmark": bookmark, "at": datetime.now(UTC).isoformat()}), encoding="utf-8")
        os.replace(unfinished, self._path)


def deliver_pages(
    name: str, source: DatabaseSource | HttpSource, pages: Iterable[tuple[list[dict[str, Any]], str | None]],
    settings: Settings, bookmarks: Bookmarks,
) -> Iterator[tuple[Path, int]]:
    """Write rows as files of events into the landing folder; give each with its rows, once it is there.

    The bookmark follows each file, as far as the pages say one: a run that dies repeats what came after it, which is
    then recognized as duplicates by its event_id. Rows that the bookmark has seen already and nothing else make no
    file.

    Args:
        pages: rows, with the bookmark of all rows so far, or None where more may come from before it.
    """
    held: list[dict[str, Any]] = []
    before = newest = bookmarks.read()
    for rows, bookmark in pages:
        held += [map_row(row, source) for row in rows]
        newest = bookmark or newest
        if len(held) >= FILE_ROWS:
            yield _deliver(name, held, settings), len(held)
            held = []
            if bookmark:
                bookmarks.write(bookmark)
    if newest == before:
        return
    if held:
        yield _deliver(name, held, settings), len(held)
    bookmarks.write(str(newest))


def map_row(row: Mapping[str, Any], source: DatabaseSource | HttpSource) -> dict[str, Any]:
    """Give a row as an event: its fields, the constants, and what no field takes as `source.<name>`."""
    others = _leave_out(row, [path.split(".") for path in source.fields.values()])
    return {
        **{field: _as_cell(look_into(row, path)) for field, path in source.fields.items()},
        **{field: str(value) for field, value in source.constants.items()},
        **{f"source.{_as_text(key)}": _as_cell(value) for key, value in others.items()},
    }


def _leave_out(row: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Give what of nested objects stands at none of the paths; an object of which nothing is left is gone."""
    left = {}
    for key, value in row.items():
        below = [path[1:] for path in paths if path[0] == key]
        if [] in below:
            continue
        if below and isinstance(value, Mapping):
            value = _leave_out(value, below)
            if not value:
                continue
        left[key] = value
    return left


def _as_cell(value: Any) -> str | None:
    """Write a value as the text that a file of events has; the contract's rules judge it."""
    if value is None:
        return None
    if isinstance(value, str):
        return _as_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, Decimal):
        return str(value) if _is_endless(value) else f"{value:f}"
    if isinstance(value, dict | list):
        return _as_text(json.dumps(value, ensure_ascii=False, default=str))
    return _as_text(str(value))


def _as_text(text: str) -> str:
    """Give a text that a file can hold: half a character is written as it is in JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_endless(value: Decimal) -> bool:
    """Tell whether a number such as 1e999999999 would fill the memory with zeros; as it is, the rules refuse it."""
    _, digits, exponent = value.as_tuple()
    return isinstance(exponent, int) and abs(exponent) > len(digits) + 100


def _deliver(name: str, rows: list[dict[str, Any]], settings: Settings) -> Path:
    """Write one Parquet file of texts; its name tells the source and its content."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(columns) > MAX_COLUMNS:
        raise SourceError(f"the rows of {name} have {len(columns):,} different fields; allowed are {MAX_COLUMNS:,}. "
                          "Does the source write values where the names of fields belong?")
    table = pa.table({column: pa.array([row.get(column) for row in rows], pa.string()) for column in columns})
    folder = settings.landing_path / "events"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()[:12]
    path = folder / f"{name}-{digest}.parquet"
    unfinished = path.with_name(path.name + _UNFINISHED)
    pq.write_table(table, unfinished)
    os.replace(unfinished, path)
    return path


def deliver_file(file: Path, source: str, settings: Settings, sha256: str | None) -> tuple[Path, str]:
    """Copy a downloaded file into the landing folder of its source; give where it is and its SHA-256.

    Raises:
        SourceError: it cannot be read, or is not the one that `sha256` says.
    """
    folder = settings.landing_path / source
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        shutil.copyfile(file, unfinished)
    except OSError as error:
        raise unreadable(file, error) from error
    found = file_sha256(unfinished)
    if sha256 and found != sha256:
        unfinished.unlink()
        raise SourceError(f"{file} has the SHA-256 {found}, expected is {sha256}: it is another file, or was damaged "
                          "on its way; nothing was put into the landing folder")
    os.replace(unfinished, path)
    return path, found
