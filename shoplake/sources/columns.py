"""The columns of a CSV file against those that its format has."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from shoplake.errors import SourceError
from shoplake.sources.packed import PackedFile

OTHER = "source."


class Columns:
    """Where a format's columns stand in a file, and what the file has beside them.

    A column that the format does not have is no reason to refuse the file, and is not lost: its cells travel along in
    the record, as `source.<column>`.
    """

    def __init__(self, header: Sequence[str], known: Sequence[str]) -> None:
        """Take a header that has all the known columns, and at least two of them."""
        self.pick: Callable[[Sequence[str]], tuple[str, ...]] = itemgetter(*(header.index(name) for name in known))
        self._others = [(place, f"{OTHER}{name}") for place, name in enumerate(header) if name not in known]

    def add_others(self, event: dict[str, Any], cells: Sequence[str]) -> None:
        """Add the cells that no known column has to the record; an empty one is an absent field."""
        for place, name in self._others:
            event[name] = cells[place] or None


def check_header(file: PackedFile, header: Sequence[str], known: Sequence[str], format_name: str) -> None:
    """Refuse a file that lacks a column of its format, or has one twice.

    Raises:
        SourceError: naming what is missing.
    """
    seen = ", ".join(header)[:300]
    missing = [name for name in known if name not in header]
    if missing:
        raise SourceError(f"{file} is no {format_name}: it lacks the column(s) {', '.join(missing)}; it has {seen}. "
                          f"For a file of another format name its --source; python utils/inspect_source.py {file.path} "
                          "tells which it may be")
    if len(set(header)) != len(header):
        raise SourceError(f"{file} has a column twice: {seen}")
