"""mlforecast with LightGBM's defaults: what it finds, whom it forecasts, and what it says when it is not there."""

import sys
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.boosted_peer import LightgbmForecaster
from shoplake.forecasting.forecasters import forecast_items
from shoplake.forecasting.history import DemandHistory, build_history

FIRST = date(2026, 1, 5)  # a Monday
WEEKDAYS = (0, 2, 4, 6, 8, 10, 12)


def history_of(series: dict[str, list[int]], days: int) -> DemandHistory:
    """Lay out series that all end on the same day."""
    rows = [(pd.Timestamp(FIRST + timedelta(days=days - len(units) + day)), product, "c", sold, 1.0)
            for product, units in series.items() for day, sold in enumerate(units)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, FIRST + timedelta(days=days - 1))


def weekly(factor: int, days: int) -> list[int]:
    return [factor * WEEKDAYS[day % 7] for day in range(days)]


def test_a_week_that_repeats_is_forecast_day_by_day() -> None:
    history = history_of({"one": weekly(1, 150), "five": weekly(5, 150), "ten": weekly(10, 150)}, 150)
    forecast = forecast_items(LightgbmForecaster.fit(history), history)
    assert not forecast.fallbacks
    for product, factor in (("one", 1), ("five", 5), ("ten", 10)):
        row = list(history.product_ids).index(product)
        expected = [factor * WEEKDAYS[(150 + ahead) % 7] for ahead in range(7)]
        assert forecast.units[row] == pytest.approx(expected, abs=1.5 + 0.1 * factor), product


def test_the_model_of_a_week_forecasts_later_days_and_products_it_never_saw() -> None:
    rng = np.random.default_rng(3)
    units = {f"P{n}": rng.poisson(3 + n, 160).tolist() for n in range(6)}
    full = history_of({**units, "young": [9, 7, 8, 9, 7], "newest": [4]}, 160)
    model = LightgbmForecaster.fit(full.until(153))
    assert "young" not in full.until(153).product_ids
    forecast = forecast_items(model, full)
    row = {product: n for n, product in enumerate(full.product_ids)}
    assert set(forecast.fallbacks) == {row["newest"]}, "one day is no series: its category's mean stands in"
    assert (forecast.units[[row[f"P{n}"] for n in range(6)]].mean(axis=1) > 1).all()
    assert np.isfinite(forecast.units).all()
    assert (forecast.units >= 0).all()


def test_a_repeated_fit_is_the_same_model() -> None:
    rng = np.random.default_rng(4)
    history = history_of({f"P{n}": rng.poisson(2, 100).tolist() for n in range(5)}, 100)
    one, other = LightgbmForecaster.fit(history), LightgbmForecaster.fit(history)
    assert one.version == other.version
    np.testing.assert_array_equal(one.forecast(history).units, other.forecast(history).units)


@pytest.mark.parametrize("missing", ["lightgbm", "mlforecast"])
def test_without_its_packages_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ForecastError, match=r"pip install -r requirements-dev.txt"):
        LightgbmForecaster.fit(history_of({"A": [1] * 60}, 60))
