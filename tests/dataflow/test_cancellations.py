"""gold.cancellations against plain Python over random shopping: each cancellation with the order line before it."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from shoplake.batch.cancellations import DAYS_BACK, build_cancellations, days_to_build, days_to_read
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CANCELLATIONS, SILVER_EVENTS
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Rows = list[dict[str, Any]]
FIRST = datetime(2027, 11, 20, tzinfo=UTC)


def draw_events(seed: int) -> Rows:
    """Give orders and cancellations of few users and products over 200 days, many at equal moments."""
    draw = random.Random(seed)
    events = []
    for number in range(900):
        moment = FIRST + timedelta(days=draw.randrange(200), hours=draw.choice((9, 9, 15)))
        events.append({
            "event_date": moment.date(), "event_time": moment, "event_id": f"e{number:03}",
            "event_type": draw.choice(("order_created", "order_cancelled", "product_viewed")),
            "user_id": f"u{draw.randrange(5)}", "product_id": f"p{draw.randrange(6)}",
            "order_id": draw.choice((None, "o1", "o2", f"c{number}")), "category": "c",
            "price": Decimal(draw.randrange(10**6)) / 10**4, "quantity": draw.randrange(1, 5)})
    return events


def expect(events: Rows) -> Rows:
    """Look through all orders for each cancellation."""
    rows = []
    for event in events:
        if event["event_type"] != "order_cancelled":
            continue
        before = [order for order in events if order["event_type"] == "order_created"
                  and all(order[name] == event[name] for name in ("user_id", "product_id"))
                  and order["event_time"] <= event["event_time"]]
        newest: dict[str, dict[str, Any] | None] = {
            "order_id": max((order for order in before if order["order_id"] == event["order_id"] is not None),
                            key=lambda order: (order["event_time"], order["event_id"]), default=None),
            "user_id": max(before, key=lambda order: (order["event_time"], order["event_id"]), default=None)}
        found = {way: order for way, order in newest.items()
                 if order and (event["event_date"] - order["event_date"]).days < DAYS_BACK}
        way, line = next(iter(found.items()), (None, None))
        rows.append({
            **{name: event[name] for name in ("event_date", "event_id", "product_id", "category")},
            "cancelled_units": event["quantity"], "cancelled_amount": event["price"] * event["quantity"],
            "order_date": line and line["event_date"], "order_event_id": line and line["event_id"], "matched_by": way,
            "days_after": line and (event["event_date"] - line["event_date"]).days})
    return sorted(rows, key=lambda row: row["event_id"])


def frame(spark: "SparkSession", events: Rows) -> "DataFrame":
    schema = spark_schema(SILVER_EVENTS)
    for field in schema.fields:
        field.nullable = True
    return spark.createDataFrame([{**dict.fromkeys(SILVER_EVENTS.column_names), **event} for event in events], schema)


def collect(built: "DataFrame") -> Rows:
    selected = built.select(*CANCELLATIONS.column_names)
    assert selected.schema.simpleString() == spark_schema(CANCELLATIONS).simpleString()
    return sorted((row.asDict() for row in selected.collect()), key=lambda row: row["event_id"])


@pytest.mark.parametrize("seed", [1, 2])
def test_each_cancellation_takes_back_the_line_before_it(spark: "SparkSession", seed: int) -> None:
    events = draw_events(seed)
    right = expect(events)
    assert {row["matched_by"] for row in right} == {"order_id", "user_id", None}
    assert {0, DAYS_BACK - 1} & {row["days_after"] for row in right}
    assert collect(build_cancellations(frame(spark, events))) == right
    # Whatever comes after a day says nothing of it.
    last = date(2028, 2, 20)
    known = [event for event in events if event["event_date"] <= last]
    assert collect(build_cancellations(frame(spark, known))) == [row for row in right if row["event_date"] <= last]


def test_the_query_looks_as_far_as_the_table() -> None:
    text = (PROJECT_ROOT / "sql" / "cancellations_by_order_day.sql").read_text()
    assert f"INTERVAL {DAYS_BACK - 1} DAY" in text
    assert f"up to {DAYS_BACK - 1} days later" in text


def test_days_built_alone_are_those_built_with_all(spark: "SparkSession") -> None:
    events = draw_events(3)
    right = expect(events)
    for changed in ({date(2028, 2, 29)}, {date(2027, 12, 31), date(2028, 5, 1)}):
        built = days_to_build(changed)
        read = days_to_read(built)
        rows = build_cancellations(frame(spark, [event for event in events if event["event_date"] in read]))
        assert collect(rows.filter(F.col("event_date").isin(list(built)))) == [
            row for row in right if row["event_date"] in built]
    # An order that comes late touches no other day.
    late = {**events[0], "event_type": "order_created", "event_date": date(2027, 12, 24), "event_id": "late",
            "event_time": datetime(2027, 12, 24, 12, tzinfo=UTC)}
    others = {row["event_id"]: row for row in expect([*events, late]) if row["event_date"] not in days_to_build(
        {late["event_date"]})}
    assert others == {row["event_id"]: row for row in right if row["event_id"] in others}
