"""The whole way against the simulator's truth: zero differing rows, money to the last digit."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract import tables
from shoplake.lake.arrow import read_table
from shoplake.lake.ledger import count_rows

SALES = ("order_count", "units", "gross_amount", "cancelled_units", "cancelled_amount", "net_amount")
COLUMNS = {
    tables.SILVER_EVENTS: ("event_date", "event_id", "event_type", "product_id", "category", "price", "quantity",
                           "is_late", "event_time", "user_id"),
    tables.SILVER_DUPLICATES: ("event_date", "event_id"),
    tables.DAILY_SALES: ("event_date", "product_id", "category", *SALES, "view_count", "cart_count"),
    tables.CATEGORY_REVENUE: ("event_date", "category", *SALES, "net_amount_week_before", "net_growth_week"),
    tables.DAILY_SALES_SUMMARY: tables.DAILY_SALES_SUMMARY.column_names,
    tables.CUSTOMER_DAILY_SALES: tables.CUSTOMER_DAILY_SALES.column_names,
    tables.PRODUCT_REVENUE_5MIN: ("window_start", "product_id", *SALES),
    tables.CATEGORY_REVENUE_1H: ("window_start", "category", *SALES),
}


@pytest.fixture
def truth(shells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Send 60 simulated days, and take them through stream and batch in several micro-batches."""
    for name, share in {"DUPLICATE": 0.03, "CONFLICT_SAME_TIME": 0.003, "CONFLICT_OTHER_DATE": 0.002, "CORRUPT": 0.005,
                        "LATE": 0.01, "OUT_OF_ORDER": 0.02, "FUTURE": 0.002}.items():
        monkeypatch.setenv(f"SHOPLAKE_SIMULATION__{name}_SHARE", str(share))
    # A copy and its original must also fall into different micro-batches.
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_OFFSETS_PER_TRIGGER", "5000")
    file = tmp_path / "truth.json"
    # The clocks of Europe change on 2026-03-29, inside these days.
    shells.ok("kafka/producer.py", "--events", "12000", "--from", "2026-02-15", "--to", "2026-04-15", "--seed", "11",
              "--truth", str(file))
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py")
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_ground_truth(shells: Any, truth: dict[str, Any]) -> None:
    lake = shells.lake
    for table, columns in COLUMNS.items():
        assert_same(table.name, shells.rows(table, columns), Counter(map(tuple, truth[table.name])))
    assert_same("bronze.events", hashes(shells, tables.BRONZE_EVENTS), Counter(truth["bronze.events"]))
    quarantine = read_table(lake, tables.SILVER_QUARANTINE, ["value", "reasons"]).to_pylist()
    refused = ((hashlib.sha256(row["value"]).hexdigest(), tuple(sorted(row["reasons"]))) for row in quarantine)
    assert_same("silver.quarantine", Counter(refused),
                Counter((value, tuple(reasons)) for value, reasons in truth["silver.quarantine"]))
    ledger = count_rows(lake)
    assert ledger["batches"] > 2
    assert {"offsets": ledger["offsets"], "late": ledger["late"], "silver": ledger["silver"]} == {
        "offsets": truth["rows"]["bronze.events"], "late": truth["late_count"],
        "silver": truth["rows"]["silver.events"]}
    # every planted kind is there, or the equalities above would be hollow
    assert truth["late_count"]
    assert truth["reused_event_ids"]
    assert truth["rows"]["silver.duplicates"]
    assert {"conflicting_duplicate", "event_time_not_future", "json_valid"} <= set(truth["quarantine_by_reason"])
    assert shells.run("utils/reconcile.py") == 0


def hashes(shells: Any, table: tables.Table) -> Counter[str]:
    values = read_table(shells.lake, table, ["value"])["value"].to_pylist()
    return Counter(hashlib.sha256(value).hexdigest() for value in values)


def assert_same(name: str, seen: Counter[Any], right: Counter[Any]) -> None:
    missing, extra = right - seen, seen - right
    found = (f"{name}: {missing.total()} rows missing, e.g. {list(missing)[:3]}; "
             f"{extra.total()} too many, e.g. {list(extra)[:3]}")
    assert not missing, found
    assert not extra, found
