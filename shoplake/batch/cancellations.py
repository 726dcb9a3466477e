"""gold.cancellations: what was cancelled on each of the shop's days, each with the order line that it takes back.

Sales book a cancellation on its own day, as a ledger does. By the day of the order it says what the orders of a day
were worth in the end. An event of a cancellation names no line, so the line is looked for: that of the same order, or
where the shop numbers its credit notes apart the customer's latest of the product.
"""

from collections.abc import Iterable
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shoplake.contract.tables import AMOUNT

# An older order is not looked for: so what a run reads does not grow with the history.
DAYS_BACK = 90
_SPAN = [timedelta(days=number) for number in range(DAYS_BACK)]


def days_to_build(changed: Iterable[date]) -> set[date]:
    """Give the days whose cancellations may take back what was ordered on the changed ones."""
    return {day + ahead for day in set(changed) for ahead in _SPAN}


def days_to_read(built: Iterable[date]) -> set[date]:
    """Give the days of silver.events on which the orders of the cancellations of `built` may lie."""
    return {day - back for day in set(built) for back in _SPAN}


def build_cancellations(events: DataFrame) -> DataFrame:
    """Give each order_cancelled event of silver.events with the order line before it: event_date, event_id.

    The line is the latest of the same user, order and product, else of the same user and product, up to the moment of
    the cancellation and no more than 89 days before. An order at the same moment counts as before it. Quantities are
    not weighed: several cancellations may take back one line.
    """
    is_cancelled = F.col("event_type") == "order_cancelled"
    returned = events.filter(is_cancelled).select("user_id", "product_id").distinct()
    lines = events.filter(F.col("event_type").isin("order_created", "order_cancelled")).join(
        returned, ["user_id", "product_id"], "left_semi")
    of_customer = _latest_line(["user_id", "product_id"])
    of_order = F.when(F.col("order_id").isNotNull(), _latest_line(["user_id", "product_id", "order_id"]))
    matched = lines.withColumns({"_order": of_order, "_customer": of_customer}).filter(is_cancelled)
    line = F.coalesce(_in_time("_order"), _in_time("_customer"))
    way = F.when(_in_time("_order").isNotNull(), "order_id").when(_in_time("_customer").isNotNull(), "user_id")
    return matched.select(
        "event_date", "event_id", "product_id", "category", F.col("quantity").cast("bigint").alias("cancelled_units"),
        (F.col("price") * F.col("quantity")).cast(AMOUNT).alias("cancelled_amount"),
        line["event_date"].alias("order_date"), line["event_id"].alias("order_event_id"), way.alias("matched_by"),
        F.date_diff("event_date", line["event_date"]).alias("days_after"),
    )


def _latest_line(keys: list[str]) -> Column:
    """Give the last order line of the keys up to each row."""
    order = F.when(F.col("event_type") == "order_created", F.struct("event_date", "event_id"))
    past = Window.partitionBy(*keys).orderBy("event_time", F.col("event_type") == "order_cancelled", "event_id")
    return F.last(order, ignorenulls=True).over(past.rowsBetween(Window.unboundedPreceding, Window.currentRow))


def _in_time(name: str) -> Column:
    line = F.col(name)
    return F.when(F.date_diff("event_date", line["event_date"]) < DAYS_BACK, line)
