"""The history that forecasts start from: a file or gold.daily_sales, checked before anything is computed."""

import hashlib
import shlex
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shoplake.contract.tables import DAILY_SALES
from shoplake.errors import ConfigError, ForecastError
from shoplake.lake.addresses import export_file, locate_lake
from shoplake.lake.arrow import delta_errors, open_table, scan_table, table_exists
from shoplake.settings import Settings

# The data that a shop's own models are of.
GOLD = DAILY_SALES.name

REQUIRED = ("event_date", "product_id", "category", "units")
AMOUNT = "gross_amount"
# Orders tell units that come again from a great order; looks and carts, when an item was out of stock. A history may be
# without them.
COUNTS = ("order_count", "view_count", "cart_count")
OPTIONAL = (AMOUNT, *COUNTS)
# More units than this on one product-day are a fault of the data, not a demand.
MAX_UNITS = 10**9
_BUILD_GOLD = "Build it with: spark-submit spark/batch_processing.py, or give a file with --data"


@dataclass(frozen=True)
class Sales:
    """A checked sales history, and what exactly it was read from.

    Attributes:
        rows: one per event_date and product_id: event_date (midnight timestamps), product_id, category, units (int64),
            gross_amount (float64, NaN where the input has none), order_count, view_count and cart_count (int64, else
            0).
        data: gold.daily_sales, of which data/daily_sales.parquet is a copy; else the file's name. Models of one data
            are kept apart from those of another.
        version: the Delta version of gold.daily_sales, or the file's SHA-256.
    """

    rows: pd.DataFrame
    data: str
    version: str


def read_sales(file: Path | None, settings: Settings) -> Sales:
    """Read and check the sales history from `file` (Parquet or CSV), or without one from gold.daily_sales.

    Raises:
        ForecastError: nothing to read, or rows that are no sales; the message names the column and a value.
    """
    if file is not None:
        name = GOLD if file.resolve() == export_file(settings).resolve() else file.name
        return Sales(check_sales(_read_file(file), str(file)), name, hash_file(file))
    lake = locate_lake(settings)
    if not table_exists(lake, DAILY_SALES):
        raise ForecastError(
            f"no history to train on: the table {DAILY_SALES.name} does not exist yet in {lake.root}. {_BUILD_GOLD}"
        )
    with delta_errors(lake):
        version = open_table(lake, DAILY_SALES).version()
        rows = scan_table(lake, DAILY_SALES, version).to_table(columns=[*REQUIRED, *OPTIONAL])
    return Sales(check_sales(rows, f"{DAILY_SALES.name} in {lake.root}"), GOLD, str(version))


def train_command(data: str | Path | None) -> str:
    """Give the command that trains models of this data: of a file, or of gold (None, or its name)."""
    return "python ml/train.py" + (f" --data {shlex.quote(str(data))}" if data and data != GOLD else "")


def hash_file(file: Path) -> str:
    """Give the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_file(file: Path) -> pa.Table:
    if not file.exists():
        raise ForecastError(f"no such file: {file}. It must hold the columns {', '.join(REQUIRED)} and {AMOUNT}")
    try:
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            return table.select([name for name in (*REQUIRED, *OPTIONAL) if name in table.column_names])
        if file.name.endswith((".csv", ".csv.gz")):
            # Identifiers and dates stay text: 00123 is a product, and NA may be one.
            texts = {name: pa.string() for name in REQUIRED[:3]}
            options = pyarrow.csv.ConvertOptions(column_types=texts, strings_can_be_null=False)
            return pyarrow.csv.read_csv(file, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise ForecastError(f"cannot read {file}: {error}") from error
    raise ForecastError(f"cannot tell the format of {file}: its name must end in .parquet, .csv or .csv.gz")


def check_sales(table: pa.Table, where: str) -> pd.DataFrame:
    """Check a history and give it in the types of `Sales.rows`.

    Args:
        where: names the input in messages.

    Raises:
        ForecastError: missing columns, no rows, or values that cannot be sales.
    """
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise ForecastError(
            f"{where} lacks the column(s) {', '.join(missing)}; seen: {', '.join(table.column_names)}; "
            f"needed: {', '.join(REQUIRED)}, and {AMOUNT} for prices"
        )
    if table.num_rows == 0:
        raise ForecastError(f"no history to train on: {where} holds no rows. {_BUILD_GOLD}")
    raw = _without_decimals(table).to_pandas()
    sales = pd.DataFrame({
        "event_date": _dates(raw["event_date"], where),
        "product_id": _texts(raw["product_id"], where),
        "category": _texts(raw["category"], where),
        "units": _counts(raw["units"], where, "units that are no demand"),
        AMOUNT: _amounts(raw[AMOUNT], where) if AMOUNT in raw else np.nan,
        **{name: _counts(raw[name], where, f"a {name} that is no count") if name in raw else 0 for name in COUNTS},
    })
    _refuse(sales.duplicated(["event_date", "product_id"]), sales["product_id"], where, "more than one row on a day",
            "one row per event_date and product_id")
    return sales


def _without_decimals(table: pa.Table) -> pa.Table:
    # Prices are features, not books: floats do, and pandas would hold each Decimal as an object.
    fields = [field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields))


def _refuse(is_bad: "pd.Series[bool]", values: "pd.Series[Any]", where: str, fault: str, allowed: str) -> None:
    if is_bad.any():
        raise ForecastError(
            f"{where}: {int(is_bad.sum())} row(s) with {fault}, the first in row {int(is_bad.argmax()) + 1} "
            f"({values.name} = {values[is_bad].iloc[0]!r}); allowed: {allowed}"
        )


def _dates(values: "pd.Series[Any]", where: str) -> "pd.Series[pd.Timestamp]":
    texts = values.astype(str)
    is_day = texts.str.fullmatch(r"\d{4}-\d{2}-\d{2}([ T]00:00:00(\.0+)?)?")
    dates = pd.to_datetime(texts.str[:10].where(is_day), format="%Y-%m-%d", errors="coerce")
    _refuse(dates.isna(), values, where, "an event_date that is no date", "days as YYYY-MM-DD, without time or zone")
    return dates


def _texts(values: "pd.Series[Any]", where: str) -> "pd.Series[str]":
    texts = values.astype(str)
    _refuse(values.isna() | (texts == ""), values, where, f"an empty {values.name}", "a text")
    return texts


def _counts(values: "pd.Series[Any]", where: str, fault: str) -> "pd.Series[int]":
    counts = pd.to_numeric(values, errors="coerce").astype("float64")
    is_bad = ~((counts >= 0) & (counts <= MAX_UNITS) & (counts == np.floor(counts)))
    _refuse(is_bad, values, where, fault, f"whole numbers from 0 to {MAX_UNITS}")
    return counts.astype("int64")


def _amounts(values: "pd.Series[Any]", where: str) -> "pd.Series[float]":
    texts = values.where(values.astype(str) != "")
    amounts = pd.to_numeric(texts, errors="coerce").astype("float64")
    is_bad = (amounts.isna() & texts.notna()) | (amounts < 0) | np.isinf(amounts)
    _refuse(is_bad, values, where, f"a {AMOUNT} that is no amount", "numbers from 0")
    return amounts


def resolve_as_of(sales: pd.DataFrame, as_of: str | None) -> date:
    """Give the last day to use: `as_of`, or by default the day before the newest, which may be a part day.

    Args:
        as_of: YYYY-MM-DD, as the flag was given.

    Raises:
        ConfigError: `as_of` is no date.
        ForecastError: the history holds nothing up to that day, or ends before it.
    """
    first, newest = sales["event_date"].min().date(), sales["event_date"].max().date()
    try:
        day = date.fromisoformat(as_of) if as_of else newest - timedelta(days=1)
    except ValueError as error:
        raise ConfigError(f"--as-of {as_of!r} is no date; allowed: YYYY-MM-DD, from {first} to {newest}") from error
    if day > newest:
        raise ForecastError(f"--as-of {day} lies after the newest day of the history: there is {first} to {newest}")
    if day < first:
        raise ForecastError(f"no history to train on up to {day}: there is {first} to {newest}")
    return day
