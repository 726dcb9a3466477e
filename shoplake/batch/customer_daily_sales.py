"""gold.customer_daily_sales: what each user ordered and cancelled on each of the shop's days."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.contract.measures import SALES, SALES_EVENT_TYPES

# In the sales of a product an order is a line; here a line is a line.
ORDER_MEASURES = {{"order_count": "line_count"}.get(name, name): sql for name, sql in SALES.items()}


def identify_order() -> Column:
    """Give what an event's order is known by among those of its user.

    An order without an order_id is all that its user ordered at one moment: a shop's system that sends none still has
    baskets of several lines.
    """
    moment = F.when(F.col("order_id").isNull(), F.col("event_time"))
    return F.struct("order_id", moment.alias("moment"))


def count_orders() -> Column:
    """Count the distinct orders of one user's events."""
    return F.count_distinct(F.when(F.col("event_type") == "order_created", identify_order()))


def build_customer_daily_sales(events: DataFrame) -> DataFrame:
    """Sum rows of silver.events to one row for each event_date and user_id with an order or a cancellation."""
    sales = events.filter(F.col("event_type").isin(*SALES_EVENT_TYPES))
    return sales.groupBy("event_date", "user_id").agg(
        F.bool_and("is_guest").alias("is_guest"), count_orders().alias("order_count"),
        *(F.expr(sql).alias(name) for name, sql in ORDER_MEASURES.items()),
    )
