"""Files of a shop's own: `sources.formats` tells how their columns are called and their cells are written.

A cell that its hint does not fit is never guessed at: the field stays empty, so that the rules quarantine the record
with their reason, and the cell travels along as `source.<column>`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from shoplake.contract.events import EVENT_TYPES, V1_FIELDS, check_mapping
from shoplake.errors import ConfigError
from shoplake.sections import FileFormat
from shoplake.sources.columns import OTHER, Columns
from shoplake.sources.events import EPOCH, make_event_record
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.records import ParsedRecord

_NUMBERS = ("price", "quantity")
_WITH_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_SECONDS, _MILLISECONDS = "epoch_s", "epoch_ms"
_WHOLE = re.compile(r"\d{1,13}")
_OURS = {"source", "schema_version"}  # what says where an event came from, and how it is to be read
_SOME_TIME = datetime(2026, 2, 3, 14, 5, 6, tzinfo=UTC)


def check_format(name: str, file_format: FileFormat) -> None:
    """Refuse a description whose files could never give an event.

    Raises:
        ConfigError: saying what is wrong.
    """
    fields, constants, where = file_format.fields, file_format.constants, f"sources.formats.{name}"
    try:
        check_mapping(fields, constants)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    if taken := _OURS & {*fields, *constants}:
        raise ConfigError(f"{where}: {', '.join(sorted(taken))} cannot be set, the platform does that")
    if len(set(fields.values())) != len(fields):
        raise ConfigError(f"{where}: one column stands for two fields")
    if len(set(fields) & set(V1_FIELDS)) < 2:
        raise ConfigError(f"{where}: fewer than two of {', '.join(V1_FIELDS)} come from the file")
    if constants.get("event_type", EVENT_TYPES[0]) not in EVENT_TYPES:
        raise ConfigError(f"{where}: event_type is {constants['event_type']!r}; there are {', '.join(EVENT_TYPES)}")
    if not _tells_the_day(file_format.time_format):
        raise ConfigError(f"{where}: time_format {file_format.time_format!r} does not tell a day. It is empty for ISO "
                          f"8601, {_SECONDS}, {_MILLISECONDS}, or like %d.%m.%Y %H:%M")


def _tells_the_day(time_format: str) -> bool:
    if time_format in ("", _SECONDS, _MILLISECONDS):
        return True
    try:
        return datetime.strptime(_SOME_TIME.strftime(time_format), time_format).date() == _SOME_TIME.date()
    except ValueError:
        return False


def read_own_events(file: TextFile, name: str, file_format: FileFormat) -> Iterator[ParsedRecord]:
    """Give each line as an event; an empty cell is an absent field, and a column that no field has travels along.

    Args:
        name: the source's.
    """
    columns = Columns(file.header, tuple(file_format.fields.values()))
    constants = {"source": name, "schema_version": "2",
                 **{field: str(value) for field, value in file_format.constants.items()}}
    for line, cells in read_rows(file, file_format.encoding):
        if cells is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        event: dict[str, Any] = dict(constants)
        columns.add_others(event, cells)
        for (field, column), cell in zip(file_format.fields.items(), columns.pick(cells), strict=True):
            text = cell.strip()
            event[field] = _read_cell(field, text, file_format) if text else None
            if text and event[field] is None:
                event[f"{OTHER}{column}"] = cell
        yield make_event_record(event)


def _read_cell(field: str, text: str, file_format: FileFormat) -> datetime | str | None:
    if field == "event_time":
        return _read_time(text, file_format.time_format, file_format.time_zone)
    if field in _NUMBERS and file_format.decimal_comma:
        return text.replace(".", "").replace(",", ".") if _WITH_COMMA.fullmatch(text) else None
    return text


@lru_cache(maxsize=4096)
def _read_time(text: str, time_format: str, time_zone: str) -> datetime | None:
    """Read a time; in the hour that summer time repeats, or skips, the first reading (fold=0) is taken."""
    try:
        if time_format in (_SECONDS, _MILLISECONDS):
            if not _WHOLE.fullmatch(text):
                return None
            return EPOCH + timedelta(**{"milliseconds" if time_format == _MILLISECONDS else "seconds": int(text)})
        moment = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))).astimezone(UTC)
    except (ValueError, OverflowError):  # the second: a day of the year 1 or 9999 that is none in UTC
        return None
