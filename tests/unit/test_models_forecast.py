"""Forecasters: what each promises, the fallback, the split in time, repeatability."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.features import feature_names
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.models import (
    BASELINES,
    REGRESSORS,
    LinearRegressor,
    MovingAverage,
    SeasonalNaive,
    TrainingRows,
    clip_outliers,
    forecast_items,
)
from shoplake.forecasting.names import BASELINE_MODELS, LEARNED_MODELS, MODEL_NAMES
from shoplake.forecasting.training import (
    build_training_rows,
    check_history,
    fit_models,
    score_forecasters,
    validation_cutoffs,
)
from shoplake.settings import load_settings

FIRST = date(2026, 6, 1)
ML = load_settings("local").ml


def sales_of(series: dict[str, list[int]], categories: dict[str, str] | None = None) -> pd.DataFrame:
    """Make sales from each product's units from FIRST on; every day has a row, also one of 0 units."""
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, (categories or {}).get(product, "c"), sold, sold * 2.0)
            for product, units in series.items() for day, sold in enumerate(units)]
    return pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])


def seasonal_history(days: int = 90, products: int = 30) -> DemandHistory:
    """Make a shop with a strong weekday profile and a level per product."""
    rng = np.random.default_rng(5)
    profile = np.array([0.5, 0.7, 1.0, 1.0, 1.2, 1.8, 0.8])
    return build_history(sales_of({
        f"P{n:02d}": rng.poisson((2 + n) * profile[np.arange(days) % 7]).tolist() for n in range(products)
    }), FIRST + timedelta(days=days - 1))


def test_seasonal_naive_repeats_the_last_week() -> None:
    history = build_history(sales_of({"A": list(range(20))}), FIRST + timedelta(days=19))
    assert SeasonalNaive().forecast(history).tolist() == [[13, 14, 15, 16, 17, 18, 19]]


def test_moving_average_counts_calendar_days_since_the_first_sale() -> None:
    history = build_history(
        sales_of({"A": [100] + [0] * 9 + [28] * 3 + [0] * 25, "B": [0] * 30 + [4, 0, 0, 0, 0, 0, 2, 2]}),
        FIRST + timedelta(days=37))
    by_product = dict(zip(history.product_ids, MovingAverage().forecast(history)[:, 0], strict=True))
    assert by_product == {"A": 84 / 28, "B": 1.0}


def test_a_product_of_one_day_gets_its_categorys_mean_from_every_forecaster() -> None:
    days = 60
    series = {"A": [2] * days, "B": [4] * days, "C": [100] * days, "new": [0] * (days - 1) + [50], "viewed": [0] * days}
    categories = {"A": "cups", "B": "cups", "C": "hats", "new": "cups", "viewed": "hats"}
    history = build_history(sales_of(series, categories), FIRST + timedelta(days=days - 1))
    for forecaster in (*fit_models(history, ML), *BASELINES):
        forecast = forecast_items(forecaster, history)
        row = {product: n for n, product in enumerate(history.product_ids)}
        assert dict(zip(history.product_ids, forecast.is_fallback, strict=True)) == {
            "A": False, "B": False, "C": False, "new": True, "viewed": True}
        assert forecast.units[row["new"]].tolist() == [3.0] * 7, forecaster.name
        assert forecast.units[row["viewed"]].tolist() == [100.0] * 7, forecaster.name


def test_forecasts_are_never_below_zero() -> None:
    class Pessimist:
        name, version = "pessimist", "0"

        def forecast(self, history: DemandHistory) -> np.ndarray:
            return np.full((len(history.product_ids), 7), -1.0)

    history = build_history(sales_of({"A": [1] * 5}), FIRST + timedelta(days=4))
    assert forecast_items(Pessimist(), history).units.tolist() == [[0.0] * 7]


def test_the_models_learn_a_weekday_profile_that_an_average_cannot_show() -> None:
    history = seasonal_history()
    cutoffs = validation_cutoffs(history.days, ML.validation_days)
    scores = score_forecasters(history, (*fit_models(history.until(cutoffs[0]), ML), *BASELINES), cutoffs)
    wape = {(score.model, score.horizon): score.wape or 0.0 for score in scores}
    assert {name for name, _ in wape} == set(MODEL_NAMES)
    for model in ("linear", "xgboost"):
        assert wape[model, "next_day"] < 0.85 * wape["moving_average", "next_day"]
        assert wape[model, "next_day"] < 0.95 * wape["seasonal_naive", "next_day"]
    assert all(0 < value < 1 for value in wape.values())
    assert all(score.bias is not None and abs(score.bias) < 0.1 for score in scores)


def test_the_same_history_and_seed_give_the_same_model() -> None:
    history = seasonal_history(60, 8)
    one, other = fit_models(history, ML), fit_models(history, ML)
    assert [model.version for model in one] == [model.version for model in other]
    for first, second in zip(one, other, strict=True):
        assert first.forecast(history).tobytes() == second.forecast(history).tobytes()


def test_another_seed_gives_another_tree_model() -> None:
    history = seasonal_history(60, 8)
    reseeded = ML.model_copy(update={"xgboost": ML.xgboost.model_copy(update={"seed": 99})})
    assert fit_models(history, ML)[1].version != fit_models(history, reseeded)[1].version


def test_linear_regression_finds_the_line() -> None:
    names = feature_names(ML.features)
    features = np.zeros((500, len(names)), dtype=np.float32)
    rng = np.random.default_rng(1)
    features[:, names.index("lag_1")] = lag = rng.integers(0, 20, 500)
    features[:, names.index("lag_7")] = week = rng.integers(0, 20, 500)
    rows = TrainingRows(features, 1.0 + 0.5 * lag + 0.25 * week)
    predicted = LinearRegressor.fit(rows, ML).predict(features)
    np.testing.assert_allclose(predicted, rows.units, atol=0.05)


def test_a_missing_feature_stands_at_its_mean() -> None:
    names = feature_names(ML.features)
    column = names.index("lag_1")
    features = np.zeros((100, len(names)), dtype=np.float32)
    features[:, column] = np.arange(100)
    model = LinearRegressor.fit(TrainingRows(features, 2.0 * np.arange(100) / 10), ML)
    unknown, average = features[:1].copy(), features[:1].copy()
    unknown[0, column], average[0, column] = np.nan, 49.5
    assert model.predict(unknown)[0] == pytest.approx(model.predict(average)[0])


def test_training_clips_an_outlier_by_the_items_own_past() -> None:
    names = feature_names(ML.features)
    features = np.zeros((3, len(names)), dtype=np.float32)
    features[:, names.index("units_per_active_day")] = [2, 10, 10]
    rows = TrainingRows(features, np.array([74215.0, 74215.0, 12.0]))
    assert clip_outliers(rows, ML.features).tolist() == [24, 50, 12]


def test_scores_by_hand() -> None:
    # Seen for 5 days before its first sale; from there 21 days known in weeks of 8, 8 and 6 units, then 7 more.
    # One origin, on which 1 unit a day is forecast.
    known = [2, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0]
    history = build_history(sales_of({"A": [0, 0, 0, 0, 0, *known, 3, 1, 1, 1, 1, 1, 1]}), FIRST + timedelta(days=32))

    class Ones:
        name, version = "ones", "1"

        def forecast(self, history: DemandHistory) -> np.ndarray:
            return np.ones((len(history.product_ids), 7))

    day, week = score_forecasters(history, [Ones()], range(26, 27))
    assert [day.wape, day.bias] == pytest.approx([2 / 3, -2 / 3])
    assert day.rmsse == pytest.approx(2 / np.sqrt(19 * 2**2 / 20))  # 20 differences, the first 0, the others 2
    assert [week.wape, week.bias] == pytest.approx([2 / 9, -2 / 9])
    assert week.rmsse == pytest.approx(2 / np.sqrt((0 + 2**2) / 2))


@pytest.mark.parametrize(("days", "count"), [(30, 3), (35, 4), (90, 14), (400, 14)])
def test_validation_days_lie_after_all_that_the_models_were_fitted_on(days: int, count: int) -> None:
    cutoffs = validation_cutoffs(days, 14)
    assert len(cutoffs) == count
    assert cutoffs[-1] + 7 == days  # the last target day is the history's last
    assert cutoffs[0] - 7 >= 14  # there is a cutoff to train on whose targets end by the first validation cutoff


def test_a_short_history_is_refused_and_the_shortest_allowed_trains() -> None:
    with pytest.raises(ForecastError, match=r"no history to train on: 20 shop day\(s\)"):
        check_history(seasonal_history(20, 3), 35)
    history = seasonal_history(30, 3)
    check_history(history, 30)
    assert len(fit_models(history.until(validation_cutoffs(30, 14)[0]), ML)) == 2


def test_a_history_without_sales_is_refused() -> None:
    empty = build_history(sales_of({"A": [0] * 40}), FIRST + timedelta(days=39))
    with pytest.raises(ForecastError, match="no units were sold"):
        check_history(empty, 35)
    late = build_history(sales_of({"A": [0] * 39 + [5]}), FIRST + timedelta(days=39))
    with pytest.raises(ForecastError, match="nothing was sold at least 8 days before"):
        build_training_rows(late, ML)


def test_the_names_to_type_are_those_of_the_models() -> None:
    assert tuple(regressor.name for regressor in REGRESSORS) == LEARNED_MODELS
    assert tuple(baseline.name for baseline in BASELINES) == BASELINE_MODELS
