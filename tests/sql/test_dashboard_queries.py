"""The dashboard's queries: equal to Google's engine on random shops, and with all columns before there are tables."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import (
    CATEGORY_REVENUE_1H,
    DAILY_SALES,
    DEMAND_PREDICTIONS,
    FILES,
    LATEST_WINDOW_PRODUCTS,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    QUARANTINE_COUNTS,
    RUNS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of

Rows = list[dict[str, Any]]
GoogleSql = Callable[..., tuple[list[str], list[str], list[tuple[Any, ...]]]]
WriteTable = Callable[[Lake, Table, Rows], None]
QUERIES = load_queries(PROJECT_ROOT / "sql" / "dashboard")
DAYS = [date(2028, 2, 20) + timedelta(days=number) for number in range(20)]
PRODUCTS, CATEGORIES = ["p1", "p2", "p3", "=x"], [*"abcdefgh", "all", "ä"]
SCALAR_TYPES = ("STRING", "BIGINT", "INT", "DATE", "TIMESTAMP", "DOUBLE", "BOOLEAN", "DECIMAL(28,4)")


def _sales(draw: random.Random, **key: Any) -> dict[str, Any]:
    gross, back = (Decimal(draw.randrange(10**6)).scaleb(-4) for _ in range(2))
    return {**key, "order_count": draw.randrange(5), "units": draw.randrange(9), "gross_amount": gross,
            "cancelled_units": 1, "cancelled_amount": back, "net_amount": gross - back, "view_count": 0,
            "cart_count": 0}


def _windows(draw: random.Random, minutes: int, name: str, values: list[str]) -> Rows:
    starts = [datetime(2028, 2, 28, tzinfo=UTC) + timedelta(minutes=minutes * draw.randrange(3 * 1440 // minutes))
              for _ in range(30)]
    return [_sales(draw, window_date=start.date(), window_start=start, window_end=start + timedelta(minutes=minutes),
                   **{name: value}) for start in dict.fromkeys(starts) for value in draw.sample(values, 3)]


def _random_shop(seed: int) -> dict[str, Rows]:
    draw = random.Random(seed)
    moment = datetime(2028, 3, 1, 12, tzinfo=UTC)
    return {
        PRODUCT_REVENUE_5MIN.name: _windows(draw, 5, "product_id", PRODUCTS),
        CATEGORY_REVENUE_1H.name: _windows(draw, 60, "category", CATEGORIES),
        DAILY_SALES.name: [_sales(draw, event_date=day, product_id=product, category=draw.choice(CATEGORIES))
                           for day in DAYS for product in PRODUCTS if draw.random() < 0.6],
        DEMAND_PREDICTIONS.name: [{
            "as_of_date": day - timedelta(days=horizon), "target_date": day, "horizon": horizon, "product_id": product,
            "category": draw.choice(CATEGORIES), "model": model, "model_version": "v",
            "predicted_units": draw.randrange(400) / 8, "is_fallback": False,
        } for day in [*DAYS[10:], DAYS[-1] + timedelta(days=2)] for product in PRODUCTS for model in ("m", "n")
            for horizon in draw.sample(range(1, 8), draw.randrange(3))],
        LEDGER.name: [{
            "query_id": query, "batch_id": number, "origin": "o", "topic": query[0], "ranges": [], "rules": [],
            "event_dates": [], **{name: draw.randrange(100) for name in LEDGER.column_names if name.endswith("_count")},
        } for query in ("s1", "s2", "f3") for number in range(draw.randrange(1, 5))],
        RUNS.name: [{
            "run_id": f"r{number}", "dag_id": "d", "run_date": DAYS[number],
            "finished_at": moment + timedelta(hours=draw.randrange(4)),
            **{name: draw.randrange(100) for name in RUNS.column_names if name.endswith("_count")},
        } for number in range(6)],
        FILES.name: [{
            **dict.fromkeys(FILES.column_names), "source": "events", "file_sha256": str(number),
            "file_name": str(number), "byte_count": 1, "status": draw.choice(["ingested", "rejected"]),
            "arrived_at": moment, "recorded_at": moment + timedelta(hours=draw.randrange(4)),
        } for number in range(6)],
        SILVER_QUARANTINE.name: [{
            **dict.fromkeys(SILVER_QUARANTINE.column_names), "origin": "o", "topic": "t", "partition": 0,
            "offset": number, "reasons": draw.sample(["r1", "r2", "r3"], draw.randrange(1, 4)), "ingest_time": moment,
            "ingest_date": draw.choice(DAYS), "query_id": "s1", "batch_id": 0,
        } for number in range(40)],
    }


def _views(shop: dict[str, Rows]) -> dict[str, Rows]:
    counts: dict[tuple[date, str], int] = {}
    for row in shop[SILVER_QUARANTINE.name]:
        for reason in row["reasons"]:
            counts[row["ingest_date"], reason] = counts.get((row["ingest_date"], reason), 0) + 1
    windows = shop[PRODUCT_REVENUE_5MIN.name]
    newest = [row for row in windows if row["window_start"] == max(other["window_start"] for other in windows)]
    return {
        QUARANTINE_COUNTS.name: [{"ingest_date": day, "reason": reason, "row_count": count}
                                 for (day, reason), count in counts.items()],
        LATEST_WINDOW_PRODUCTS.name: [
            {**row, "revenue_rank": 1 + sum(other["net_amount"] > row["net_amount"] for other in newest)}
            for row in newest],
    }


def _for_google(shop: dict[str, Rows]) -> dict[str, Any]:
    relations = (PRODUCT_REVENUE_5MIN, CATEGORY_REVENUE_1H, DAILY_SALES, DEMAND_PREDICTIONS, LEDGER, RUNS, FILES,
                 QUARANTINE_COUNTS, LATEST_WINDOW_PRODUCTS)
    rows = {**shop, **_views(shop)}
    given = {}
    for relation in relations:
        columns = [column for column in relation.columns if column.type in SCALAR_TYPES]
        given[relation.name] = columns, [[row[column.name] for column in columns] for row in rows[relation.name]]
    return given


@pytest.mark.parametrize("seed", range(4))
def test_every_query_of_the_dashboard_equals_googles_engine(
    tmp_path: Path, write_table: WriteTable, google_sql: GoogleSql, seed: int,
) -> None:
    lake, shop = Lake(str(tmp_path / "lake")), _random_shop(seed)
    for table in (PRODUCT_REVENUE_5MIN, CATEGORY_REVENUE_1H, DAILY_SALES, DEMAND_PREDICTIONS, LEDGER, RUNS, FILES,
                  SILVER_QUARANTINE):
        names = table.column_names
        write_table(lake, table, [{name: row[name] for name in names} for row in shop[table.name]])
    tables = _for_google(shop)
    scopes: list[dict[str, str]] = [{}, {"scope": "category", "name": "a"}, {"scope": "product", "name": "=x"}]
    with DuckDBWarehouse(lake, 60) as warehouse:
        for query in QUERIES.values():
            has_scope = any(parameter.name == "scope" for parameter in query.parameters)
            for given in scopes if has_scope else [{}]:
                parameters = resolve_parameters(query, given, warehouse)
                answer = warehouse.query(query.sql, parameters)
                names, _, expected = google_sql(query.sql, parameters, tables)
                assert answer.column_names == names
                assert len(expected) > 0, f"{query.name} {given}"
                for seen, wanted in zip(rows_of(answer), expected, strict=True):
                    for value, right in zip(seen, wanted, strict=True):
                        if isinstance(right, float):
                            assert value == pytest.approx(right), query.name
                        else:
                            assert value == right, query.name


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_over_tables_that_are_not_built_has_all_its_columns(tmp_path: Path, name: str) -> None:
    with DuckDBWarehouse(Lake(str(tmp_path / "lake")), 60) as warehouse:
        answer = warehouse.query(QUERIES[name].sql, resolve_parameters(QUERIES[name], {}, warehouse))
    assert len(answer.column_names) >= 2
