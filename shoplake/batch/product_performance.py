"""gold.product_performance: what each product did for the shop in the twelve weeks up to a day."""

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from shoplake.batch.ratios import divide
from shoplake.contract.measures import INTEREST, SALES
from shoplake.contract.tables import AMOUNT, PRODUCT_PERFORMANCE, RATE

WEEKS = 12
DAYS_BACK = 7 * WEEKS
A_SHARE, B_SHARE = 0.8, 0.95
X_VARIATION, Y_VARIATION = 0.5, 1.0


def build_product_performance(sales: DataFrame, as_of: date) -> DataFrame:
    """Sum rows of gold.daily_sales of the DAYS_BACK days up to `as_of` to one row for each product with an event.

    The classes are those of sql/abc_xyz_classes.sql with its defaults.
    """
    window = keep_last_days(sales, as_of, DAYS_BACK)
    week = F.expr(f"date_diff(DATE'{as_of}', event_date) DIV 7")
    types = {column.name: column.type for column in PRODUCT_PERFORMANCE.columns}
    measures = [*SALES, *INTEREST]
    weeks = window.groupBy("product_id", week.alias("_week")).agg(
        F.max_by(F.struct("event_date", "category", "brand"), "event_date").alias("_state"),
        *(F.sum(name).alias(name) for name in measures))
    products = weeks.groupBy("product_id").agg(
        F.max(F.struct("_state.event_date", "_state.category", "_state.brand")).alias("_state"),
        *(F.sum(name).cast(types[name]).alias(name) for name in measures),
        F.sum(F.pow("units", F.lit(2))).alias("_squares"))
    return _classify(_rank(products.select("*", "_state.category", "_state.brand"))).withColumns({
        "as_of_date": F.lit(as_of),
        "cart_rate": divide("cart_count", "view_count"), "order_rate": divide("order_count", "view_count")})


def keep_last_days(rows: DataFrame, as_of: date, count: int) -> DataFrame:
    """Give the rows of so many days up to `as_of`, by their event_date."""
    day = F.col("event_date")
    return rows.filter((day > F.date_sub(F.lit(as_of), count)) & (day <= F.lit(as_of)))


def _rank(products: DataFrame) -> DataFrame:
    by_amount = F.desc("net_amount")
    return products.withColumns({
        "net_rank": F.rank().over(Window.orderBy(by_amount)).cast("bigint"),
        "category_rank": F.rank().over(Window.partitionBy("category").orderBy(by_amount)).cast("bigint"),
        "brand_rank": F.rank().over(Window.partitionBy("brand").orderBy(by_amount)).cast("bigint")})


def _classify(products: DataFrame) -> DataFrame:
    """Add the classes: by the share that larger products earn, and by how much the weekly units vary."""
    earned = products.withColumn("_earned", F.greatest("net_amount", F.lit(0).cast(AMOUNT)))
    everything = Window.partitionBy()
    up_to = Window.orderBy(F.desc("_earned")).rangeBetween(Window.unboundedPreceding, Window.currentRow)
    summed = earned.withColumns({
        "_total": F.sum("_earned").over(everything), "_up_to": F.sum("_earned").over(up_to),
        "_larger": F.sum("_earned").over(up_to) - F.sum("_earned").over(Window.partitionBy("_earned"))})
    units = F.col("units").cast("double")
    variation = F.sqrt(F.greatest((WEEKS * F.col("_squares") - units * units) / (units * units), F.lit(0.0)))
    return summed.withColumns({
        "cumulative_share": F.when(F.col("_total") > 0, F.round(F.col("_up_to") / F.col("_total"), 6)).cast(RATE),
        "abc_class": F.when(F.col("_larger") < F.col("_total") * F.lit(A_SHARE).cast("decimal(3,2)"), "A").when(
            F.col("_larger") < F.col("_total") * F.lit(B_SHARE).cast("decimal(3,2)"), "B").otherwise("C"),
        "units_variation": F.when(units > 0, variation),
    }).withColumn("xyz_class", F.when(F.col("units_variation") <= X_VARIATION, "X").when(
        F.col("units_variation") <= Y_VARIATION, "Y").otherwise("Z"))
