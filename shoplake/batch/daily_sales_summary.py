"""gold.daily_sales_summary: what the shop sold on each of its days, when, and how many came and bought."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.batch.customer_daily_sales import ORDER_MEASURES, count_orders
from shoplake.batch.ratios import divide
from shoplake.contract.measures import INTEREST
from shoplake.contract.tables import AMOUNT, DAILY_SALES_SUMMARY


def build_daily_sales_summary(events: DataFrame) -> DataFrame:
    """Sum rows of silver.events, with their `shop_hour`, to one row for each event_date.

    Users are summed first: counting users and orders is then counting rows, and orders add up to those of
    gold.customer_daily_sales.
    """
    measures = {**ORDER_MEASURES, **INTEREST}
    users = events.groupBy("event_date", "user_id").agg(
        count_orders().alias("order_count"), *(F.expr(sql).alias(name) for name, sql in measures.items()),
        F.count("*").alias("event_count"), F.count_if("is_late").alias("late_count"),
    )
    types = {column.name: column.type for column in DAILY_SALES_SUMMARY.columns}
    days = users.groupBy("event_date").agg(
        *(F.sum(name).cast(types[name]).alias(name) for name in users.columns[2:]),
        F.count("*").alias("visitor_count"), F.count_if(F.col("line_count") > 0).alias("buyer_count"),
    )
    return days.join(_find_peaks(events), "event_date", "left").withColumn(
        "average_order_amount", divide("gross_amount", "order_count", AMOUNT))


def _find_peaks(events: DataFrame) -> DataFrame:
    hours = events.filter("event_type = 'order_created'").groupBy("event_date", "shop_hour").agg(
        F.count("*").alias("_lines"))
    return hours.groupBy("event_date").agg(
        F.max_by("shop_hour", F.struct("_lines", -F.col("shop_hour"))).alias("peak_hour"))
