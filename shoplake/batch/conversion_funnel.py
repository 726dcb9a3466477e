"""gold.conversion_funnel: how many visits of a day looked at, put into the cart and ordered what is of one category."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.batch.ratios import divide
from shoplake.batch.sessions import assign_sessions, looks_like_a_program
from shoplake.contract.events import UNBRANDED
from shoplake.contract.tables import RATE

# From first to last: whoever takes a step counts for those before it too, as an order may come without a look.
STEPS = {"view": "product_viewed", "cart": "add_to_cart", "order": "order_created"}
_VISIT = ("session_date", "session_key")


def build_conversion_funnel(events: DataFrame) -> DataFrame:
    """Count visits and users at each step, one row for each day, category and brand; NULL rates have no base."""
    visits = assign_sessions(events).withColumn("brand", F.coalesce("brand", F.lit(UNBRANDED)))
    bots = visits.groupBy(*_VISIT).agg(looks_like_a_program().alias("is_bot"))
    first = {step: F.min(F.when(F.col("event_type") == kind, F.col("event_time"))) for step, kind in STEPS.items()}
    reached = visits.groupBy(*_VISIT, "user_id", "category", "brand").agg(
        *(time.alias(f"_{step}") for step, time in first.items()),
        F.bool_or(F.col("event_type") == "remove_from_cart").alias("_removed"),
    ).join(bots, list(_VISIT))
    counted = reached.groupBy(F.col("session_date").alias("event_date"), "category", "brand").agg(
        *(F.count_if(_took(step)).alias(f"{step}_sessions") for step in STEPS),
        *(F.count_if(_took(step) & ~F.col("is_bot")).alias(f"human_{step}_sessions") for step in STEPS),
        *(F.count_distinct(F.when(_took(step), F.col("user_id"))).alias(f"{step}_users") for step in STEPS),
        F.count_if("_removed").alias("remove_sessions"),
        F.percentile(_seconds_to_order(), F.lit(0.5)).alias("median_seconds_to_order"),
    )
    return counted.withColumns({
        "cart_rate": divide("cart_sessions", "view_sessions"), "order_rate": divide("order_sessions", "cart_sessions"),
        "conversion_rate": divide("order_sessions", "view_sessions"),
        "human_conversion_rate": divide("human_order_sessions", "human_view_sessions"),
    }).withColumns({name: (1 - F.col(rate)).cast(RATE)
                    for name, rate in (("view_drop_off", "cart_rate"), ("cart_drop_off", "order_rate"))})


def _took(step: str) -> Column:
    later = list(STEPS)[list(STEPS).index(step):]
    return F.coalesce(*(F.col(f"_{name}") for name in later)).isNotNull()


def _seconds_to_order() -> Column:
    """The seconds from the first look to the first order, cut; NULL without both in this order."""
    micros = F.unix_micros("_order") - F.unix_micros("_view")
    return F.when(F.col("_order") >= F.col("_view"), F.floor(micros / 1_000_000))
