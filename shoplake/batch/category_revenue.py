"""gold.category_revenue: what each category sold on each of the shop's days, beside the same day a week before."""

from collections.abc import Iterable
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.contract.measures import SALES
from shoplake.contract.tables import AMOUNT, RATE

WEEK = timedelta(days=7)


def days_to_build(changed: Iterable[date]) -> set[date]:
    """Give the days whose rows a change touches: the changed days, and the days a week later that grow from them."""
    changed = set(changed)
    return changed | {day + WEEK for day in changed}


def days_to_read(built: Iterable[date]) -> set[date]:
    """Give the days of silver.events that the rows of `built` are made from."""
    built = set(built)
    return built | {day - WEEK for day in built}


def build_category_revenue(events: DataFrame) -> DataFrame:
    """Sum rows of silver.events to one row for each event_date and category, with the growth over a week.

    Growth is what sql/category_growth.sql gives: a NUMERIC quotient, which has 9 decimals, rounded to 6, halves away
    from zero both times. NULL where the category sold nothing a week before.
    """
    days = events.groupBy("event_date", "category").agg(*(F.expr(sql).alias(name) for name, sql in SALES.items()))
    before = days.select(
        F.date_add("event_date", WEEK.days).alias("event_date"), "category",
        F.col("net_amount").cast(AMOUNT).alias("net_amount_week_before"),
    )
    growth = F.expr(
        "CASE WHEN net_amount_week_before > 0 THEN "
        f"CAST(ROUND(ROUND((net_amount - net_amount_week_before) / net_amount_week_before, 9), 6) AS {RATE}) END"
    )
    return days.join(before, on=["event_date", "category"], how="left").withColumn("net_growth_week", growth)
