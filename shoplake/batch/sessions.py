"""gold.sessions: the visits of the shop's users, and which of them look like a program's.

A visit is what a user did under one session_id; without one, what the user did with less than 30 minutes between. It
belongs to the day on which it began and may go on past midnight. One that goes on through a whole day more ends with
that day, so that a day's visits need three days' neighbours and no more. Cancellations, which come days later and
without a visit, are left out.
"""

from collections.abc import Iterable
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shoplake.batch.customer_daily_sales import count_orders
from shoplake.contract.measures import INTEREST, SALES, count_events

GAP = timedelta(minutes=30)
_GAP_MICROS = GAP // timedelta(microseconds=1)
# A program looks at many things and buys nothing: so fast, so evenly, or so long as nobody does.
BOT_VIEWS = 20
FASTEST_MS = 3000
TIRELESS_VIEWS = 300
_DAY = timedelta(days=1)


def days_to_build(changed: Iterable[date]) -> set[date]:
    """Give the days whose visits a change touches: those that went on into it, and those that now begin otherwise."""
    return {day + number * _DAY for day in changed for number in (-1, 0, 1, 2)}


def days_to_read(built: Iterable[date]) -> set[date]:
    """Give the days of silver.events that the visits beginning on `built` are known from."""
    return {day + number * _DAY for day in built for number in (-2, -1, 0, 1)}


def assign_sessions(events: DataFrame) -> DataFrame:
    """Give the events of visits with `session_date`, `session_key` (the event_id of the first) and `gap_ms`.

    In: rows of silver.events, whole days. Out: the same rows but for cancellations. `gap_ms` is the time since the
    event before in the same visit; NULL for the first, and after half an hour or more, which says nothing of a pace.
    The first and the last day read are not to be trusted.
    """
    visits = events.filter(F.col("event_type") != "order_cancelled")
    visitor = Window.partitionBy("user_id", "session_id").orderBy("event_time", "event_id")
    of_day = Window.partitionBy("user_id", "session_id", "event_date")
    before = F.lag("event_date").over(visitor)
    pause = F.unix_micros("event_time") - F.unix_micros(F.lag("event_time").over(visitor))
    has_paused = F.when(F.col("session_id").isNull(), F.col("_pause") >= _GAP_MICROS).otherwise(
        F.date_diff("event_date", "_before") > 1)
    known = visits.withColumns({"_before": before, "_pause": pause})
    begun = known.withColumn("_begins", F.col("_before").isNull() | has_paused)
    marked = begun.withColumn("_had_begin", F.max("_begins").over(of_day))
    is_cut = (F.col("_before") < F.col("event_date")) & ~F.lag("_had_begin").over(visitor)
    cut = marked.withColumn("_begins", F.col("_begins") | F.coalesce(is_cut, F.lit(False)))
    first = F.last(F.when(F.col("_begins"), F.struct("event_date", "event_id")), ignorenulls=True).over(visitor)
    return cut.withColumn("_first", first).select(
        *events.columns,
        F.col("_first.event_date").alias("session_date"), F.col("_first.event_id").alias("session_key"),
        F.when(~F.col("_begins") & (F.col("_pause") < _GAP_MICROS), F.expr("_pause DIV 1000")).alias("gap_ms"))


def looks_like_a_program() -> Column:
    """Tell of one visit's events whether a program made them.

    At least 20 looks, no order, and: less than 3 seconds from one event to the next in the mean, or pauses so even that
    their deviation is below a fifth of their mean, or at least 300 looks. Whole numbers, so that no engine rounds.
    """
    pauses = F.count("gap_ms").cast("decimal(38,0)")
    total = F.sum(F.col("gap_ms").cast("decimal(18,0)")).cast("decimal(38,0)")
    squares = F.sum((F.col("gap_ms") * F.col("gap_ms")).cast("decimal(20,0)")).cast("decimal(38,0)")
    is_fast = total < FASTEST_MS * pauses
    is_even = 25 * pauses * squares < 26 * total * total  # variance < mean^2 / 25
    views = F.expr(INTEREST["view_count"])
    looks = (views >= BOT_VIEWS) & (F.expr(SALES["order_count"]) == 0)
    return looks & (F.coalesce(is_fast | is_even, F.lit(False)) | (views >= TIRELESS_VIEWS))


def build_sessions(events: DataFrame) -> DataFrame:
    """Sum rows of silver.events to one row for each visit: session_date, session_key."""
    span = F.unix_micros(F.max("event_time")) - F.unix_micros(F.min("event_time"))
    return assign_sessions(events).groupBy("session_date", "session_key", "user_id", "session_id").agg(
        F.bool_and("is_guest").alias("is_guest"), F.min("event_time").alias("started_at"),
        F.max("event_time").alias("ended_at"), span.alias("_span"), F.count("*").alias("event_count"),
        *(F.expr(sql).alias(name) for name, sql in INTEREST.items()),
        F.expr(count_events("remove_from_cart")).alias("remove_count"), count_orders().alias("order_count"),
        *(F.expr(SALES[name]).alias(name) for name in ("units", "gross_amount")),
        F.count_distinct("product_id").alias("product_count"), looks_like_a_program().alias("is_bot"),
    ).withColumn("duration_seconds", F.expr("_span DIV 1000000")).drop("_span")
