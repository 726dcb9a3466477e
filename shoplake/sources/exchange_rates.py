"""Exchange rates: a file of what one unit of a currency is worth in the shop's, from which day on.

A currency without a rate for an event's day is unknown: its events go to quarantine, and never count at a rate of 1.
"""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from shoplake.contract.events import EXCHANGE_RATE_DIGITS, EXCHANGE_RATE_SCALE
from shoplake.errors import ConfigError
from shoplake.text_table import read_text_table

COLUMNS = ("currency", "from_date", "rate")
# A day's rate of 27 currencies for 20 years; each batch of events is joined with all of them.
MAX_ROWS = 200_000
_RATE = r"[0-9]{1,8}(\.[0-9]{1,11})?"
_SCHEMA = pa.schema({"currency": pa.string(), "event_date": pa.date32(),
                     "exchange_rate": pa.decimal128(EXCHANGE_RATE_DIGITS, EXCHANGE_RATE_SCALE)})


def read_exchange_rates(file: Path, shop_currency: str, max_age: int) -> pa.Table:
    """Read a CSV with currency, from_date and rate, and lay its rates out by day.

    A rate is the worth of one unit in `shop_currency`, and holds from its day on until a newer one of the currency, but
    no more than `max_age` days, its own with them: a file that nobody keeps up must not go on in silence.

    Returns:
        currency, event_date (shop day), exchange_rate; one row for each currency and day that has a rate. The shop's
        own currency is not among them.

    Raises:
        ConfigError: no such file, other columns, too many rows, or a row that is no rate; the message names the row.
    """
    texts: pd.DataFrame = read_text_table(file, COLUMNS, ConfigError).to_pandas()
    if len(texts) > MAX_ROWS:
        raise ConfigError(f"{file} holds {len(texts):,} rates; at most {MAX_ROWS:,} are read. Leave out old days")
    is_day = texts["from_date"].str.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
    days = pd.to_datetime(texts["from_date"], format="%Y-%m-%d", errors="coerce").where(is_day)
    is_rate = texts["rate"].str.fullmatch(_RATE) & (texts["rate"].str.strip("0.") != "")
    is_own = texts["currency"] == shop_currency
    is_one = texts["rate"].str.fullmatch(r"0*1(\.0*)?")
    for is_bad, fault in (
        (~texts["currency"].str.fullmatch("[A-Z]{3}"), "a currency that is no ISO 4217 code, such as USD"),
        (days.isna(), "a from_date that is not written YYYY-MM-DD"),
        (~is_rate, "a rate that is no decimal above 0 with at most 8 digits before the point and 11 behind it"),
        (is_own & ~is_one, f"a rate of the shop's own currency {shop_currency} that is not 1"),
        (texts.duplicated(["currency", "from_date"]), "a second rate of one currency and day"),
    ):
        if is_bad.any():
            first = int(is_bad.to_numpy().argmax())
            raise ConfigError(f"{file}: {int(is_bad.sum())} row(s) with {fault}, the first in row {first + 1} "
                              f"({', '.join(str(texts[name].iloc[first]) for name in COLUMNS)})")
    return _lay_out(texts.assign(from_date=days)[~is_own].sort_values(["currency", "from_date"]), max_age)


def _lay_out(rates: pd.DataFrame, max_age: int) -> pa.Table:
    until_next = rates.groupby("currency")["from_date"].diff(-1).dt.days.abs().fillna(max_age)
    counts = np.minimum(until_next.to_numpy(), max_age).astype(np.int64)
    rows = np.repeat(np.arange(len(rates)), counts)
    ages = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    days = rates["from_date"].to_numpy("datetime64[D]")[rows] + ages
    values = pa.array([Decimal(text) for text in rates["rate"]], _SCHEMA.field("exchange_rate").type)
    return pa.table([pa.array(rates["currency"].to_numpy()[rows], pa.string()), pa.array(days, pa.date32()),
                     values.take(pa.array(rows))], schema=_SCHEMA)
