"""The real file through Kafka and, in a second lake, as a historical file: the same gold, and the published facts.

The oracle is the csv module and Decimal, straight from the file's lines.
"""

import csv
import gzip
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE,
    CATEGORY_REVENUE_1H,
    CUSTOMER_DAILY_SALES,
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    DAILY_SALES_SUMMARY,
    PRODUCT_REVENUE_5MIN,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT

DATA = PROJECT_ROOT.parent / "shared" / "data" / "online_retail.csv.gz"
GOLD = (DAILY_SALES, CATEGORY_REVENUE, DAILY_SALES_SUMMARY, CUSTOMER_DAILY_SALES, PRODUCT_REVENUE_5MIN,
        CATEGORY_REVENUE_1H)
SLICE = 8_000

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"the real data set is not there: {DATA.name}")


@dataclass
class Day:
    """What one product sold on one day."""

    orders: int = 0
    units: int = 0
    gross: Decimal = Decimal(0)
    cancelled_units: int = 0
    cancelled: Decimal = Decimal(0)
    prices: set[str] = field(default_factory=set)


@dataclass
class Facts:
    """What the file says, line by line."""

    lines: int = 0
    rejected: int = 0
    days: defaultdict[tuple[str, str], Day] = field(default_factory=lambda: defaultdict(Day))
    customers: defaultdict[tuple[str, str], Day] = field(default_factory=lambda: defaultdict(Day))
    invoices: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))


def read_facts(path: Path) -> Facts:
    facts = Facts()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            facts.lines += 1
            invoice, quantity = line["InvoiceNo"], int(line["Quantity"])
            if invoice.startswith("A") or (quantity < 0 and not invoice.startswith("C")):
                facts.rejected += 1
                continue
            date, customer = line["InvoiceDate"][:10], line["CustomerID"].removesuffix(".0") or f"guest-{invoice}"
            amount = Decimal(line["UnitPrice"]) * abs(quantity)
            for day in (facts.days[date, line["StockCode"].strip().upper()], facts.customers[date, customer]):
                day.prices.add(f"{Decimal(line['UnitPrice']):.4f}")
                if invoice.startswith("C"):
                    day.cancelled_units += abs(quantity)
                    day.cancelled += amount
                else:
                    day.orders += 1
                    day.units += quantity
                    day.gross += amount
            if not invoice.startswith("C"):
                facts.invoices[date, customer].add(invoice)
    return facts


def cut_file(rows: int | None, folder: Path) -> Path:
    if rows is None:
        return DATA
    path = folder / "online_retail_part.csv.gz"
    with gzip.open(DATA, "rb") as whole, gzip.open(path, "wb") as part:
        part.writelines(islice(whole, rows + 1))
    return path


def gold_rows(shells: Any) -> dict[str, Counter[tuple[Any, ...]]]:
    return {table.name: shells.rows(table) for table in GOLD}


def daily_sales(facts: Facts) -> Iterator[tuple[Any, ...]]:
    for (date, product), day in facts.days.items():
        yield (date, product, "uncategorised", day.orders, day.units, f"{day.gross:.4f}", day.cancelled_units,
               f"{day.cancelled:.4f}", f"{day.gross - day.cancelled:.4f}", 0, 0)


def customer_days(facts: Facts) -> Iterator[tuple[Any, ...]]:
    for (date, customer), day in facts.customers.items():
        yield (date, customer, customer.startswith("guest-"), len(facts.invoices[date, customer]), day.orders,
               day.units, f"{day.gross:.4f}", day.cancelled_units, f"{day.cancelled:.4f}",
               f"{day.gross - day.cancelled:.4f}")


def summary(facts: Facts) -> Iterator[tuple[Any, ...]]:
    """Give event_date, order_count, line_count, units, net_amount, visitor_count and buyer_count."""
    customers = defaultdict(list)
    for (date, customer), day in facts.customers.items():
        customers[date].append((len(facts.invoices[date, customer]), day))
    for date, rows in customers.items():
        yield (date, sum(orders for orders, _ in rows), sum(day.orders for _, day in rows),
               sum(day.units for _, day in rows), f"{sum(day.gross - day.cancelled for _, day in rows):.4f}", len(rows),
               sum(orders > 0 for orders, _ in rows))


@pytest.mark.parametrize("rows", [
    pytest.param(SLICE, id="slice"),
    pytest.param(None, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(2400)]),
])
def test_replay_and_history_give_the_same_gold(
    rows: int | None, shells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    path = cut_file(rows, tmp_path)
    facts = read_facts(path)
    shells.ok("kafka/producer.py", "--replay", str(path), "--source", "online_retail", "--json")
    assert json.loads(capsys.readouterr().out)["acknowledged"] == facts.lines
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py")
    replayed = gold_rows(shells)
    check_lake(shells, facts, rows is None, capsys)

    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path / "second"))
    second = shells.on(Lake(str(tmp_path / "second" / "lake")))
    if rows is not None:
        monkeypatch.setenv("SHOPLAKE_SPARK__FILE_CHUNK_ROWS", str(rows // 2))
    history = ("--historical-csv", str(path), "--source", "online_retail")
    second.ok("spark/batch_processing.py", *history)
    historical = gold_rows(second)
    check_lake(second, facts, rows is None, capsys)
    assert historical == replayed
    if rows is None:
        check_customers(second, tmp_path, monkeypatch)
    if rows is not None:
        second.ok("spark/batch_processing.py", *history)
        assert gold_rows(second) == replayed, "the same file again changes nothing"
        assert read_table(second.lake, BRONZE_EVENTS, ["offset"]).num_rows == facts.lines


LAST_DAY = "2011-12-09"


def check_customers(shells: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All known customers and no guest as of the file's last day, and the same segments when they are built again."""
    for name in ("as it is", "again"):
        if name == "again":
            shutil.copytree(folder / "second", folder / "third")
            shutil.rmtree(folder / "third" / "lake" / "gold" / "customer_segments")
            monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(folder / "third"))
        shells.ok("spark/batch_processing.py", "--as-of", LAST_DAY, "--table", CUSTOMER_METRICS.name,
                  "--table", CUSTOMER_SEGMENTS.name)
    built = [[row for row in read_table(Lake(str(folder / lake / "lake")), table).to_pylist()
              if str(row["as_of_date"]) == LAST_DAY]
             for table in (CUSTOMER_METRICS, CUSTOMER_SEGMENTS) for lake in ("second", "third")]
    assert [len({row["user_id"] for row in rows}) for rows in built] == [len(rows) for rows in built] == [4_372] * 4
    assert not any(row["user_id"].startswith("guest-") for rows in built for row in rows)
    segments = [Counter(repr(sorted(row.items())) for row in rows) for rows in built[2:]]
    assert segments[0] == segments[1]
    assert len({row["segment"] for row in built[2]} - {None}) > 1


def check_lake(shells: Any, facts: Facts, is_whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert shells.rows(DAILY_SALES, DAILY_SALES.column_names[:-2]) == Counter(daily_sales(facts))
    assert {row[0] for row in shells.rows(DAILY_SALES, ["brand"])} == {None}
    for row in shells.rows(DAILY_SALES, ["event_date", "product_id", "last_price"]):
        assert row[2] in facts.days[row[:2]].prices
    assert shells.rows(CUSTOMER_DAILY_SALES) == Counter(customer_days(facts))
    columns = ("event_date", "order_count", "line_count", "units", "net_amount", "visitor_count", "buyer_count")
    assert shells.rows(DAILY_SALES_SUMMARY, columns) == Counter(summary(facts))
    capsys.readouterr()
    shells.ok("utils/reconcile.py", "--json")
    ledger = json.loads(capsys.readouterr().out)
    assert ledger["balanced"]
    assert (ledger["offsets"], ledger["quarantine"]["rows"], ledger["duplicates"]) == (facts.lines, facts.rejected, 0)
    if is_whole:
        check_published_facts(shells, ledger)


def check_published_facts(shells: Any, ledger: dict[str, Any]) -> None:
    """Hold the whole file against the facts that were computed beforehand, not by this project."""
    assert (ledger["bronze"], ledger["silver"]) == (541_909, 540_570)
    assert (ledger["quarantine"]["by_reason"]["quantity_positive"],
            ledger["quarantine"]["by_reason"]["event_type_known"]) == (1_336, 3)
    assert read_table(shells.lake, SILVER_QUARANTINE, ["reasons"]).num_rows == 1_339
    events = read_table(shells.lake, SILVER_EVENTS, ["event_id"])
    assert len(events["event_id"].unique()) == 540_570, "each exact repeat is a row of its own"
    sales = read_table(shells.lake, DAILY_SALES)
    totals = {name: sum(sales[name].to_pylist())
              for name in ("units", "gross_amount", "cancelled_amount", "net_amount")}
    assert totals == {"units": 5_660_978, "gross_amount": Decimal("10655622.484"),
                      "cancelled_amount": Decimal("896812.49"), "net_amount": Decimal("9758809.994")}
    assert (sales.num_rows, len(sales["product_id"].unique())) == (278_700, 3_844)
    buyers = read_table(shells.lake, CUSTOMER_DAILY_SALES, ["user_id", "is_guest"]).to_pylist()
    assert len({row["user_id"] for row in buyers if not row["is_guest"]}) == 4_372
