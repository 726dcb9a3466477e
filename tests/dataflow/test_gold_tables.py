"""Gold at its edges: what is one order, who is a guest, what is no sale, and the last digit of a growth."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shoplake.batch.category_revenue import build_category_revenue
from shoplake.batch.customer_daily_sales import build_customer_daily_sales
from shoplake.batch.daily_sales_summary import build_daily_sales_summary
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CUSTOMER_DAILY_SALES, DAILY_SALES_SUMMARY, SILVER_EVENTS, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAY, NEXT, QUIET = date(2028, 2, 29), date(2028, 3, 1), date(2028, 3, 2)
NOON, LATER = datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2028, 2, 29, 12, 0, 1, tzinfo=UTC)
ORDER, CANCEL, VIEW, CART = "order_created", "order_cancelled", "product_viewed", "add_to_cart"
# event_date, user, type, order_id, event_time, price, quantity, guest, late
EVENTS = [
    (DAY, "a", ORDER, "o1", NOON, "10", 2, False, False),  # one order of two lines
    (DAY, "a", ORDER, "o1", LATER, "0.0001", 1, False, True),
    (DAY, "a", ORDER, "o2", NOON, "5", 1, False, False),  # another one at the same moment
    (DAY, "b", ORDER, "o1", NOON, "1", 1, False, False),  # another user's number is another order
    (DAY, "c", ORDER, None, NOON, "2", 1, False, False),  # without a number: one order by user and moment
    (DAY, "c", ORDER, None, NOON, "3", 1, True, False),  # and no guest: one line was with an account
    (DAY, "c", ORDER, None, LATER, "4", 1, True, False),
    (DAY, "d", ORDER, None, NOON, "6", 1, True, False),  # another user at that moment
    (DAY, "e", CANCEL, "o9", NOON, "7", 3, False, False),  # no order, but a row
    (DAY, "f", VIEW, None, NOON, "8", 1, False, True),  # a visitor who bought nothing: no row
    (DAY, "f", CART, "o8", NOON, "8", 1, False, False),
    (NEXT, "a", ORDER, "o1", NOON, "1", 1, False, False),  # an order on two days counts on both
    (NEXT, "g", "remove_from_cart", None, NOON, "1", 1, False, False),
    (QUIET, "g", VIEW, None, NOON, "1", 1, False, False),
]
CUSTOMERS = [
    # event_date, user_id, is_guest, orders, lines, units, gross, cancelled units, cancelled, net
    (DAY, "a", False, 2, 3, 4, "25.0001", 0, "0.0000", "25.0001"),
    (DAY, "b", False, 1, 1, 1, "1.0000", 0, "0.0000", "1.0000"),
    (DAY, "c", False, 2, 3, 3, "9.0000", 0, "0.0000", "9.0000"),
    (DAY, "d", True, 1, 1, 1, "6.0000", 0, "0.0000", "6.0000"),
    (DAY, "e", False, 0, 0, 0, "0.0000", 3, "21.0000", "-21.0000"),
    (NEXT, "a", False, 1, 1, 1, "1.0000", 0, "0.0000", "1.0000"),
]
SUMMARY = [
    # event_date, orders, lines, units, gross, cancelled units, cancelled, net,
    # views, carts, events, late, visitors, buyers, mean order, peak hour
    (DAY, 6, 8, 9, "41.0001", 3, "21.0000", "20.0001", 1, 1, 11, 2, 6, 4, "6.8334", 12),
    (NEXT, 1, 1, 1, "1.0000", 0, "0.0000", "1.0000", 0, 0, 2, 0, 2, 1, "1.0000", 12),
    (QUIET, 0, 0, 0, "0.0000", 0, "0.0000", "0.0000", 1, 0, 1, 0, 1, 0, None, None),
]


def silver(spark: "SparkSession", events: list[tuple[Any, ...]]) -> "DataFrame":
    rows = [
        {"event_date": day, "user_id": user, "event_type": event_type, "order_id": order_id, "event_time": moment,
         "price": Decimal(price), "quantity": quantity, "is_guest": is_guest, "is_late": is_late,
         "product_id": f"p{number}", "category": "c", "event_id": str(number)}
        for number, (day, user, event_type, order_id, moment, price, quantity, is_guest, is_late) in enumerate(events)
    ]
    return spark.createDataFrame([{**dict.fromkeys(SILVER_EVENTS.column_names), **row} for row in rows],
                                 spark_schema(SILVER_EVENTS))


def rows_of(frame: "DataFrame", table: Table) -> list[tuple[Any, ...]]:
    selected = frame.select(*table.column_names)
    assert selected.schema.simpleString() == spark_schema(table).simpleString()
    return sorted(tuple(str(cell) if isinstance(cell, Decimal) else cell for cell in row)
                  for row in selected.collect())


def test_an_order_is_counted_once_and_a_guest_is_none_with_an_account(spark: "SparkSession") -> None:
    assert rows_of(build_customer_daily_sales(silver(spark, EVENTS)), CUSTOMER_DAILY_SALES) == CUSTOMERS


def test_the_summary_adds_up_the_customers_and_counts_who_came(spark: "SparkSession") -> None:
    events = silver(spark, EVENTS).withColumn("shop_hour", F.hour("event_time"))
    assert rows_of(build_daily_sales_summary(events), DAILY_SALES_SUMMARY) == SUMMARY
    for position in (1, 2, 3):  # orders, lines, units are those of the customers
        assert sum(row[position] for row in SUMMARY) == sum(row[position + 2] for row in CUSTOMERS)


def test_of_equal_hours_the_first_is_the_peak(spark: "SparkSession") -> None:
    events = [(DAY, "a", kind, str(hour), NOON + timedelta(hours=hour - 12), "1", 1, False, False)
              for hour, kind in ((9, ORDER), (9, VIEW), (9, VIEW), (10, ORDER), (10, ORDER), (21, ORDER), (21, ORDER))]
    built = build_daily_sales_summary(silver(spark, events).withColumn("shop_hour", F.hour("event_time")))
    assert [row["peak_hour"] for row in built.collect()] == [10]


def test_growth_has_the_digits_of_a_numeric_quotient(spark: "SparkSession") -> None:
    """-0.2734054997 is -0.273405500 with the nine decimals that BigQuery's NUMERIC keeps, and so -0.273406 with six."""
    events = [(DAY + timedelta(days=7 * week), "a", ORDER, "o", NOON, price, 1, False, False)
              for week, price in enumerate(("15593.4782", "11330.1355", "11330.1350"))]
    grown = build_category_revenue(silver(spark, events)).orderBy("event_date").collect()
    assert [str(row["net_growth_week"]) for row in grown] == ["None", "-0.273406", "0.000000"]
