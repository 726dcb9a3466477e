"""The right answers, against DuckDB over the accepted events and against cases worked out by hand."""

import hashlib
import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shoplake.settings import Settings, load_settings
from shoplake.simulation import SimulatedRecord, Truth, simulate_history
from shoplake.simulation.truth import growth

FIRST, LAST = date(2026, 3, 20), date(2026, 4, 4)


@pytest.fixture(scope="module")
def settings() -> Settings:
    base = load_settings("local")
    shares = {"products": 25, "duplicate_share": 0.03, "conflict_same_time_share": 0.01,
              "conflict_other_date_share": 0.01, "corrupt_share": 0.02}
    return base.model_copy(update={"simulation": base.simulation.model_copy(update=shares)})


@pytest.fixture(scope="module")
def records(settings: Settings) -> list[SimulatedRecord]:
    return list(simulate_history(FIRST, LAST, 12_000, 11, settings))


@pytest.fixture(scope="module")
def truth(records: list[SimulatedRecord]) -> dict[str, Any]:
    answers = Truth({"seed": 11})
    for record in records:
        answers.add(record)
    return answers.document()


@pytest.fixture(scope="module")
def silver(truth: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    connection.execute(
        "CREATE TABLE silver (event_date DATE, event_id VARCHAR, event_type VARCHAR, product_id VARCHAR, "
        "category VARCHAR, price DECIMAL(18,4), quantity INT, is_late BOOLEAN, event_time TIMESTAMPTZ, "
        "user_id VARCHAR)")
    connection.executemany(f"INSERT INTO silver VALUES ({', '.join('?' * 10)})", truth["silver.events"][:3000])
    return connection


def rows_of(truth_rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, truth_rows), key=repr)


SALES = """
    count(*) FILTER (event_type = 'order_created'),
    coalesce(sum(quantity) FILTER (event_type = 'order_created'), 0)::INT,
    coalesce(sum(price * quantity) FILTER (event_type = 'order_created'), 0)::DECIMAL(28,4)::VARCHAR,
    coalesce(sum(quantity) FILTER (event_type = 'order_cancelled'), 0)::INT,
    coalesce(sum(price * quantity) FILTER (event_type = 'order_cancelled'), 0)::DECIMAL(28,4)::VARCHAR,
    (coalesce(sum(price * quantity) FILTER (event_type = 'order_created'), 0)
     - coalesce(sum(price * quantity) FILTER (event_type = 'order_cancelled'), 0))::DECIMAL(28,4)::VARCHAR
"""


@pytest.fixture(scope="module")
def small_truth(records: list[SimulatedRecord], truth: dict[str, Any]) -> dict[str, Any]:
    """The answers for the records behind the first 3000 silver rows: DuckDB takes rows one by one here."""
    wanted = {(row[0], row[1]) for row in truth["silver.events"][:3000]}
    answers = Truth({})
    for record in records:
        is_accepted = not record.reasons and record.kind != "duplicate"
        if is_accepted and (record.event_date.isoformat(), record.event_id) in wanted:
            answers.add(record)
    return answers.document()


def test_daily_sales(silver: duckdb.DuckDBPyConnection, small_truth: dict[str, Any]) -> None:
    expected = silver.execute(f"""
        SELECT event_date::VARCHAR, product_id, arg_max(category, (event_time, event_id)), {SALES},
          count(*) FILTER (event_type = 'product_viewed'), count(*) FILTER (event_type = 'add_to_cart'),
          arg_max(price, (event_time, event_id))::VARCHAR
        FROM silver GROUP BY event_date, product_id""").fetchall()
    assert len(expected) > 50
    right = [[*row[:11], row[12]] for row in small_truth["gold.daily_sales"]]  # rows of silver here have no brand
    assert rows_of(right) == sorted(expected, key=repr)


@pytest.mark.parametrize(("table", "length", "group"), [
    ("silver.product_revenue_5min", "5 minutes", "product_id"), ("silver.category_revenue_1h", "1 hour", "category")])
def test_windows(
    silver: duckdb.DuckDBPyConnection, small_truth: dict[str, Any], table: str, length: str, group: str,
) -> None:
    expected = silver.execute(f"""
        SELECT strftime(time_bucket(INTERVAL '{length}', event_time), '%Y-%m-%dT%H:%M:%S.%fZ'), {group}, {SALES}
        FROM silver WHERE event_type IN ('order_created', 'order_cancelled') GROUP BY ALL""").fetchall()
    assert len(expected) > 50
    assert rows_of(small_truth[table]) == sorted(expected, key=repr)


def test_category_revenue_adds_up_and_looks_back_seven_days(truth: dict[str, Any]) -> None:
    rows = {(row[0], row[1]): row for row in truth["gold.category_revenue"]}
    daily = truth["gold.daily_sales"]
    for position in (4, 6, 8):  # units, … of daily_sales stand one further right
        assert sum(Decimal(str(row[position - 1])) for row in rows.values()) == sum(
            Decimal(str(row[position])) for row in daily)
    compared = 0
    for (day, category), row in rows.items():
        week_before = date.fromordinal(date.fromisoformat(day).toordinal() - 7).isoformat()
        base = rows.get((week_before, category))
        assert row[8] == (base[7] if base else None)
        if base and Decimal(base[7]) > 0:
            exact = (Decimal(row[7]) - Decimal(base[7])) / Decimal(base[7])
            assert abs(Decimal(row[9]) - exact) <= Decimal("0.0000005")
            compared += 1
        else:
            assert row[9] is None
    assert compared > 20


@pytest.mark.parametrize(("amount", "base", "expected"), [
    ("150", "100", "0.500000"), ("50", "100", "-0.500000"), ("0", "3", "-1.000000"), ("4", "3", "0.333333"),
    ("5", "3", "0.666667"), ("1000000.5", "1000000", "0.000001"), ("999999.5", "1000000", "-0.000001"),
    ("10", "0", None), ("10", "-5", None), ("10", None, None), ("7", "7", "0.000000"),
    ("999999.7", "1000000", "0.000000"),
    ("11330.1355", "15593.4782", "-0.273406"),  # -0.2734054997 is -0.273405500 with nine decimals
])
def test_growth_rounds_halves_away_from_zero(amount: str, base: str | None, expected: str | None) -> None:
    assert growth(Decimal(amount), None if base is None else Decimal(base)) == expected


def test_the_last_category_of_a_day_is_by_time_then_identity(records: list[SimulatedRecord]) -> None:
    good = next(record for record in records if not record.reasons and record.kind == "normal")
    later = good.event["event_time"] + timedelta(microseconds=1)
    cases = [
        (good.event["event_time"], "z", "first"), (later, "a", "smaller id"), (later, "b", "last"),
    ]
    answers = Truth({})
    for event_time, event_id, category in cases:
        event = {**good.event, "event_time": event_time, "event_id": event_id, "category": category}
        answers.add(replace(good, event=event, event_id=event_id))
    assert [row[2] for row in answers.document()["gold.daily_sales"]] == ["last"]


def test_every_record_stands_in_exactly_one_place(records: list[SimulatedRecord], truth: dict[str, Any]) -> None:
    rows = truth["rows"]
    assert rows["bronze.events"] == len(records) == 12_000
    assert rows["silver.events"] + rows["silver.duplicates"] + rows["silver.quarantine"] == 12_000
    assert rows == {name: len(truth[name]) for name in rows}
    assert sorted(truth["bronze.events"]) == sorted(hashlib.sha256(record.value).hexdigest() for record in records)
    assert sum(truth["quarantine_by_reason"].values()) == sum(len(row[1]) for row in truth["silver.quarantine"])
    identities = [(row[0], row[1]) for row in truth["silver.events"]]
    assert len(set(identities)) == len(identities)
    assert {tuple(row) for row in truth["silver.duplicates"]} <= set(identities)
    assert truth["reused_event_ids"] == len(identities) - len({event_id for _, event_id in identities}) == 120
    assert truth["late_count"] == sum(row[7] for row in truth["silver.events"])
    assert truth["quarantine_by_reason"]["conflicting_duplicate"] == 120


def test_the_document_is_json(tmp_path: Path, records: list[SimulatedRecord], truth: dict[str, Any]) -> None:
    answers = Truth({"seed": 11, "from": FIRST})
    for record in records:
        answers.add(record)
    answers.write(tmp_path / "truth.json")
    document = json.loads((tmp_path / "truth.json").read_text())
    assert document == {**truth, "parameters": {"seed": 11, "from": "2026-03-20"}}
