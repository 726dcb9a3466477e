"""silver.products_dim: what each product was called, of whom and for how much, from one change to the next."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

_STATE = ("category", "brand", "last_price")


def build_products_dim(sales: DataFrame) -> DataFrame:
    """Give one row for each version of a product, from rows of gold.daily_sales of all days.

    A version holds until the product's first day with another category, brand or last price; days without an event
    change nothing.
    """
    by_day = Window.partitionBy("product_id").orderBy("event_date")
    state = F.struct(*_STATE)
    is_new = ~state.eqNullSafe(F.lag(state).over(by_day))
    changes = sales.withColumn("_is_new", is_new).filter("_is_new")
    return changes.select(
        "product_id", F.col("event_date").alias("valid_from"), F.lead("event_date").over(by_day).alias("valid_to"),
        "category", "brand", F.col("last_price").alias("price"))
