"""Versions, performance and recommendations of products, against plain Python over random shopping."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.batch.product_performance import DAYS_BACK, build_product_performance
from shoplake.batch.product_recommendations import (
    MOST_PRODUCTS,
    RANKS,
    SHRINKAGE,
    build_product_recommendations,
)
from shoplake.batch.products_dim import build_products_dim
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import (
    DAILY_SALES,
    PRODUCT_PERFORMANCE,
    PRODUCT_RECOMMENDATIONS,
    PRODUCTS_DIM,
    SILVER_EVENTS,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Rows = list[dict[str, Any]]
AS_OF = date(2028, 2, 29)
MEASURES = ("order_count", "units", "gross_amount", "cancelled_units", "cancelled_amount", "net_amount", "view_count",
            "cart_count")


def frame(spark: "SparkSession", rows: Rows, table: Table) -> "DataFrame":
    schema = spark_schema(table)
    for field in schema.fields:
        field.nullable = True
    return spark.createDataFrame([{**dict.fromkeys(table.column_names), **row} for row in rows], schema)


def collect(built: "DataFrame", table: Table) -> Rows:
    selected = built.select(*table.column_names)
    assert selected.schema.simpleString() == spark_schema(table).simpleString()
    return sorted((row.asDict() for row in selected.collect()), key=lambda row: str([row[name] for name in table.key]))


def draw_sales(seed: int) -> Rows:
    """Give sales of 40 products over 130 days, some before and some after the twelve weeks up to AS_OF."""
    draw = random.Random(seed)
    rows = []
    for number in range(40):
        rate, price = draw.choice((0.05, 0.3, 0.9)), Decimal(draw.randrange(1, 10**6)).scaleb(-4)
        category, brand = draw.choice("xyz"), draw.choice((None, "b1", "b2"))
        for age in range(-15, 115):
            if draw.random() > rate:
                continue
            if draw.random() < 0.05:
                price, category, brand = price + 1, draw.choice("xyz"), draw.choice((None, "b1"))
            units = 0 if number == 7 else draw.choice((0, 1, 2, 50))
            gross = price * units
            cancelled = price * draw.choice((0, 0, 0, 1, 100))
            rows.append({
                "event_date": AS_OF - timedelta(days=age), "product_id": f"p{number:02}", "category": category,
                "order_count": min(units, 3), "units": units, "gross_amount": gross, "cancelled_units": 1,
                "cancelled_amount": cancelled, "net_amount": gross - cancelled, "view_count": draw.choice((0, 0, 9)),
                "cart_count": draw.randrange(4), "brand": brand, "last_price": price})
    draw.shuffle(rows)
    return rows


def test_a_version_lasts_until_something_changes(spark: "SparkSession") -> None:
    sales = draw_sales(1)
    expected = []
    for product in {row["product_id"] for row in sales}:
        days = sorted((row for row in sales if row["product_id"] == product), key=lambda row: row["event_date"])
        states = [(row["event_date"], row["category"], row["brand"], row["last_price"]) for row in days]
        begun = [states[0], *(later for earlier, later in pairwise(states) if earlier[1:] != later[1:])]
        ends = [*(state[0] for state in begun[1:]), None]
        expected += [{"product_id": product, "valid_from": first, "valid_to": end, "category": category, "brand": brand,
                      "price": price} for (first, category, brand, price), end in zip(begun, ends, strict=True)]
    built = collect(build_products_dim(frame(spark, sales, DAILY_SALES)), PRODUCTS_DIM)
    assert built == sorted(expected, key=lambda row: str([row["product_id"], row["valid_from"]]))
    assert len(built) > 2 * 40
    assert {row["product_id"] for row in built if row["valid_to"] is None} == {row["product_id"] for row in sales}


def test_performance_is_that_of_plain_python(spark: "SparkSession") -> None:
    sales = draw_sales(2)
    built = collect(build_product_performance(frame(spark, sales, DAILY_SALES), AS_OF), PRODUCT_PERFORMANCE)
    first = AS_OF - timedelta(days=DAYS_BACK - 1)
    products: defaultdict[str, Rows] = defaultdict(list)
    for row in sales:
        if first <= row["event_date"] <= AS_OF:
            products[row["product_id"]].append(row)
    sums = {product: {name: sum(row[name] for row in rows) for name in MEASURES} for product, rows in products.items()}
    newest = {product: max(rows, key=lambda row: row["event_date"]) for product, rows in products.items()}
    assert [row["product_id"] for row in built] == sorted(products)
    for row in built:
        product, its = row["product_id"], sums[row["product_id"]]
        assert {name: row[name] for name in MEASURES} == its
        assert (row["category"], row["brand"]) == (newest[product]["category"], newest[product]["brand"])
        for name, count in (("cart_rate", its["cart_count"]), ("order_rate", its["order_count"])):
            views = its["view_count"]
            assert row[name] == (round(Decimal(count) / views, 6) if views else None)
        for name, others in (("net_rank", set(sums)),
                             ("category_rank", {one for one in sums if newest[one]["category"] == row["category"]}),
                             ("brand_rank", {one for one in sums if newest[one]["brand"] == row["brand"]})):
            assert row[name] == 1 + sum(sums[one]["net_amount"] > its["net_amount"] for one in others)
    assert {row["abc_class"] for row in built} == {"A", "B", "C"}


def test_classes_are_those_of_the_query(
    spark: "SparkSession", write_table: Callable[..., None], data_dir: Any,
) -> None:
    sales = [row for row in draw_sales(3) if row["event_date"] <= AS_OF]
    lake = Lake(str(data_dir / "lake"))
    write_table(lake, DAILY_SALES, sales)
    query = load_queries(PROJECT_ROOT / "sql")["abc_xyz_classes"]
    with DuckDBWarehouse(lake, 60) as warehouse:
        asked = warehouse.query(query.sql, resolve_parameters(query, {"to_date": str(AS_OF)}, warehouse))
    names = asked.column_names
    right = {row[names.index("product_id")]: dict(zip(names, row, strict=True)) for row in rows_of(asked)}
    built = collect(build_product_performance(frame(spark, sales, DAILY_SALES), AS_OF), PRODUCT_PERFORMANCE)
    assert {row["product_id"] for row in built} == set(right)
    for row in built:
        its = right[row["product_id"]]
        for name in ("category", "abc_class", "xyz_class", "net_amount", "units", "cumulative_share"):
            assert row[name] == its[name], (row["product_id"], name)
        assert row["units_variation"] == pytest.approx(its["units_variation"])


def draw_events(seed: int) -> Rows:
    """Give looks and orders of products that go together by the letter of their names, and a wholesaler's order."""
    draw = random.Random(seed)
    rows: Rows = []

    def add(age: int, user: str, kind: str, product: str, order: str | None, seconds: int) -> None:
        moment = datetime(2028, 2, 29, 12, tzinfo=UTC) - timedelta(days=age) + timedelta(seconds=seconds)
        rows.append({"event_date": moment.date(), "event_time": moment, "event_id": f"e{len(rows):05}", "user_id": user,
                     "session_id": None, "event_type": kind, "product_id": product, "category": product[0],
                     "order_id": order, "quantity": 1, "price": Decimal(1), "is_guest": False})

    for number in range(300):
        age, user = draw.randrange(-10, 100), f"u{number}"
        letters = draw.choice(("a", "a", "b", "ab"))
        products = {f"{draw.choice(letters)}{draw.randrange(12)}" for _ in range(draw.randrange(1, 6))}
        for place, product in enumerate(sorted(products)):
            add(age, user, "product_viewed", product, None, 60 * place)
            if number % 2:
                add(age, user, "order_created", product, draw.choice((None, f"o{number}")), 1000)
    for place in range(MOST_PRODUCTS + 1):
        add(3, "wholesaler", "order_created", f"w{place:03}", "big", place)
    for place in range(40):  # a program, quick and tireless
        add(4, "program", "product_viewed", ("a0", "b0")[place % 2], None, place)
    add(5, "late", "product_viewed", "a-cold-one", None, 0)
    add(5, "later", "product_viewed", "z-of-its-own", None, 0)
    return rows


def expect_recommendations(events: Rows) -> dict[str, list[tuple[str, str, float | None, int | None]]]:
    """Compute recommended product, method, score and baskets of each product in plain Python."""
    known = [row for row in events if AS_OF - timedelta(days=89) <= row["event_date"] <= AS_OF]
    baskets: defaultdict[Any, set[str]] = defaultdict(set)
    for row in known:
        if row["event_type"] == "order_created":
            name = row["order_id"] or row["event_time"]
            baskets[row["user_id"], name].add(row["product_id"])
        elif row["user_id"] != "program":  # everybody comes once
            baskets[row["user_id"]].add(row["product_id"])
    kept = [basket for basket in baskets.values() if len(basket) <= MOST_PRODUCTS]
    alone = Counter(product for basket in kept for product in basket)
    both = Counter((one, other) for basket in kept for one in basket for other in basket if one != other)
    orders = Counter(row["product_id"] for row in known if row["event_type"] == "order_created")
    category = {row["product_id"]: row["category"] for row in known}
    best = sorted(orders, key=lambda product: (-orders[product], product))
    found = {}
    for product in category:
        scores = {other: count / (sqrt(alone[product] * alone[other]) + SHRINKAGE)
                  for (one, other), count in both.items() if one == product}
        rows: list[tuple[str, str, float | None, int | None]] = [
            (other, "together", scores[other], both[product, other])
            for other in sorted(scores, key=lambda other: (-scores[other], other))[:RANKS]]
        for method, offered in (("category", [one for one in best if category[one] == category[product]][:RANKS + 1]),
                                ("popular", best[:RANKS + 1])):
            rows += [(other, method, None, None) for other in offered
                     if other != product and other not in {row[0] for row in rows}]
        found[product] = rows[:RANKS]
    return found


def build_recommendations(spark: "SparkSession", events: Rows) -> dict[str, list[Any]]:
    built = collect(build_product_recommendations(frame(spark, events, SILVER_EVENTS), AS_OF), PRODUCT_RECOMMENDATIONS)
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in sorted(built, key=lambda row: (row["product_id"], row["rank"])):
        found[row["product_id"]].append(
            (row["recommended_product_id"], row["method"], row["score"], row["basket_count"]))
        assert row["rank"] == len(found[row["product_id"]])
    return dict(found)


def test_recommendations_are_those_of_plain_python(spark: "SparkSession") -> None:
    events = draw_events(4)
    expected, built = expect_recommendations(events), build_recommendations(spark, events)
    assert set(built) == set(expected)
    for product, rows in expected.items():
        assert [row[:2] for row in built[product]] == [row[:2] for row in rows], product
        assert [row[3] for row in built[product]] == [row[3] for row in rows], product
        assert [row[2] for row in built[product] if row[2]] == pytest.approx([row[2] for row in rows if row[2]])
    methods = Counter(row[1] for rows in built.values() for row in rows)
    assert set(methods) == {"together", "category", "popular"}
    assert {row[1] for row in built["a-cold-one"]} == {"category"}, "nobody looked at it beside another"
    assert {row[1] for row in built["z-of-its-own"]} == {"popular"}
    assert not any(row[1] == "together" for row in built["w000"])


def test_what_comes_later_recommends_nothing(spark: "SparkSession") -> None:
    events = draw_events(5)
    corrupted = [row if row["event_date"] <= AS_OF else {**row, "user_id": "u1", "product_id": "a1", "category": "q"}
                 for row in events]
    assert build_recommendations(spark, corrupted) == build_recommendations(spark, [
        row for row in events if row["event_date"] <= AS_OF])
