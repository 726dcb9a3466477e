"""What moves the trees' forecasts, against the trees' own forecasts."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.backtest import REFEREE
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.effects import CURVES, _trace, explain_trees
from shoplake.forecasting.features import build_features, item_names
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.models import LinearRegressor, XGBoostRegressor, fit_model
from shoplake.forecasting.training import build_training_rows
from shoplake.settings import load_settings

DAYS = 120


@pytest.fixture(scope="module")
def history() -> DemandHistory:
    rng = np.random.default_rng(8)
    sales = pd.DataFrame([
        (pd.Timestamp(date(2026, 1, 5) + timedelta(days=day)), f"P{item}", "c", int(rng.poisson(2 + item)), 3.0)
        for item in range(15) for day in range(DAYS)
    ], columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, date(2026, 1, 5) + timedelta(days=DAYS - 1))


def test_the_parts_make_up_the_forecast(history: DemandHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    import xgboost

    settings = load_settings("local").ml
    settings = settings.model_copy(update={"xgboost": settings.xgboost.model_copy(update={"n_estimators": 30})})
    model = fit_model(XGBoostRegressor, build_training_rows(history, settings), settings)
    told: list[np.ndarray] = []
    predict = xgboost.Booster.predict
    monkeypatch.setattr(xgboost.Booster, "predict", lambda *given, **named: told.append(
        predict(*given, **named)) or told[-1])
    features, curves = explain_trees(model, history)
    (parts,) = told
    # Logarithms add up: what the trees make of the seasonal level is the product of the parts.
    built, is_item = build_features(history, settings.features), REFEREE.of(history)
    ratio = (model.forecast(history).units.sum(axis=1) / built.base.sum(axis=1))[is_item]
    spread = np.log(ratio) - parts.sum(axis=1)
    assert spread == pytest.approx(np.full(len(spread), spread[0]), abs=1e-4)
    assert {row["feature"] for row in features} == set(item_names(settings.features))
    assert sum(row["gain_share"] for row in features) == pytest.approx(1)
    by_name = dict(zip(item_names(settings.features), np.abs(parts[:, :-1]).mean(axis=0), strict=True))
    for row in features:
        assert row["mean_change"] == pytest.approx(np.expm1(by_name[row["feature"]]), abs=1e-6)
    changes = [row["mean_change"] for row in features]
    assert changes == sorted(changes, reverse=True)
    assert [*dict.fromkeys(row["feature"] for row in curves)] == [row["feature"] for row in features[:CURVES]]
    assert all(row["low"] <= row["change"] <= row["high"] for row in curves)


def test_others_have_no_trees_to_look_into(history: DemandHistory) -> None:
    settings = load_settings("local").ml
    linear = fit_model(LinearRegressor, build_training_rows(history, settings), settings)
    assert explain_trees(linear, history) == explain_trees(BASELINES[0], history) == explain_trees(None, history)
    assert explain_trees(None, history) == ([], [])


def test_a_curve_has_bins_of_as_many_items_and_leaves_out_what_is_unknown() -> None:
    values = np.array([*range(24), np.nan])
    points = _trace(values, np.array([*(value / 10 for value in range(24)), 9.0]))
    assert [point["value"] for point in points] == [0.5 + 2 * number for number in range(12)]
    assert [point["change"] for point in points] == pytest.approx([0.05 + 0.2 * number for number in range(12)])
    assert points[0]["low"] == pytest.approx(0.01)
    assert points[0]["high"] == pytest.approx(0.09)
    assert [point["value"] for point in _trace(np.array([1.0] * 9 + [5.0]), np.zeros(10))] == [1.0, 5.0]
    assert _trace(np.array([np.nan]), np.zeros(1)) == []
