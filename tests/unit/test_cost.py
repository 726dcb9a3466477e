"""The model of BigQuery's bill: what a scan reads, and that a daily run's bill stays flat while history grows."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from shoplake.contract.tables import DAILY_SALES
from shoplake.errors import QueryRefusedError
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.cost import Scan, Shop, estimate_query, estimate_run
from shoplake.warehouse.plan import published_tables

SHOP = Shop(history_days=400, last_day=date(2026, 3, 31), products=1000)
PAGE = PROJECT_ROOT / "docs" / "cost.md"
PARTITIONED = {table.name for table in published_tables() if table.partition_by}
# The longest time that a query of sql/ looks back over by default: two years.
LONGEST_LOOK = 730


def scans_of(sql: str, **parameters: Any) -> list[tuple[str, int, int]]:
    return [(scan.table, scan.partitions, scan.size) for scan in estimate_query("q", sql, parameters, SHOP)]


@pytest.mark.parametrize(("where", "parameters", "days"), [
    ("event_date BETWEEN '2026-03-30' AND '2026-03-31'", {}, 2),
    ("event_date >= @day", {"day": date(2026, 3, 22)}, 10),
    ("@day < event_date", {"day": date(2026, 3, 22)}, 9),
    ("event_date IN ('2026-03-31', '2026-03-01', '1999-01-01')", {}, 2),
    ("event_date >= DATE_SUB(@day, INTERVAL 1 MONTH) AND event_date <= @day", {"day": date(2026, 3, 31)}, 32),
    ("event_date >= @day AND units > 1", {"day": date(2026, 3, 31)}, 1),
    ("event_date = '2030-01-01'", {}, 0),
    ("event_date >= '1990-01-01'", {}, 400),
    ("event_date >= '2026-03-31' OR event_date = '2026-03-01'", {}, 2),
])
def test_a_scan_reads_the_partitions_of_its_filters(where: str, parameters: dict[str, Any], days: int) -> None:
    """DATE 8, STRING 16 and INT64 8 bytes of each of 1000 rows a day."""
    sql = f"SELECT product_id, SUM(units) AS units FROM gold.daily_sales WHERE {where} GROUP BY product_id"
    assert scans_of(sql, **parameters) == [("gold.daily_sales", days, days * 1000 * (8 + 16 + 8))]


def test_columns_count_once_for_each_scan_and_a_star_counts_all() -> None:
    sql = """
    WITH days AS (SELECT event_date, units FROM gold.daily_sales WHERE event_date >= '2026-03-31')
    SELECT days.units, r.net_amount FROM days JOIN gold.category_revenue AS r
    ON r.event_date = days.event_date AND r.event_date >= '2026-03-30' WHERE days.units + days.units > 0"""
    assert sorted(scans_of(sql)) == [("gold.category_revenue", 2, 2 * SHOP.categories * (8 + 16)),
                                     ("gold.daily_sales", 1, 1000 * 16)]
    everything = 8 + 3 * 16 + 5 * 8 + 4 * 16
    assert len(DAILY_SALES.columns) == 13
    assert scans_of("SELECT * FROM gold.daily_sales WHERE event_date = '2026-03-31'") == [
        ("gold.daily_sales", 1, 1000 * everything)]


def test_a_table_without_partitions_is_read_whole() -> None:
    assert scans_of("SELECT SUM(bronze_count) AS n FROM ops.ledger") == [("ops.ledger", 400, 400 * SHOP.batches * 8)]


def test_what_is_no_query_has_no_price() -> None:
    with pytest.raises(QueryRefusedError):
        scans_of("DROP TABLE gold.daily_sales")


def sum_by_statement(scans: Sequence[Scan]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for scan in scans:
        sums[scan.statement, scan.table] = sums.get((scan.statement, scan.table), 0) + scan.size
    return sums


def test_the_bytes_of_a_daily_run_stay_flat_as_history_grows_30_fold() -> None:
    now = estimate_run(Shop(history_days=LONGEST_LOOK))
    later = estimate_run(Shop(history_days=30 * LONGEST_LOOK))
    before, after = sum_by_statement(now), sum_by_statement(later)
    assert before.keys() == after.keys()
    for (statement, table), size in before.items():
        if table in PARTITIONED or table.startswith("staging"):
            assert after[statement, table] == size, f"{statement} reads more of {table} as history grows"
    growing = {scan.table for scan, other in zip(later, now, strict=True) if scan.billed > other.billed}
    # Tables without partitions are read whole: after 60 years these three have more than the 10 MB billed anyway.
    assert growing <= {"ops.ledger", "silver.quarantine_counts", "silver.products_dim"}
    assert sum(scan.billed for scan in later) <= 1.05 * sum(scan.billed for scan in now)


def test_from_the_first_quarter_on_the_bill_grows_only_to_the_longest_look() -> None:
    quarter, years = estimate_run(Shop(history_days=90)), estimate_run(Shop(history_days=2700))
    grown = {scan.statement for scan, other in zip(years, quarter, strict=True)
             if scan.table in PARTITIONED and scan.size > other.size}
    assert grown == {"cohort_retention", "price_change_effect", "category_growth_by_period"}, "their look is longer"
    assert sum(scan.billed for scan in years if scan.statement not in grown) == sum(
        scan.billed for scan in quarter if scan.statement not in grown)


def test_the_page_says_what_the_model_says() -> None:
    text = PAGE.read_text()
    for days in (90, LONGEST_LOOK, 30 * LONGEST_LOOK):
        scans = estimate_run(Shop(history_days=days))
        read, billed = sum(scan.size for scan in scans), sum(scan.billed for scan in scans)
        row = f"| {days:,} | {read / 1e6:,.0f} | {billed / 1e6:,.0f} | {billed / 2**40 * 6.25 * 365:,.2f} |"
        assert row in text, f"docs/cost.md lacks {row}"
    shop = Shop()
    for name in ("products", "categories", "customers", "known_customers", "visits", "brands", "changed_products",
                 "selling_windows", "models", "horizons", "batches", "rules", "changed_days"):
        assert re.search(rf"\| `{name}` \| {getattr(shop, name):,} \|", text), name
    assert replace(shop, history_days=1).rows_of_day("gold.daily_sales") == shop.products
