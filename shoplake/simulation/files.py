"""Simulated history as a file of the contract's own columns, CSV or Parquet."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from shoplake.contract.events import FIELD_NAMES, FIELDS, PRICE_SCALE, PRICE_TYPE, encode_event, utc_text
from shoplake.errors import ConfigError, SourceError
from shoplake.settings import Settings
from shoplake.simulation.records import SimulatedRecord, sent_fields, to_microseconds
from shoplake.simulation.streams import simulate_history

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIX = ".parquet"
_BATCH_ROWS = 10_000
_FOUR_DECIMALS = Decimal(1).scaleb(-PRICE_SCALE)
_ARROW_TYPES = {
    "TIMESTAMP": pa.timestamp("us", tz="UTC"), "STRING": pa.string(), "INT": pa.int32(), "BOOLEAN": pa.bool_(),
    PRICE_TYPE: pa.decimal128(18, PRICE_SCALE),
}
_SCHEMA = pa.schema([(field.name, _ARROW_TYPES[field.type]) for field in FIELDS])


def simulate_file(
    path: Path, first_day: date, last_day: date, events: int, seed: int, settings: Settings,
) -> Iterator[SimulatedRecord]:
    """Write a simulated history to a file, which appears at the end, and give its records as they will come out of it.

    A file knows no sending moment, and a broken record is no row: there are duplicates and conflicts, but nothing late,
    out of order, future-dated or corrupt.

    Raises:
        ConfigError: a file name that says no format, or days or shares that cannot be simulated.
        SourceError: the file cannot be written.
    """
    if not path.name.endswith((*CSV_SUFFIXES, PARQUET_SUFFIX)):
        allowed = ", ".join((*CSV_SUFFIXES, PARQUET_SUFFIX))
        raise ConfigError(f"cannot tell the format of {path.name!r}; a file name ends in one of {allowed}")
    nothing = dict.fromkeys(("late_share", "out_of_order_share", "corrupt_share", "future_share"), 0.0)
    clean = settings.model_copy(update={"simulation": settings.simulation.model_copy(update=nothing)})
    return _write_records(simulate_history(first_day, last_day, events, seed, clean), path)


def _as_read(record: SimulatedRecord, row: Mapping[str, Any]) -> SimulatedRecord:
    """Give the record as the file's reader will: the row's own encoding, sent when it happened."""
    event_ms = to_microseconds(record.event["event_time"]) // 1000
    return replace(record, value=encode_event(row), timestamp_ms=event_ms, is_late=False)


def text_row(event: Mapping[str, Any]) -> dict[str, str | None]:
    """Give the event's cells of a CSV file, in the contract's order."""
    sent = sent_fields(event)
    return {name: _cell(sent.get(name)) for name in FIELD_NAMES}


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def typed_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give the event's row of a Parquet file, in the contract's order; all its prices have four decimals."""
    sent = sent_fields(event)
    return {**{name: sent.get(name) for name in FIELD_NAMES}, "price": sent["price"].quantize(_FOUR_DECIMALS)}


def _write_records(records: Iterable[SimulatedRecord], path: Path) -> Iterator[SimulatedRecord]:
    part = path.with_name(f"{path.name}.part")
    write = _write_parquet if path.name.endswith(PARQUET_SUFFIX) else _write_csv
    try:
        yield from write(records, part)
        part.replace(path)
    except OSError as error:
        raise SourceError(f"cannot write the file {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(records: Iterable[SimulatedRecord], part: Path) -> Iterator[SimulatedRecord]:
    with _open_text(part) as file:
        writer = csv.DictWriter(file, FIELD_NAMES, lineterminator="\n")
        writer.writeheader()
        for record in records:
            row = text_row(record.event)
            writer.writerow(row)
            yield _as_read(record, row)


@contextmanager
def _open_text(part: Path) -> Iterator[TextIO]:
    if not part.name.endswith(".gz.part"):
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    # No name and no time in the gzip header: the same history is the same file, byte for byte.
    with (part.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
          io.TextIOWrapper(cast(IO[bytes], packed), encoding="utf-8", newline="") as text):
        yield text


def _write_parquet(records: Iterable[SimulatedRecord], part: Path) -> Iterator[SimulatedRecord]:
    with pq.ParquetWriter(part, _SCHEMA) as writer:
        rows: list[dict[str, Any]] = []
        for record in records:
            row = typed_row(record.event)
            rows.append(row)
            if len(rows) == _BATCH_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows.clear()
            yield _as_read(record, row)
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
