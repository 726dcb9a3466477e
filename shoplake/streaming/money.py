"""Amounts in the shop's currency: which exchange rates a batch counts by, and prices converted once.

An event's identity and content are those of the price as it was sent. So a corrected rate makes no second event.
"""

import json
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.contract.events import EXCHANGE_RATE_TYPE, PRICE_SCALE, PRICE_TYPE
from shoplake.errors import ConfigError, SourceError
from shoplake.lake.addresses import Lake
from shoplake.lake.files import keep_file, open_file, read_bytes, write_bytes
from shoplake.settings import Settings
from shoplake.sources import file_sha256
from shoplake.sources.exchange_rates import COLUMNS, read_exchange_rates

KEPT_RATES = "exchange_rates"
_LAST: dict[tuple[str, str, int], pa.Table] = {}


def pin_rates(query_id: str, batch_id: int, lake: Lake, settings: Settings) -> pa.Table | None:
    """Give the rates that a batch counts by: those of the file at its first try, whatever the file says at a later one.

    So a batch that broke off half-way is not ended at other prices. The file's untouched copy is kept in the lake, and
    which copy it was stands there before the batch's first write; the caller holds the `ingest` lock.

    Returns:
        The rows of `read_exchange_rates`; None where no file is set.

    Raises:
        ConfigError: the file is missing or is no file of rates.
        SourceError: it changes while it is read.
    """
    if settings.rates_address is None:
        return None
    pin = lake.rates_pin(query_id)
    pinned = json.loads(read_bytes(lake, pin) or b"{}")
    if pinned.get("batch_id") == batch_id:
        with open_file(lake, f"{lake.kept_files(KEPT_RATES)}/{pinned['sha256']}") as kept:
            return _read(kept, pinned["sha256"], settings)
    with open_file(lake, settings.rates_address) as file:
        sha256 = _hash(file)
        rates = _read(file, sha256, settings)
        if keep_file(file, lake, KEPT_RATES).sha256 != sha256:
            raise SourceError(f"{settings.rates_address} changed while it was read; put a new file there by moving it")
    write_bytes(lake, pin, json.dumps({"batch_id": batch_id, "sha256": sha256}).encode())
    return rates


def read_rates(lake: Lake, settings: Settings) -> pa.Table | None:
    """Give the rates of the file as it is now; None where no file is set. Raises as `pin_rates`."""
    if settings.rates_address is None:
        return None
    with open_file(lake, settings.rates_address) as file:
        return _read(file, _hash(file), settings)


def _hash(file: Path) -> str:
    if not file.is_file():
        raise ConfigError(f"there is no such file of exchange rates, which shop.rates_file names: {file}. It holds the "
                          f"columns {', '.join(COLUMNS)}; docs/sources.md has an example")
    return file_sha256(file)


def _read(file: Path, sha256: str, settings: Settings) -> pa.Table:
    """Read a file of these bytes; that of the last batch is at hand."""
    key = (sha256, settings.shop.currency, settings.shop.rate_max_age)
    if key not in _LAST:
        rates = read_exchange_rates(file, *key[1:])
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
