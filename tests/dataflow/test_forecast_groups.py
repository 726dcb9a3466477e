"""Forecasts over Spark's groups: the same bits as in one process, and trees of many workers that forecast alike."""

import runpy
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from shoplake.batch.forecast_groups import build_training_table, fit_xgboost, over_spark
from shoplake.contract.tables import DEMAND_PREDICTIONS
from shoplake.errors import ForecastError
from shoplake.forecasting.forecasters import forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.models import XGBoostRegressor, fit_model
from shoplake.forecasting.names import ADIDA, AUTO_ETS, AUTO_THETA, SERIES_MODELS
from shoplake.forecasting.series_models import SeriesForecaster, forecast_series, over_processes
from shoplake.forecasting.training import build_training_rows
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = date(2026, 1, 5)
DAYS = 150
PRODUCTS = 40
ML = load_settings("local").ml


@pytest.fixture(scope="module")
def history() -> DemandHistory:
    """Items of other sizes that start on other days; half of them sell better from day 90 on."""
    rng = np.random.default_rng(5)
    rows = []
    for product in range(PRODUCTS):
        for day in range(2 * product if product % 4 == 0 else 0, DAYS):
            rate = (1 + product / 4) * (1.5 if product % 2 and day > 90 else 1) * (0.2 if day % 7 == 6 else 1)
            units = rng.poisson(rate)
            if day == 0 or units:
                rows.append((pd.Timestamp(FIRST + timedelta(days=day)), f"P{product:02d}", f"c{product % 3}", units,
                             units * (2.0 + product % 5)))
    rows.append((pd.Timestamp(FIRST + timedelta(days=DAYS - 1)), "new", "c0", 4, 8.0))
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, FIRST + timedelta(days=DAYS - 1))


@pytest.mark.parametrize("name", [
    *(name for name in SERIES_MODELS if name != AUTO_ETS), pytest.param(AUTO_ETS, marks=pytest.mark.nightly)])
def test_the_models_of_single_series_give_the_same_bits(
    name: str, spark: "SparkSession", history: DemandHistory,
) -> None:
    few = history.until(20 if name in (AUTO_ETS, AUTO_THETA) else 60)  # which try a dozen models for each series
    here = forecast_items(SeriesForecaster(name, over_processes(1)), few)
    there = forecast_items(SeriesForecaster(name, over_spark(spark)), few)
    assert here.units.tobytes() == there.units.tobytes()
    assert here.fallbacks == there.fallbacks
    assert here.units.any()


def test_answers_and_reasons_come_back_in_order(spark: "SparkSession") -> None:
    rng = np.random.default_rng(6)
    series = [rng.poisson(3, 30 + n).astype(float) for n in range(50)]
    series[17] = np.full(3, np.nan)
    told = over_spark(spark)(ADIDA, series)
    assert [reason for _, reason in told] == [forecast_series(ADIDA, one)[1] for one in series]
    assert told[17][1] is not None
    assert np.isnan(told[17][0]).all()
    for (units, _), one in zip(told, series, strict=True):
        np.testing.assert_array_equal(units, forecast_series(ADIDA, one)[0])
    assert over_spark(spark)(ADIDA, []) == []


def test_training_rows_of_groups_are_those_of_one_process(spark: "SparkSession", history: DemandHistory) -> None:
    rows = build_training_rows(history, ML)
    table = build_training_table(spark, history, ML).toArrow()
    assert table.num_rows == len(rows.units)
    features = np.stack(table["features"].to_numpy())
    assert features.dtype == rows.features.dtype
    margins = np.log(np.maximum(rows.base, 0.01))

    def sorted_bytes(*columns: np.ndarray) -> list[tuple[bytes, ...]]:
        return sorted(tuple(value.tobytes() for value in row) for row in zip(*columns, strict=True))

    assert sorted_bytes(features, table["margin"].to_numpy(), table["units"].to_numpy()) == sorted_bytes(
        rows.features, margins, rows.units)
    weights = np.sort(table["weights"].to_numpy())
    np.testing.assert_allclose(weights / weights.mean(), np.sort(rows.weights), rtol=1e-12)


def test_too_little_history_is_refused_before_spark_is_asked(spark: "SparkSession", history: DemandHistory) -> None:
    with pytest.raises(ForecastError, match="no history to train on"):
        build_training_table(spark, history.until(12), ML)


def test_trees_of_many_workers_forecast_as_those_of_one(spark: "SparkSession", history: DemandHistory) -> None:
    rows = build_training_rows(history, ML)
    one = forecast_items(fit_model(XGBoostRegressor, rows, ML), history).units
    many = forecast_items(fit_xgboost(spark, history, ML), history).units
    seeds = [forecast_items(fit_model(
        XGBoostRegressor, rows, ML.model_copy(update={"xgboost": ML.xgboost.model_copy(update={"seed": seed})})),
        history).units for seed in (1, 2, 3)]
    # Each worker draws rows of its own, as another seed does: forecasts may differ by as much as those of seeds do
    # (measured: 2.5% of the units, seeds 2.2 to 2.4%), and their sum by far less.
    usual = max(np.abs(other - one).sum() for other in seeds)
    assert 0 < np.abs(many - one).sum() <= 2 * usual
    assert many.sum() == pytest.approx(one.sum(), rel=0.01)


@pytest.mark.nightly  # it forecasts from past cutoffs too, for the bands of totals
def test_inference_on_spark_writes_the_same_rows(
    spark: "SparkSession", data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(8)
    file = tmp_path / "sales.parquet"
    pd.DataFrame([
        {"event_date": FIRST + timedelta(days=day), "product_id": f"P{product:02d}", "category": "c",
         "units": int(rng.poisson(3)), "gross_amount": 2.0} for product in range(20) for day in range(50)
    ]).to_parquet(file)
    main = runpy.run_path(str(PROJECT_ROOT / "ml" / "inference.py"))["main"]
    written = []
    for runner in ("processes", "spark"):
        monkeypatch.setenv("SHOPLAKE_ML__RUNNER", runner)
        assert main(["--data", str(file), "--model", ADIDA, "--horizon", "next_week"]) == 0
        written.append(read_table(Lake(str(data_dir / "lake")), DEMAND_PREDICTIONS).sort_by(
            [("product_id", "ascending"), ("target_date", "ascending")]))
    assert written[0].num_rows == 20 * 7
    assert written[0].equals(written[1])
    assert spark.range(1).count() == 1, "a session that the shell did not start is left alone"
