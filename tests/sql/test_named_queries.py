"""The queries of sql/: equal to Google's engine on random shops, and with all columns before there are tables."""

import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import CATEGORY_REVENUE, DAILY_SALES, DEMAND_PREDICTIONS, Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import NOTHING_YET, load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of
from shoplake.warehouse.protocol import RELATIONS

Rows = list[dict[str, Any]]
GoogleSql = Callable[..., tuple[list[str], list[str], list[tuple[Any, ...]]]]
WriteTable = Callable[[Lake, Table, Rows], None]
QUERIES = load_queries(PROJECT_ROOT / "sql")
TABLES = (DAILY_SALES, CATEGORY_REVENUE, DEMAND_PREDICTIONS)
# Over a leap day and a change to summer time in London.
DAYS = [date(2028, 2, 20) + timedelta(days=number) for number in range(45)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def _sales(**values: Any) -> dict[str, Any]:
    row = dict.fromkeys(("order_count", "units", "cancelled_units", "view_count", "cart_count"), 0)
    money = dict.fromkeys(("gross_amount", "cancelled_amount"), Decimal(0))
    filled = {**row, **money, **values}
    return {**filled, "net_amount": filled["gross_amount"] - filled["cancelled_amount"]}


def _random_sales(draw: random.Random, **key: Any) -> dict[str, Any]:
    # Every fifth row has money with few digits, so that quotients end in exact halves, or cancels more than it sells.
    price = draw.choice([Decimal(200), Decimal("0.0003"), Decimal(draw.randrange(10**7)).scaleb(-4)])
    back = draw.choice([Decimal(0), Decimal(0), Decimal(0), price, Decimal(draw.randrange(10**7)).scaleb(-4)])
    return _sales(**key, order_count=draw.randrange(5), units=draw.choice([0, 1, 1, 2, 40]), gross_amount=price,
                  cancelled_units=1 if back else 0, cancelled_amount=back, view_count=draw.randrange(9),
                  cart_count=draw.randrange(3))


def _random_shop(seed: int) -> dict[str, Rows]:
    draw = random.Random(seed)
    days = [day for day in DAYS if draw.random() < 0.85]
    products = [f"p{number}" for number in range(draw.randrange(1, 12))]
    categories = ["a", "b", "=c", "ä"]
    sales = [_random_sales(draw, event_date=day, product_id=product, category=draw.choice(categories))
             for day in days for product in products if draw.random() < 0.5]
    revenue = [{**_random_sales(draw, event_date=day, category=category), "net_amount_week_before": None,
                "net_growth_week": None} for day in days for category in categories if draw.random() < 0.6]
    predictions = [{
        "as_of_date": day - timedelta(days=horizon), "target_date": day, "horizon": horizon, "product_id": product,
        "category": "a", "model": model, "model_version": "v", "predicted_units": draw.randrange(400) / 8,
        "is_fallback": draw.random() < 0.1,
    } for day in [*DAYS[30:], DAYS[-1] + timedelta(days=3)] for product in products for model in ("linear", "xgboost")
        for horizon in draw.sample(range(1, 8), draw.randrange(3))]
    return {DAILY_SALES.name: sales, CATEGORY_REVENUE.name: revenue, DEMAND_PREDICTIONS.name: predictions}


def _fill(lake: Lake, write_table: WriteTable, shop: dict[str, Rows]) -> None:
    for table in TABLES:
        if shop.get(table.name):
            write_table(lake, table, shop[table.name])


@pytest.mark.parametrize("seed", range(5))
def test_every_query_equals_googles_engine(
    lake: Lake, write_table: WriteTable, google_sql: GoogleSql, seed: int,
) -> None:
    shop = _random_shop(seed)
    _fill(lake, write_table, shop)
    given = {}
    for relation in RELATIONS:
        columns = [column for column in relation.columns if not column.type.startswith("ARRAY")]
        given[relation.name] = columns, [[row[column.name] for column in columns]
                                         for row in shop.get(relation.name, [])]
    with DuckDBWarehouse(lake, 60) as warehouse:
        for query in QUERIES.values():
            parameters = resolve_parameters(query, {}, warehouse)
            answer = warehouse.query(query.sql, parameters)
            names, _, expected = google_sql(query.sql, parameters, given)
            assert answer.column_names == names
            assert rows_of(answer) == [list(row) for row in expected], query.name


@pytest.mark.parametrize("name", QUERIES)
def test_a_lake_without_gold_gives_no_rows_and_all_columns(lake: Lake, name: str) -> None:
    with DuckDBWarehouse(lake, 60) as warehouse:
        parameters = resolve_parameters(QUERIES[name], {}, warehouse)
        answer = warehouse.query(QUERIES[name].sql, parameters)
    assert parameters["to_date"] == NOTHING_YET
    assert answer.num_rows == 0
    assert len(answer.column_names) >= 6
