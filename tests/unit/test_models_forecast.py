"""Forecasters: what each promises, the fallback, the split in time, repeatability."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import item_names
from shoplake.forecasting.forecasters import Forecast, forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.models import REGRESSORS, LinearRegressor, TrainingRows, XGBoostRegressor
from shoplake.forecasting.names import (
    ACTIVE_DAY_AVERAGE,
    BASELINE_MODELS,
    LEARNED_MODELS,
    MOVING_AVERAGE,
    NAIVE,
    SEASONAL_NAIVE,
)
from shoplake.forecasting.training import (
    build_training_rows,
    check_history,
    fit_everything,
    fit_models,
    validation_cutoffs,
)
from shoplake.registry.evaluation import evaluate_forecasters
from shoplake.settings import load_settings

FIRST = date(2026, 6, 1)
ML = load_settings("local").ml
BY_NAME = {baseline.name: baseline for baseline in BASELINES}


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
    assert BY_NAME[SEASONAL_NAIVE].forecast(history).units.tolist() == [[13, 14, 15, 16, 17, 18, 19]]


def test_moving_average_counts_calendar_days_since_the_first_sale() -> None:
    history = build_history(
        sales_of({"A": [100] + [0] * 9 + [28] * 3 + [0] * 25, "B": [0] * 30 + [4, 0, 0, 0, 0, 0, 2, 2]}),
        FIRST + timedelta(days=37))
    by_product = dict(zip(history.product_ids, BY_NAME[MOVING_AVERAGE].forecast(history).units[:, 0], strict=True))
    assert by_product == {"A": 84 / 28, "B": 1.0}


def test_the_active_day_average_leaves_out_the_days_without_a_sale() -> None:
    history = build_history(sales_of({"A": [9] * 20 + [0, 0, 6, 0, 0, 0, 2] * 4}), FIRST + timedelta(days=47))
    assert BY_NAME[ACTIVE_DAY_AVERAGE].forecast(history).units.tolist() == [[4] * 7]
    assert BY_NAME[NAIVE].forecast(history).units.tolist() == [[2] * 7]
    assert BY_NAME[MOVING_AVERAGE].forecast(history).units.tolist() == [[8 / 7] * 7]


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

        def forecast(self, history: DemandHistory) -> Forecast:
            return Forecast(np.full((len(history.product_ids), 7), -1.0))

    history = build_history(sales_of({"A": [1] * 5}), FIRST + timedelta(days=4))
    assert forecast_items(Pessimist(), history).units.tolist() == [[0.0] * 7]


def test_the_models_learn_a_weekday_profile_that_an_average_cannot_show() -> None:
    history = seasonal_history()
    cutoffs = validation_cutoffs(history.days, ML.validation_days)
    models = (*fit_models(history.until(cutoffs[0]), ML), *BASELINES)
    metrics = evaluate_forecasters(history, {one.name: one for one in models}, cutoffs).metrics()
    wape = {model: figures["wape"] or 0.0 for model, figures in metrics["next_day"].items()}
    assert set(wape) == {*LEARNED_MODELS, *BASELINE_MODELS}
    for model in LEARNED_MODELS:
        assert wape[model] < 0.85 * wape["moving_average"]
        assert wape[model] < 0.95 * wape["seasonal_naive"]
        for horizon in metrics.values():
            assert abs(horizon[model]["bias"] or 0.0) < 0.1


def test_the_same_history_and_seed_give_the_same_model() -> None:
    history = seasonal_history(60, 8)
    one, other = fit_models(history, ML), fit_models(history, ML)
    assert [model.version for model in one] == [model.version for model in other]
    for first, second in zip(one, other, strict=True):
        assert first.forecast(history).units.tobytes() == second.forecast(history).units.tobytes()


def test_two_processes_give_what_one_does() -> None:
    history = seasonal_history(120, 8)
    cutoffs = validation_cutoffs(history.days, ML.validation_days)
    one, two = (fit_everything(history, cutoffs[0], ML.model_copy(update={"processes": count})) for count in (1, 2))
    for fits in ("candidates", "models"):
        mine, theirs = getattr(one, fits), getattr(two, fits)
        assert mine[1].version == theirs[1].version
        assert mine[1].forecast(history).units.tobytes() == theirs[1].forecast(history).units.tobytes()
        np.testing.assert_allclose(mine[0].forecast(history).units, theirs[0].forecast(history).units, rtol=1e-9)
    assert one.models[1].version != one.candidates[1].version
    assert (one.bands is None) == (two.bands is None)
    forecasters = {model.name: model for model in (*two.candidates, *BASELINES)}
    alone, shared = (evaluate_forecasters(history, forecasters, cutoffs, count) for count in (1, 3))
    for name in forecasters:
        np.testing.assert_array_equal(alone.forecasts[name], shared.forecasts[name])


def test_another_seed_gives_another_tree_model() -> None:
    history = seasonal_history(60, 8)
    reseeded = ML.model_copy(update={"xgboost": ML.xgboost.model_copy(update={"seed": 99})})
    assert fit_models(history, ML)[1].version != fit_models(history, reseeded)[1].version


def rows_of(ratios: np.ndarray, base: np.ndarray, **columns: np.ndarray) -> TrainingRows:
    names = item_names(ML.features)
    features = np.zeros((len(ratios), len(names)), dtype=np.float32)
    for name, values in columns.items():
        features[:, names.index(name)] = values
    return TrainingRows(features, base, ratios * base, np.ones(len(ratios)))


def test_linear_regression_finds_the_line_of_the_ratio() -> None:
    rng = np.random.default_rng(1)
    lag, week = rng.normal(1, 0.5, 4000), rng.normal(1, 0.5, 4000)
    rows = rows_of(1.0 + 0.3 * (lag - 1) + 0.1 * (week - 1), rng.uniform(1, 50, 4000), lag_1=lag, lag_7=week)
    predicted = LinearRegressor.fit(rows, ML).predict(rows.features, rows.base)
    np.testing.assert_allclose(predicted / rows.base, rows.units / rows.base, atol=0.02)


def test_a_missing_feature_stands_at_its_mean_and_an_odd_one_at_five_deviations() -> None:
    values = np.arange(100.0)
    model = LinearRegressor.fit(rows_of(values / 50, np.ones(100), lag_1=values), ML)
    probe = rows_of(np.zeros(4), np.ones(4), lag_1=np.array([np.nan, 49.5, 49.5 + 5 * values.std(), 1e9])).features
    unknown, average, edge, odd = model.predict(probe, np.ones(4))
    assert unknown == pytest.approx(average)
    assert odd == pytest.approx(edge)


def test_trees_start_from_the_seasonal_level() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.5, 200, 3000)
    rows = rows_of(rng.poisson(base) / base, base, lag_1=rng.normal(1, 0.5, 3000))
    predicted = XGBoostRegressor.fit(rows, ML).predict(rows.features, base)
    assert predicted / base == pytest.approx(np.ones(3000), abs=0.15)


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_a_day_on_which_the_shop_never_trades_is_0(regressor: type) -> None:
    rng = np.random.default_rng(1)
    is_open = np.arange(120) % 7 != 5
    history = build_history(sales_of({f"P{n}": (rng.poisson(9, 120) * is_open).tolist() for n in range(8)}),
                            FIRST + timedelta(days=119))
    model = {model.name: model for model in fit_models(history, ML)}[regressor.name]
    units = model.forecast(history).units
    assert (units[:, (5 - 120) % 7] == 0).all()
    assert (np.delete(units, (5 - 120) % 7, axis=1) > 1).all()


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
    with pytest.raises(ForecastError, match="nothing was sold on 3 days up to 7 days before"):
        build_training_rows(late, ML)


def test_the_names_to_type_are_those_of_the_models() -> None:
    assert tuple(regressor.name for regressor in REGRESSORS) == LEARNED_MODELS
    assert tuple(baseline.name for baseline in BASELINES) == BASELINE_MODELS
