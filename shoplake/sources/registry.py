"""All sources by name, and the one way to open a file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shoplake.errors import ConfigError, SourceError
from shoplake.settings import Settings
from shoplake.sources import events, online_retail
from shoplake.sources.lines import TextFile, inspect_text
from shoplake.sources.records import ParsedRecord, SourceReader


@dataclass(frozen=True)
class _CsvSource:
    """A CSV format.

    Attributes:
        currency: the money that all its lines are in; None if each line says its own.
        is_product: tells the codes of goods from those of postage and fees; None if all are goods.
    """

    check_columns: Callable[[Path, tuple[str, ...]], None]
    read: Callable[[TextFile], Iterator[ParsedRecord]]
    currency: str | None = None
    is_product: Callable[[str], bool] | None = None


EVENTS = "events"
_PARQUET = ".parquet"
_SOURCES = {
    EVENTS: _CsvSource(events.check_columns, events.read_csv_events),
    online_retail.SOURCE: _CsvSource(
        online_retail.check_columns, online_retail.read_online_retail, online_retail.CURRENCY,
        online_retail.is_product),
}
SOURCES = tuple(_SOURCES)


def is_product(source: str, product_id: str) -> bool:
    """Tell whether a product_id of a source stands for goods, which can be forecast."""
    test = _SOURCES[source].is_product
    return test is None or test(product_id)


def open_source(path: Path, source: str, settings: Settings, now_ms: int | None = None) -> SourceReader:
    """Open a file through its source's reader: the same values in the same order, whoever reads.

    The files are CSV (also gzip) or, for the source `events`, Parquet. All checks that need no reading of records are
    made here, before anything is sent.

    Args:
        now_ms: milliseconds since 1970 that no record's timestamp goes beyond; the present moment if not given.

    Raises:
        SourceError: an unknown source, or a file that is missing, unreadable, empty, damaged or of another format.
        ConfigError: the source is in another currency than the shop, so that every record would be quarantined.
    """
    if source not in _SOURCES:
        raise SourceError(f"unknown source {source!r}; there are {', '.join(SOURCES)}")
    csv_source = _SOURCES[source]
    if csv_source.currency not in (None, settings.shop.currency):
        raise ConfigError(
            f"the source {source} is in {csv_source.currency}, but shop.currency is {settings.shop.currency}: without "
            "exchange rates every record would be quarantined. "
            f"Set SHOPLAKE_SHOP__CURRENCY={csv_source.currency}"
        )
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    if source == EVENTS and (path.suffix == _PARQUET or events.is_parquet(path)):
        parquet = events.open_parquet(path)
        return SourceReader(path, partial(events.read_parquet_events, path, parquet), now_ms, is_truncated=False)
    text = inspect_text(path)
    csv_source.check_columns(path, text.header)
    return SourceReader(path, partial(csv_source.read, text), now_ms, text.is_truncated)
