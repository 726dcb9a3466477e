"""The queries of sql/: equal to Google's engine on random shops, and to results written by hand."""

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
from shoplake.warehouse.googlesql import Value
from shoplake.warehouse.named_queries import NOTHING_YET, load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of

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
        "category": "a", "model": model, "model_version": "v", "predicted_units": draw.uniform(0, 50),
        "is_fallback": draw.random() < 0.1,
    } for day in [*DAYS[30:], DAYS[-1] + timedelta(days=3)] for product in products for model in ("linear", "xgboost")
        for horizon in draw.sample(range(1, 8), draw.randrange(3))]
    return {DAILY_SALES.name: sales, CATEGORY_REVENUE.name: revenue, DEMAND_PREDICTIONS.name: predictions}


def _fill(lake: Lake, write_table: WriteTable, shop: dict[str, Rows]) -> None:
    for table in TABLES:
        if shop.get(table.name):
            write_table(lake, table, shop[table.name])


def _ask(lake: Lake, name: str, **given: str) -> tuple[list[dict[str, Any]], dict[str, Value]]:
    with DuckDBWarehouse(lake, 60) as warehouse:
        parameters = resolve_parameters(QUERIES[name], given, warehouse)
        return warehouse.query(QUERIES[name].sql, parameters).to_pylist(), parameters


@pytest.mark.parametrize("seed", range(5))
def test_every_query_equals_googles_engine(
    lake: Lake, write_table: WriteTable, google_sql: GoogleSql, seed: int,
) -> None:
    shop = _random_shop(seed)
    _fill(lake, write_table, shop)
    given = {table.name: (table.columns, [[row[column] for column in table.column_names] for row in shop[table.name]])
             for table in TABLES}
    with DuckDBWarehouse(lake, 60) as warehouse:
        for query in QUERIES.values():
            parameters = resolve_parameters(query, {}, warehouse)
            answer = warehouse.query(query.sql, parameters)
            names, _, expected = google_sql(query.sql, parameters, given)
            assert answer.column_names == names
            assert rows_of(answer) == [list(row) for row in expected], query.name


def test_daily_growth_needs_a_base_above_zero_and_counts_calendar_days(lake: Lake, write_table: WriteTable) -> None:
    def day(number: int, amount: str) -> dict[str, Any]:
        return _sales(event_date=date(2026, 3, number), product_id="p", category="c", gross_amount=Decimal(amount))

    write_table(lake, DAILY_SALES, [
        day(1, "200"), day(2, "0"), day(3, "10"), day(5, "20"), day(8, "200.0001"), day(9, "300.0003"),
    ])
    rows, parameters = _ask(lake, "daily_revenue")
    assert parameters == {"from_date": date(2026, 2, 10), "to_date": date(2026, 3, 9)}
    growth = {row["event_date"].day: (row["net_growth_day"], row["net_growth_week"]) for row in rows}
    assert growth == {
        1: (None, None), 2: (Decimal(-1), None), 3: (None, None),  # no base, then a base of 0
        5: (None, None),  # the 4th had no sales at all: the 3rd is not the day before
        8: (None, Decimal("0.000001")),  # 0.0000005 exactly: halves go away from zero
        9: (Decimal("0.500001"), None),
    }


def test_the_first_day_asked_for_still_has_its_growth(lake: Lake, write_table: WriteTable) -> None:
    write_table(lake, DAILY_SALES, [
        _sales(event_date=date(2026, 3, number), product_id="p", category="c", gross_amount=Decimal(number))
        for number in (1, 7, 8)
    ])
    rows, _ = _ask(lake, "daily_revenue", from_date="2026-03-08")
    assert [(row["event_date"].day, row["net_growth_day"], row["net_growth_week"]) for row in rows] == [
        (8, Decimal("0.142857"), Decimal(7)),
    ]


def test_category_growth_compares_two_periods_of_equal_length(lake: Lake, write_table: WriteTable) -> None:
    def sold(day: date, category: str, amount: int) -> dict[str, Any]:
        return {**_sales(event_date=day, category=category, units=1, gross_amount=Decimal(amount)),
                "net_amount_week_before": None, "net_growth_week": None}

    write_table(lake, CATEGORY_REVENUE, [
        sold(date(2026, 3, 14), "grown", 30), sold(date(2026, 3, 8), "grown", 45),  # first and last day of the period
        sold(date(2026, 3, 7), "grown", 20), sold(date(2026, 3, 1), "grown", 30),  # the same of the period before
        sold(date(2026, 2, 28), "grown", 1000),  # too old
        sold(date(2026, 3, 10), "new", 25), sold(date(2026, 3, 2), "gone", 8),
    ])
    rows, _ = _ask(lake, "category_growth")
    assert [(row["category"], row["net_amount"], row["net_amount_before"], row["net_growth"], row["net_share"])
            for row in rows] == [
        ("grown", 75, 50, Decimal("0.5"), Decimal("0.75")), ("new", 25, 0, None, Decimal("0.25")),
        ("gone", 0, 8, Decimal(-1), Decimal(0)),
    ]


def test_actual_demand_is_zero_without_a_row_and_unknown_in_the_future(lake: Lake, write_table: WriteTable) -> None:
    def forecast(target: int, product: str, as_of: int, units: float) -> dict[str, Any]:
        return {"as_of_date": date(2026, 3, as_of), "target_date": date(2026, 3, target), "horizon": target - as_of,
                "product_id": product, "category": "c", "model": "m", "model_version": "v", "predicted_units": units,
                "is_fallback": False}

    write_table(lake, DAILY_SALES, [
        _sales(event_date=date(2026, 3, 10), product_id="sold", category="c", units=7),
        _sales(event_date=date(2026, 3, 11), product_id="sold", category="c", units=1),
    ])
    write_table(lake, DEMAND_PREDICTIONS, [
        forecast(10, "sold", 8, 99.0), forecast(10, "sold", 9, 5.5), forecast(10, "idle", 9, 0.25),
        forecast(12, "sold", 11, 1.0),
    ])
    rows, _ = _ask(lake, "demand_vs_actual", to_date="2026-03-20")
    assert [(row["product_id"], row["as_of_date"].day, row["predicted_units"], row["actual_units"], row["error_units"])
            for row in rows] == [("sold", 9, 5.5, 7, -1.5), ("idle", 9, 0.25, 0, 0.25)]


def test_top_sellers_share_ranks_and_carry_their_newest_category(lake: Lake, write_table: WriteTable) -> None:
    def sold(day: int, product: str, category: str, units: int) -> dict[str, Any]:
        return _sales(event_date=date(2026, 3, day), product_id=product, category=category, units=units)

    write_table(lake, DAILY_SALES, [
        sold(1, "a", "old", 3), sold(2, "a", "new", 4), sold(2, "b", "x", 7), sold(2, "c", "x", 5),
        sold(2, "d", "x", 0),
    ])
    rows, _ = _ask(lake, "top_selling_products")
    assert [(row["units_rank"], row["product_id"], row["category"], row["units"]) for row in rows] == [
        (1, "a", "new", 7), (1, "b", "x", 7), (3, "c", "x", 5),
    ]
    assert [row["product_id"] for row in _ask(lake, "top_selling_products", product_count="1")[0]] == ["a"]


@pytest.mark.parametrize("name", QUERIES)
def test_a_lake_without_gold_gives_no_rows_and_all_columns(lake: Lake, name: str) -> None:
    with DuckDBWarehouse(lake, 60) as warehouse:
        parameters = resolve_parameters(QUERIES[name], {}, warehouse)
        answer = warehouse.query(QUERIES[name].sql, parameters)
    assert parameters["to_date"] == NOTHING_YET
    assert answer.num_rows == 0
    assert len(answer.column_names) >= 6
