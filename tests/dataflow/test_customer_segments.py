"""The table of segments: one row for each customer of the day, with a group where there is an order."""

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from shoplake.batch.customer_segments import build_customer_segments
from shoplake.batch.segmentation import find_segments
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CUSTOMER_METRICS, CUSTOMER_SEGMENTS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

AS_OF = date(2028, 2, 29)


def customer(number: int, day: date = AS_OF, recency: int | None = 1, orders: int = 1, net: int = 1) -> dict[str, Any]:
    return {**dict.fromkeys(CUSTOMER_METRICS.column_names), "as_of_date": day, "user_id": f"u{number:03}",
            "recency_days": recency, "order_count": orders, "net_amount": Decimal(net)}


def build(spark: "SparkSession", rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    schema = spark_schema(CUSTOMER_METRICS)
    for field in schema.fields:
        field.nullable = True
    built = build_customer_segments(spark.createDataFrame(rows, schema), AS_OF)
    assert built.select(*CUSTOMER_SEGMENTS.column_names).schema.simpleString() == spark_schema(
        CUSTOMER_SEGMENTS).simpleString()
    return sorted((row.asDict() for row in built.collect()), key=lambda row: str(row["user_id"]))


def test_each_customer_of_the_day_has_a_row_in_whatever_order_they_come(spark: "SparkSession") -> None:
    draw = np.random.default_rng(1)
    rows = [customer(number, recency=int(draw.integers(0, 300)), orders=int(draw.geometric(0.3)),
                     net=int(draw.integers(-50, 5000))) for number in range(120)]
    only_cancelled, of_another_day = customer(200, recency=None, orders=0, net=-3), customer(201, date(2028, 2, 28))
    built = build(spark, [*rows, only_cancelled, of_another_day])
    found = find_segments(*(np.array([row[name] for row in rows], float)
                            for name in ("recency_days", "order_count", "net_amount")))
    assert found is not None
    assert [row["segment"] for row in built] == [*found.names, None]
    assert {row["segment_count"] for row in built} == {found.count}
    assert {row["silhouette"] for row in built} == {found.silhouette}
    assert built[-1]["user_id"] == "u200"
    assert build(spark, [of_another_day, only_cancelled, *rows[::-1]]) == built


def test_too_few_customers_have_no_segment_and_stand_there(spark: "SparkSession") -> None:
    built = build(spark, [customer(number, recency=number) for number in range(20)])
    assert len(built) == 20
    assert {(row["segment"], row["segment_count"], row["silhouette"]) for row in built} == {(None, None, None)}
