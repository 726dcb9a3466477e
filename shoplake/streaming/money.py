"""Amounts in the shop's currency: which exchange rates a batch counts by, and prices converted once.

An event's identity and content are those of the price as it was sent. So a corrected rate makes no second event.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.contract.events import EXCHANGE_RATE_TYPE, PRICE_SCALE, PRICE_TYPE
from shoplake.contract.tables import BRONZE_EVENTS
from shoplake.errors import ConfigError, SourceError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_unless_done
from shoplake.lake.files import KEPT_RATES, keep_file, open_file, read_bytes, write_bytes
from shoplake.settings import Settings
from shoplake.sources import file_sha256
from shoplake.sources.exchange_rates import COLUMNS, read_exchange_rates

_LAST: dict[tuple[str, str, int], pa.Table] = {}


def pin_rates(query_id: str, batch_id: int, lake: Lake, settings: Settings) -> pa.Table | None:
    """Give the rates that a batch counts by: those of its first try, whatever file and settings say at a later one.

    So a batch that broke off half-way is not ended at other prices. The file's untouched copy is kept in the lake, and
    which copy it was stands there before the batch's first write, that of bronze; the caller holds the `ingest` lock.

    Returns:
        The rows of `read_exchange_rates`; None where no file is, or was, set.

    Raises:
        ConfigError: the file is missing, is no file of rates, or changes while it is read.
    """
    address = lake.rates_pin(query_id)
    pinned = json.loads(read_bytes(lake, address) or b"{}")
    if settings.rates_address is None and not pinned:
        return None
    if open_unless_done(lake, BRONZE_EVENTS, query_id, batch_id) is None:
        is_of_this = pinned.get("batch_id") == batch_id and pinned["sha256"]
        return _read_pinned(lake, pinned, settings.shop.currency) if is_of_this else None
    sha256, rates, max_age = None, None, settings.shop.rate_max_age
    if settings.rates_address is not None:
        with _open_rates(lake, settings.rates_address) as file:
            sha256 = file_sha256(file)
            rates = _read(file, sha256, settings.shop.currency, max_age)
            if sha256 != pinned.get("sha256") and keep_file(file, lake, KEPT_RATES).sha256 != sha256:
                raise SourceError("it changed while it was read; move a new file there whole")
    write_bytes(lake, address, json.dumps({"batch_id": batch_id, "sha256": sha256, "max_age": max_age}).encode())
    return rates


def read_rates(lake: Lake, settings: Settings) -> pa.Table | None:
    """Give the rates of the file as it is now; None where no file is set. Raises as `pin_rates`."""
    if settings.rates_address is None:
        return None
    with _open_rates(lake, settings.rates_address) as file:
        return _read(file, file_sha256(file), settings.shop.currency, settings.shop.rate_max_age)


@contextmanager
def _open_rates(lake: Lake, address: str) -> Iterator[Path]:
    """Give the file of rates, for the block; what is wrong with it is told with the setting that names it."""
    try:
        with open_file(lake, address) as file:
            if not file.is_file():
                raise ConfigError(f"there is no such file. It must hold the columns {', '.join(COLUMNS)}")
            yield file
    except (ConfigError, SourceError) as error:
        raise ConfigError(f"shop.rates_file, {address}: {error}") from error


def _read_pinned(lake: Lake, pinned: Mapping[str, Any], currency: str) -> pa.Table:
    with open_file(lake, f"{lake.kept_files(KEPT_RATES)}/{pinned['sha256']}") as kept:
        return _read(kept, pinned["sha256"], currency, pinned["max_age"])


def _read(file: Path, sha256: str, currency: str, max_age: int) -> pa.Table:
    """Read a file of these bytes; that of the last batch is at hand."""
    key = (sha256, currency, max_age)
    if key not in _LAST:
        rates = read_exchange_rates(file, currency, max_age)
        _LAST.clear()
        _LAST[key] = rates
    return _LAST[key]


def add_rates(events: DataFrame, rates: pa.Table | None) -> DataFrame:
    """Add `exchange_rate` to rows with `currency` and `event_date`; NULL where there is none."""
    if rates is None or not rates.num_rows:
        return events.withColumn("exchange_rate", F.lit(None).cast(EXCHANGE_RATE_TYPE))
    return events.join(F.broadcast(events.sparkSession.createDataFrame(rates)), ["currency", "event_date"], "left")


def convert_prices(judged: DataFrame) -> DataFrame:
    """Put `price` into the shop's currency, and what was sent into `original_price`, where there is a rate.

    Rounded half up to the price's decimals. A row that was rejected may be beyond what a price can be: NULL.
    """
    converted = F.round(F.col("price") * F.col("exchange_rate"), PRICE_SCALE).try_cast(PRICE_TYPE)
    is_foreign = F.col("exchange_rate").isNotNull()
    return judged.withColumns({
        "original_price": F.when(is_foreign, F.col("price")),
        "price": F.when(is_foreign, converted).otherwise(F.col("price")),
    })
