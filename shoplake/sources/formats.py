"""Files of a shop's own: `sources.formats` tells how their columns are called and their cells are written.

What a cell's hint does not fit stays as it is, and the rules quarantine it with their reason.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from shoplake.contract.events import V1_FIELDS, check_mapping
from shoplake.errors import ConfigError
from shoplake.sections import FileFormat
from shoplake.sources.columns import Columns
from shoplake.sources.events import EPOCH, make_event_record
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.records import ParsedRecord

_NUMBERS = ("price", "quantity")
_WITH_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_SECONDS, _MILLISECONDS = "epoch_s", "epoch_ms"
_WHOLE = re.compile(r"\d{1,13}")


def check_format(name: str, file_format: FileFormat) -> None:
    """Refuse a description whose files could never give an event.

    Raises:
        ConfigError: saying what is wrong.
    """
    fields, where = file_format.fields, f"sources.formats.{name}"
    try:
        check_mapping(fields, file_format.constants)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    if len(set(fields.values())) != len(fields):
        raise ConfigError(f"{where}: one column stands for two fields")
    if len(set(fields) & set(V1_FIELDS)) < 2:
        raise ConfigError(f"{where}: fewer than two of {', '.join(V1_FIELDS)} come from the file")


def needed_columns(file_format: FileFormat) -> tuple[str, ...]:
    """Give the columns that a file of the format must have: those of the fields without which there is no event."""
    return tuple(file_format.fields[name] for name in V1_FIELDS if name in file_format.fields)


def read_own_events(file: TextFile, name: str, file_format: FileFormat) -> Iterator[ParsedRecord]:
    """Give each line as an event; an empty cell is an absent field, and a column that no field has travels along.

    Args:
        name: the source's.
    """
    known = {field: column for field, column in file_format.fields.items() if column in file.header}
    columns = Columns(file.header, tuple(known.values()))
    constants = {"source": name, "schema_version": "2", **{key: str(value) for key, value in
                                                           file_format.constants.items()}}
    for line, cells in read_rows(file, file_format.encoding):
        if cells is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        event: dict[str, Any] = {**constants, **{field: cell.strip() or None for field, cell in
                                                 zip(known, columns.pick(cells), strict=True)}}
        columns.add_others(event, cells)
        yield _make(event, file_format)


def _make(event: dict[str, Any], file_format: FileFormat) -> ParsedRecord:
    if file_format.decimal_comma:
        event.update({name: _with_point(event[name]) for name in _NUMBERS if isinstance(event.get(name), str)})
    moment = _read_time(str(event.get("event_time") or ""), file_format.time_format, file_format.time_zone)
    return make_event_record({**event, "event_time": moment} if moment else event)


def _with_point(text: str) -> str:
    return text.replace(".", "").replace(",", ".") if _WITH_COMMA.fullmatch(text) else text


@lru_cache(maxsize=4096)
def _read_time(text: str, time_format: str, time_zone: str) -> datetime | None:
    """Read a time; in the hour that summer time repeats, or skips, the first reading (fold=0) is taken."""
    try:
        if time_format in (_SECONDS, _MILLISECONDS):
            if not _WHOLE.fullmatch(text):
                return None
            return EPOCH + timedelta(**{"milliseconds" if time_format == _MILLISECONDS else "seconds": int(text)})
        moment = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))

