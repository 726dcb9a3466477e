"""The source `retailrocket`: what visitors of a shop looked at, put into the cart and bought (RetailRocket, 2015).

`events.csv` says neither what an item cost nor what it was. That stands in two files of snapshots beside it, of which
each event takes the newest that is not later than itself: the category (`categoryid`) and the price (property `790`).
What is not known at that time is not guessed from later: the category is `uncategorised`, the price 0, and a warning
counts them. An event is one unit; a line that stands there twice is the same event told twice.
"""

import logging
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from shoplake.contract.events import UNCATEGORISED, utc_text
from shoplake.errors import SourceError
from shoplake.sources.columns import Columns, check_header
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.packed import PackedFile, open_bytes
from shoplake.sources.records import ParsedRecord, identify, make_record

SOURCE = "retailrocket"
COLUMNS = ("timestamp", "visitorid", "event", "itemid", "transactionid")
PROPERTY_COLUMNS = ("timestamp", "itemid", "property", "value")
PROPERTY_FILES = ("item_properties_part1.csv", "item_properties_part2.csv")
CATEGORY_FILE = "category_tree.csv"
CATEGORY, PRICE = "categoryid", "790"
NO_PRICE = "events lie before the first price that is known of their item: they carry the price 0"

LOG = logging.getLogger("shoplake.sources.retailrocket")

_EVENT_TYPES = {"view": "product_viewed", "addtocart": "add_to_cart", "transaction": "order_created"}
_MILLISECONDS = re.compile(r"\d{13}")
_NUMBER = re.compile(r"n(\d+\.\d{3})")


class Snapshots:
    """One property of all items as it changed in time."""

    def __init__(self, rows: pd.DataFrame) -> None:
        """Take rows of itemid, timestamp (milliseconds since 1970) and value, one for each item and time."""
        ordered = rows.sort_values(["itemid", "timestamp"], kind="stable")
        self._times = array("q", ordered["timestamp"].to_numpy())
        self._values = ordered["value"].tolist()
        counts = ordered.groupby("itemid", sort=True).size()
        ends = counts.cumsum()
        self._places = dict(zip(counts.index, zip((ends - counts).tolist(), ends.tolist(), strict=True), strict=True))

    def value_at(self, item: str, moment: int) -> str | None:
        """Give the newest value that is not later than the moment; None without one."""
        start, end = self._places.get(item, (0, 0))
        place = bisect_right(self._times, moment, start, end)
        return self._values[place - 1] if place > start else None


def read_retailrocket(file: TextFile, *property_files: PackedFile) -> Iterator[ParsedRecord]:
    """Give each event with its item's category and price as of its time; one row in is one record out.

    Raises:
        SourceError: a file of snapshots is none.
    """
    snapshots = read_snapshots(property_files)
    columns = Columns(file.header, COLUMNS)
    for line, raw in read_rows(file):
        if raw is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        event, event_ms = _event(columns.pick(raw), snapshots)
        columns.add_others(event, raw)
        yield make_record(event, event_ms, NO_PRICE if event["price"] == "0" else None)


def _event(cells: Sequence[str], snapshots: dict[str, Snapshots]) -> tuple[dict[str, Any], int | None]:
    moment, visitor, kind, item, transaction = cells
    event_ms = int(moment) if _MILLISECONDS.fullmatch(moment) else None
    price = category = None
    if event_ms is not None:
        price, category = (snapshots[name].value_at(item, event_ms) for name in (PRICE, CATEGORY))
    return {
        # Anything but milliseconds goes on as it is: the rule event_time_valid rejects it.
        "event_time": moment if event_ms is None else utc_text(datetime.fromtimestamp(event_ms / 1000, UTC)),
        "user_id": visitor or None, "product_id": item or None, "category": category or UNCATEGORISED,
        "price": price or "0", "quantity": "1", "event_type": _EVENT_TYPES.get(kind, kind),
        "event_id": identify(SOURCE, cells),
        "order_id": transaction or None, "source": SOURCE, "schema_version": 2,
    }, event_ms


def read_snapshots(files: Sequence[PackedFile]) -> dict[str, Snapshots]:
    """Unite the files' categories and prices: one value for each item, property and time, the one told last.

    A price is the text of its number, without the published `n`; what is no price, or has no time, is passed over with
    a warning that counts it.

    Raises:
        SourceError: a file cannot be read as snapshots.
    """
    rows = pd.concat([_read_properties(file) for file in files], ignore_index=True)
    rows = rows.drop_duplicates(["itemid", "property", "timestamp"], keep="last")
    prices = rows[rows["property"] == PRICE]
    numbers = prices["value"].str.extract(f"^{_NUMBER.pattern}$", expand=False)
    if numbers.isna().any():
        LOG.warning("%d price(s) of the item properties are no number and are passed over, the first: %r",
                    int(numbers.isna().sum()), str(prices["value"][numbers.isna()].iloc[0])[:60])
    return {CATEGORY: Snapshots(rows[rows["property"] == CATEGORY]),
            PRICE: Snapshots(prices.assign(value=numbers).dropna(subset=["value"]))}


def _read_properties(file: PackedFile) -> pd.DataFrame:
    """Read categories and prices of one file, the millions of other properties passed over as they come."""
    options = csv.ConvertOptions(column_types={name: pa.string() for name in PROPERTY_COLUMNS})
    parts, passed_over = [], 0

    def pass_over(_: csv.InvalidRow) -> str:
        nonlocal passed_over
        passed_over += 1
        return "skip"

    try:
        with open_bytes(file) as content, csv.open_csv(
                content, parse_options=csv.ParseOptions(invalid_row_handler=pass_over),
                convert_options=options) as reader:
            check_header(file, reader.schema.names, PROPERTY_COLUMNS, "file of RetailRocket's item properties")
            for batch in reader:
                is_wanted = pc.is_in(batch["property"], pa.array([CATEGORY, PRICE]))
                wanted = batch.filter(is_wanted)
                timed = wanted.filter(pc.match_substring_regex(wanted["timestamp"], f"^{_MILLISECONDS.pattern}$"))
                passed_over += wanted.num_rows - timed.num_rows
                parts.append(timed.select(PROPERTY_COLUMNS))
    except pa.ArrowException as error:
        raise SourceError(f"{file} cannot be read as RetailRocket's item properties: {error}") from error
    if passed_over:
        LOG.warning("%d row(s) of %s have other columns, or a time that is none, and are passed over",
                    passed_over, file)
    table = pa.Table.from_batches(parts, pa.schema([(name, pa.string()) for name in PROPERTY_COLUMNS]))
    return cast(pd.DataFrame, table.set_column(0, "timestamp", table["timestamp"].cast(pa.int64())).to_pandas())
