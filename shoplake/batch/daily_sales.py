"""gold.daily_sales: what each product sold, and how it was looked at, on each of the shop's days."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.contract.measures import INTEREST, SALES


def build_daily_sales(events: DataFrame) -> DataFrame:
    """Sum rows of silver.events to one row for each event_date and product_id.

    Category, brand and price are those of the product's last event of that day; event_id breaks ties, so that a rebuilt
    day is the same day.
    """
    measures = {**SALES, **INTEREST}
    state = F.struct("category", "brand", F.col("price").alias("last_price"))
    return events.groupBy("event_date", "product_id").agg(
        F.max_by(state, F.struct("event_time", "event_id")).alias("_state"),
        *(F.expr(sql).alias(name) for name, sql in measures.items()),
    ).select("*", "_state.*").drop("_state")
