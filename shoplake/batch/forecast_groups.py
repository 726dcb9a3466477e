"""Demand forecasts on Spark, for a shop that is too large for one machine's processors or memory.

The functions are those of one process, applied to Spark's groups, so a group's values are the same to the last bit:
`forecast_series` to a few products, `rows_at` to a cutoff. The history itself, a grid of products by days, stays on the
driver (history.MAX_CELLS) and is broadcast: a product's features need the whole shop's week and trend and the means of
its category, which a group of some products could not tell. What outgrows one machine are the fits, and the rows of
training: a product has one for each of a hundred cutoffs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from shoplake.forecasting.artifact import hash_fitted
from shoplake.forecasting.features import LEAST_LEVEL, item_names
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.models import LearnedModel, XGBoostRegressor
from shoplake.forecasting.names import SERIES_MODELS
from shoplake.forecasting.series_models import Answer, Spread, forecast_series, over_processes
from shoplake.forecasting.training import plan_rows, rows_at
from shoplake.sections import MlSettings
from shoplake.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# A fit takes from a tenth of a millisecond to a second: so many to a group, and a slow group holds nobody up for long.
SERIES_OF_A_GROUP = 16
# Parts of a task slot's work: the last one to finish leaves the others idle for a fourth of their time at most.
PARTS_OF_A_SLOT = 4


@contextmanager
def open_spread(
    settings: Settings, names: Iterable[str], start: Callable[[Settings], "SparkSession"],
) -> Iterator[Spread]:
    """Give what shares out the fits of single products: processes of this machine, or the tasks of Spark.

    Args:
        names: the forecasters that are wanted; without one that fits products one by one Spark is not started.
        start: gives a session, the caller's or a new one; one that was not there before is stopped in the end.
    """
    if settings.ml.runner == "processes" or not set(names) & set(SERIES_MODELS):
        yield over_processes(settings.ml.processes)
        return
    from pyspark.sql import SparkSession

    own_session = SparkSession.getActiveSession() is None
    spark = start(settings)
    try:
        yield over_spark(spark)
    finally:
        if own_session:
            spark.stop()


def over_spark(spark: "SparkSession") -> Spread:
    """Spread series over a Spark session's tasks, in groups of 16."""
    return partial(_forecast_groups, spark)


def _forecast_groups(spark: "SparkSession", name: str, series: Sequence[FloatArray]) -> list[Answer]:
    if not series:
        return []
    numbers = np.arange(len(series))
    table = pa.table({
        "number": numbers, "group": numbers // SERIES_OF_A_GROUP, "series": pa.array(series, pa.list_(pa.float64()))})
    groups = _by_group(spark, table)

    def forecast_group(rows: pd.DataFrame) -> pd.DataFrame:
        answers = [forecast_series(name, np.asarray(one, dtype=np.float64)) for one in rows["series"]]
        return pd.DataFrame({"number": rows["number"], "units": [units for units, _ in answers],
                             "reason": [reason for _, reason in answers]})

    told = groups.applyInPandas(forecast_group, "number long, units array<double>, reason string").toArrow()
    rows = sorted(told.to_pylist(), key=lambda row: row["number"])
    return [(np.array(row["units"], dtype=np.float64), row["reason"]) for row in rows]


def _by_group(spark: "SparkSession", table: pa.Table) -> Any:
    # A number of parts that was asked for is not merged again, however small they are.
    parts = spark.sparkContext.defaultParallelism * PARTS_OF_A_SLOT
    return spark.createDataFrame(table).repartition(parts, "group").groupBy("group")


def build_training_table(spark: "SparkSession", history: DemandHistory, settings: MlSettings) -> "DataFrame":
    """Compute the rows of training.build_training_rows where they will be learned from, a cutoff in each group.

    Returns:
        features (array of float), margin (the logarithm of the base), units, weights (not scaled to a mean of 1 yet).

    Raises:
        ForecastError: no cutoff has a product with a series and 7 days after it.
    """
    plan = plan_rows(history, settings)
    known = spark.sparkContext.broadcast(history)
    table = pa.table({"group": pa.array(plan.cutoffs, pa.int64())})

    def build_group(rows: pd.DataFrame) -> pd.DataFrame:
        made = rows_at(known.value, int(rows["group"].iloc[0]), plan.share, settings)
        return pd.DataFrame({
            "features": list(made.features), "margin": np.log(np.maximum(made.base, LEAST_LEVEL)),
            "units": made.units, "weights": made.weights})

    rows: DataFrame = _by_group(spark, table).applyInPandas(
        build_group, "features array<float>, margin double, units double, weights double")
    return rows


def fit_xgboost(spark: "SparkSession", history: DemandHistory, settings: MlSettings) -> LearnedModel:
    """Train XGBoost on every task slot of a Spark session, on rows that no machine holds all of.

    The parameters are those of one process, and the model is saved and served as its model is. It is not the same to
    the bit: each worker draws its own share of rows and sketches its own quantiles, and their sums meet in an order of
    their own. Forecasts differ as those of another seed do.
    """
    from pyspark import StorageLevel
    from pyspark.sql import functions as F
    from xgboost.spark import SparkXGBRegressor

    rows = build_training_table(spark, history, settings).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        (mean,) = rows.agg(F.avg("weights")).collect()[0]
        table = rows.withColumn("weights", F.col("weights") / mean)
        parameters = XGBoostRegressor.parameters(settings)
        parameters.pop("nthread")  # a task's processors are Spark's to give
        seed = parameters.pop("seed")
        model = SparkXGBRegressor(
            features_col="features", label_col="units", weight_col="weights", base_margin_col="margin",
            num_workers=spark.sparkContext.defaultParallelism, random_state=seed, verbose=False,
            **parameters).fit(table)
    finally:
        rows.unpersist()
    booster = model.get_booster()
    booster.feature_names = list(item_names(settings.features))
    fitted = XGBoostRegressor(booster)
    return LearnedModel(fitted, settings.features, hash_fitted(fitted))
