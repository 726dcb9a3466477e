"""The live windows: sales by product in 5 minutes, by category in 1 hour; no stream state is kept."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.contract.measures import SALES, SALES_EVENT_TYPES, LiveWindow


def is_sale() -> Column:
    """Tell whether an event counts in the windows."""
    return F.col("event_type").isin(*SALES_EVENT_TYPES)


def revenue_by_window(events: DataFrame, live: LiveWindow) -> DataFrame:
    """Sum rows of silver.events into the live table's columns; windows without order or cancellation do not appear."""
    sums = events.filter(is_sale()).groupBy(F.window("event_time", live.length).alias("_window"), live.group).agg(
        *(F.expr(sql).alias(name) for name, sql in SALES.items()))
    return sums.select(
        F.to_date("_window.start").alias("window_date"), F.col("_window.start").alias("window_start"),
        F.col("_window.end").alias("window_end"), live.group, *SALES,
    )


def add_windows(current: DataFrame, added: DataFrame, live: LiveWindow) -> DataFrame:
    """Add two sets of window rows: equal windows become one row. Every measure is a sum, so this is exact."""
    keys = ["window_date", "window_start", "window_end", live.group]
    types = {column.name: column.type for column in live.table.columns}
    return current.unionByName(added).groupBy(*keys).agg(
        *(F.sum(name).cast(types[name]).alias(name) for name in SALES))
