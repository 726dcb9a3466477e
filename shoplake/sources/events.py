"""The source `events`: a CSV or Parquet file of the contract's own columns, as `producer.py --to-file` writes it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoplake.contract.events import V1_FIELDS
from shoplake.errors import SourceError
from shoplake.sources.columns import check_header
from shoplake.sources.lines import UTF8, TextFile, read_rows
from shoplake.sources.packed import MAX_EXPANSION, PackedFile, check_expansion
from shoplake.sources.records import ParsedRecord, make_record, open_regular, unreadable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_BATCH_ROWS = 512  # a text that stands once in the file may be in every row of a batch
_HARMLESS_ROWS = 1_000_000

_PARQUET_MAGIC = b"PAR1"
FORMAT = "file of events"


def read_csv_events(file: TextFile) -> Iterator[ParsedRecord]:
    """Give each line as an event whose values are the cells' text; an empty cell is an absent field.

    The contract's text is UTF-8, so a line in another encoding is a bad line.
    """
    for line, cells in read_rows(file, UTF8):
        if cells is None:
            yield ParsedRecord(None, line, None, is_bad=True)
        else:
            yield make_event_record({name: cell or None for name, cell in zip(file.header, cells, strict=True)})


def is_parquet(path: Path) -> bool:
    """Tell by its first bytes whether a file is Parquet: a copy kept in the lake has no suffix."""
    try:
        with open_regular(path) as file:
            return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except OSError as error:
        raise unreadable(path, error) from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file and check its columns.

    Raises:
        SourceError: missing, unreadable, no Parquet file, or other columns.
    """
    try:
        file = pq.ParquetFile(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except pa.ArrowException as error:
        raise SourceError(f"{path} is no readable Parquet file: {error}") from error
    check_expansion(path, path.stat().st_size, sum(
        file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups)))
    if file.metadata.num_rows > max(_HARMLESS_ROWS, MAX_EXPANSION * path.stat().st_size):
        raise SourceError(f"{path} says that it holds {file.metadata.num_rows:,} rows, which {path.stat().st_size:,} "
                          "bytes cannot: it is not read")
    check_header(PackedFile(path, "none"), file.schema_arrow.names, V1_FIELDS, FORMAT)
    return file


def read_parquet_events(path: Path, file: pq.ParquetFile) -> Iterator[ParsedRecord]:
    """Give each row as an event; decimals and times become the contract's text.

    Raises:
        SourceError: the file is damaged further on.
    """
    try:
        with file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield make_event_record({name: _json_ready(value) for name, value in row.items()})
    except (OSError, pa.ArrowException, ValueError) as error:  # the last one: a text that is not UTF-8
        raise SourceError(f"the Parquet file {path} is damaged: {error}") from error


def _json_ready(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | Decimal):
        return value
    if isinstance(value, datetime):
        # A time without a zone keeps none: the rule event_time_valid rejects it, as it does in JSON.
        return value if value.tzinfo else value.isoformat()
    return str(value)


def make_event_record(event: dict[str, Any]) -> ParsedRecord:
    """Make the record of an event, whose own time is the record's if it can be read."""
    return make_record(event, _epoch_ms(event.get("event_time")))


def _epoch_ms(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return (value - EPOCH) // _MILLISECOND
