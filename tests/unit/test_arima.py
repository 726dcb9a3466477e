"""ARIMA(1,1,1) of many series at once, against statsmodels one by one and against what made the series."""

import json
import runpy
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.arima.model import ARIMA

from shoplake.errors import EXIT_OK, EXIT_REFUSED
from shoplake.forecasting.arima import Arima, fit_parameters, forecast_arima
from shoplake.forecasting.history import build_history
from shoplake.settings import PROJECT_ROOT


def make_series(ar: float, ma: float, days: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, days + 50)
    differences = np.zeros(days + 50)
    for day in range(1, days + 50):
        differences[day] = ar * differences[day - 1] + noise[day] + ma * noise[day - 1]
    return 50 + np.cumsum(differences[50:])


@pytest.mark.parametrize(("ar", "ma"), [(0.6, -0.3), (-0.7, 0.2), (0.2, -0.9), (0.8, 0.5)])
def test_the_parameters_that_made_a_series_are_found(ar: float, ma: float) -> None:
    series = np.stack([make_series(ar, ma, 1500, seed) for seed in range(4)])
    found_ar, found_ma, _ = fit_parameters(np.diff(series, axis=1), np.zeros(4, dtype=np.int64))
    assert found_ar.mean() == pytest.approx(ar, abs=0.08)
    assert found_ma.mean() == pytest.approx(ma, abs=0.08)


def test_forecast_and_likelihood_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(7)
    units = np.stack([
        rng.poisson(20, 120), rng.poisson(2, 120), rng.poisson(1, 120) * 12,
        np.maximum(make_series(0.5, -0.2, 120, 3), 0), np.maximum(make_series(0.3, -0.8, 120, 4), 0)]).astype(float)
    first_sale = np.array([0, 30, 0, 60, 10])
    for row, start in enumerate(first_sale):
        units[row, :start] = 0
    ours = forecast_arima(units, first_sale)
    ar, ma, _ = fit_parameters(np.diff(units, axis=1), first_sale)
    for row, start in enumerate(first_sale):
        model = ARIMA(units[row, start:], order=(1, 1, 1))
        theirs = model.fit()
        likelihood = model.smooth([ar[row], ma[row], theirs.params[2]]).llf
        assert likelihood > theirs.llf - 0.1, row  # as good a fit, or a better one
        if likelihood < theirs.llf + 0.1:
            assert ours[row] == pytest.approx(theirs.forecast(7), rel=0.01, abs=0.05), row


def test_days_before_the_first_sale_change_nothing() -> None:
    series = make_series(0.4, -0.6, 90, 5)
    padded = np.concatenate([np.full(40, 9e6), series])
    np.testing.assert_array_equal(
        forecast_arima(series[np.newaxis], np.array([0])), forecast_arima(padded[np.newaxis], np.array([40])))


def test_a_flat_series_stays_flat_and_two_days_are_enough() -> None:
    flat = np.full((1, 60), 7.0)
    assert forecast_arima(flat, np.array([0]))[0] == pytest.approx([7] * 7)
    assert np.isfinite(forecast_arima(np.array([[0.0, 3.0, 5.0]]), np.array([1]))).all()
    assert forecast_arima(np.empty((0, 5)), np.empty(0, dtype=np.int64)).shape == (0, 7)


def test_chunks_do_not_change_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.random.default_rng(8).poisson(4, (9, 70)).astype(float)
    whole = forecast_arima(units, np.zeros(9, dtype=np.int64))
    monkeypatch.setattr("shoplake.forecasting.arima.CHUNK", 2)
    np.testing.assert_array_equal(forecast_arima(units, np.zeros(9, dtype=np.int64)), whole)


def test_a_series_without_a_finite_figure_has_its_mean_and_a_reason() -> None:
    days = pd.date_range("2026-06-01", periods=40)
    sales = pd.concat([pd.DataFrame({"event_date": days, "product_id": product, "category": "c", "units": units,
                                     "gross_amount": 1.0}) for product, units in (("bad", 6), ("good", 4))])
    history = build_history(sales, date(2026, 7, 10))
    assert not Arima().forecast(history).fallbacks
    units = history.units.astype(float)
    units[0, 5] = np.inf  # older than the 28 days of the mean
    forecast = Arima().forecast(replace(history, units=units))
    assert forecast.fallbacks == {0: "the model gave no finite figure; the mean of 28 days stands in"}
    assert forecast.units.tolist() == [[6] * 7, [4] * 7]


def test_the_benchmark_gives_both_the_same_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(9)
    days = pd.date_range("2026-01-01", periods=90)
    pd.concat([pd.DataFrame({"event_date": days.date, "product_id": f"P{n}", "category": "c",
                             "units": rng.poisson(6, 90), "gross_amount": 1.0}) for n in range(8)]
              ).to_parquet(tmp_path / "sales.parquet")
    main = runpy.run_path(str(PROJECT_ROOT / "benchmarks" / "arima.py"))["main"]
    assert main(["--data", str(tmp_path / "sales.parquet"), "--series", "5", "--json"]) in (EXIT_OK, EXIT_REFUSED)
    result = json.loads(capsys.readouterr().out)
    assert (result["series"], result["sample"]) == (8, 5)
    assert result["rmsse"]["ours"] > 0
    assert result["rmsse_ratio"] == pytest.approx(1, abs=0.02)
