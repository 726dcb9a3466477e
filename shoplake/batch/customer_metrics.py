"""gold.customer_metrics: recency, frequency and money of each customer on a day, and what is to be expected."""

from collections.abc import Callable, Iterable
from datetime import date

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType

from shoplake.batch.lifetime_value import BgNbd, GammaGamma, fit_bg_nbd, fit_gamma_gamma
from shoplake.batch.ratios import divide
from shoplake.contract.tables import AMOUNT

DAYS_AHEAD = 90
_EXPECTED = ("churn_risk", "expected_purchases_90d", "expected_purchase_amount", "predicted_amount_90d")
_HISTORY = ("repeats", "last", "age", "mean_amount")


def build_customer_metrics(sales: DataFrame, sessions: DataFrame, as_of: date) -> DataFrame:
    """Give one row for each customer: whoever ordered or cancelled with an account up to `as_of`.

    The models of lifetime value are fitted on all of them, on the driver, where customers that differ stand once.

    Args:
        sales: rows of gold.customer_daily_sales; sessions: of gold.sessions; what is later than `as_of` is not used.
    """
    known = sales.filter((F.col("event_date") <= F.lit(as_of)) & ~F.col("is_guest"))
    customers = _score(_sum_orders(known, as_of)).join(_sum_visits(sessions, as_of), "user_id", "left")
    with_history = customers.withColumns({
        "repeats": (F.col("order_days") - 1).cast("double"), "age": F.col("tenure_days").cast("double"),
        "last": F.date_diff("last_order_date", "first_order_date").cast("double"),
        "mean_amount": (F.col("_repeat_amount").cast("double") / (F.col("order_days") - 1))})
    expected = with_history.mapInPandas(_expect(with_history), StructType([
        *with_history.schema.fields, *(StructField(name, DoubleType()) for name in _EXPECTED)]))
    return expected.withColumns({
        "as_of_date": F.lit(as_of), "session_count": F.coalesce("session_count", F.lit(0).cast("bigint"))})


def _sum_orders(known: DataFrame, as_of: date) -> DataFrame:
    is_order = F.col("order_count") > 0
    first = F.min(F.when(is_order, F.col("event_date"))).over(Window.partitionBy("user_id"))
    is_repeat = is_order & (F.col("event_date") > F.col("_first"))
    summed = known.withColumn("_first", first).groupBy("user_id").agg(
        F.min("_first").alias("first_order_date"),
        F.max(F.when(is_order, F.col("event_date"))).alias("last_order_date"),
        F.count_if(is_order).alias("order_days"),
        *(F.sum(name).cast("bigint").alias(name) for name in ("order_count", "units")),
        *(F.sum(name).cast(AMOUNT).alias(name) for name in ("gross_amount", "cancelled_amount", "net_amount")),
        F.sum(F.when(is_repeat, F.col("gross_amount"))).alias("_repeat_amount"))
    return summed.withColumns({
        "recency_days": F.date_diff(F.lit(as_of), "last_order_date"),
        "tenure_days": F.date_diff(F.lit(as_of), "first_order_date"),
    }).withColumns({
        "average_order_amount": divide("gross_amount", "order_count", AMOUNT),
        "orders_per_30_days": divide(30 * F.col("order_count"), F.col("tenure_days") + 1)})


def _score(customers: DataFrame) -> DataFrame:
    """Add the scores of 1 to 5: fifths of the customers with an order, in which equal ones stand together."""
    with_order = Window.partitionBy(F.col("order_days") > 0)

    def fifth(order: Column) -> Column:
        return F.when(F.col("order_days") > 0, F.ceil(5 * F.cume_dist().over(with_order.orderBy(order))).cast("int"))

    return customers.withColumns({
        "recency_score": fifth(F.desc("recency_days")), "frequency_score": fifth(F.asc("order_count")),
        "monetary_score": fifth(F.asc("net_amount"))})


def _sum_visits(sessions: DataFrame, as_of: date) -> DataFrame:
    human = sessions.filter((F.col("session_date") <= F.lit(as_of)) & ~F.col("is_bot"))
    return human.groupBy("user_id").agg(
        F.count("*").alias("session_count"),
        *(divide(F.sum(name), F.count("*")).alias(to)
          for name, to in (("event_count", "events_per_session"), ("duration_seconds", "mean_session_seconds"))))


def _expect(customers: DataFrame) -> Callable[[Iterable[pd.DataFrame]], Iterable[pd.DataFrame]]:
    """Fit both models, and give the function that adds what they expect of some customers."""
    with_order = customers.filter("order_days > 0")
    histories = with_order.groupBy("repeats", "last", "age").count().toPandas().sort_values(["repeats", "last", "age"])
    model = fit_bg_nbd(*(histories[name].to_numpy(float) for name in ("repeats", "last", "age", "count")))
    spent = with_order.filter("repeats > 0").select("repeats", "mean_amount").toPandas().sort_values(
        ["repeats", "mean_amount"])
    money = fit_gamma_gamma(*(spent[name].to_numpy(float) for name in ("repeats", "mean_amount")))
    return lambda parts: (_add_expected(part, model, money) for part in parts)


def _add_expected(part: pd.DataFrame, model: BgNbd | None, money: GammaGamma | None) -> pd.DataFrame:
    repeats, last, age, mean = (part[name].fillna(0).to_numpy(float) for name in _HISTORY)
    nothing = np.full(len(part), np.nan)
    has_order = part["order_days"].to_numpy() > 0
    active = model.is_active(repeats, last, age) if model else nothing
    purchases = model.expected_purchases(DAYS_AHEAD, repeats, last, age) if model else nothing
    amount = money.expected_amount(repeats, mean) if money else nothing
    for name, values in zip(_EXPECTED, (1 - active, purchases, amount, purchases * amount), strict=True):
        part[name] = pd.Series(values, index=part.index).where(has_order, np.nan)
    return part
