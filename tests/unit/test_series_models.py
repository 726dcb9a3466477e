"""Models of one series each: their known answers, and that one item's failure stays its own."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting import series_models
from shoplake.forecasting.history import DemandHistory, FloatArray, build_history
from shoplake.forecasting.names import AUTO_ETS, CROSTON_SBA, SERIES_MODELS, TSB
from shoplake.forecasting.series_models import Answer, SeriesForecaster, forecast_series, over_processes

FIRST = date(2026, 6, 1)


def history_of(series: dict[str, list[int]]) -> DemandHistory:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", sold, 1.0)
            for product, units in series.items() for day, sold in enumerate(units)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, FIRST + timedelta(days=len(next(iter(series.values()))) - 1))


@pytest.mark.parametrize("name", SERIES_MODELS)
def test_every_model_finds_a_steady_demand(name: str) -> None:
    series = np.random.default_rng(1).poisson(20, 120).astype(float)
    units, reason = forecast_series(name, series)
    assert reason is None
    assert units == pytest.approx([20] * 7, abs=4)


def test_crostons_corrected_method_by_hand() -> None:
    # Every third day 6 units: demand 6, interval 3; Syntetos and Boylan take 5% off: (1 - 0.1 / 2) * 6 / 3.
    units, _ = forecast_series(CROSTON_SBA, np.array([0, 0, 6] * 30, dtype=float))
    assert units == pytest.approx([0.95 * 2] * 7)


def test_teunter_lets_the_demand_of_a_dead_item_fade() -> None:
    alive = np.array([0, 6] * 30, dtype=float)
    dead = np.concatenate([alive, np.zeros(60)])
    assert forecast_series(TSB, dead)[0][0] < 0.05 * forecast_series(TSB, alive)[0][0]
    assert forecast_series(CROSTON_SBA, dead)[0] == pytest.approx(forecast_series(CROSTON_SBA, alive)[0])


def test_the_series_begins_at_the_first_sale() -> None:
    late = history_of({"A": [0] * 30 + [4, 0, 5, 6, 0, 4, 5, 6, 4, 0]})
    short = history_of({"A": [4, 0, 5, 6, 0, 4, 5, 6, 4, 0]})
    forecaster = SeriesForecaster(CROSTON_SBA, over_processes(1))
    np.testing.assert_array_equal(forecaster.forecast(late).units, forecaster.forecast(short).units)


def test_one_items_failure_is_recorded_and_its_mean_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosy:
        def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
            if y[0] == 7:
                raise np.linalg.LinAlgError("singular matrix")
            return {"mean": np.full(h, np.inf if y[0] == 8 else -1.0)}

    monkeypatch.setattr(series_models, "_make", lambda name: Choosy())
    history = history_of({"good": [5] * 40, "bad": [7] * 40, "endless": [8] * 40})
    forecast = SeriesForecaster(AUTO_ETS, over_processes(1)).forecast(history)
    row = {product: n for n, product in enumerate(history.product_ids)}
    assert forecast.fallbacks == {
        row["bad"]: "LinAlgError: singular matrix; the mean of 28 days stands in",
        row["endless"]: "the model gave no finite figure; the mean of 28 days stands in"}
    assert forecast.units[row["good"]].tolist() == [0] * 7
    assert forecast.units[row["bad"]].tolist() == [7] * 7
    assert forecast.units[row["endless"]].tolist() == [8] * 7


@pytest.mark.parametrize("name", SERIES_MODELS)
def test_the_library_itself_fails_at_one_series_and_the_others_have_their_forecasts(name: str) -> None:
    history = history_of({"bad": [7] * 40, "good": [5, 3, 4, 6] * 10, "other": [2, 0, 1, 0] * 10})
    bad, good, other = (list(history.product_ids).index(product) for product in ("bad", "good", "other"))
    rows = [bad, good, other]

    def spoil(name: str, series: Sequence[FloatArray]) -> list[Answer]:
        spoilt = [np.full(40, np.nan) if row == bad else one for row, one in zip(sorted(rows), series, strict=True)]
        return over_processes(1)(name, spoilt)

    forecast = SeriesForecaster(name, spoil).forecast(history)
    assert set(forecast.fallbacks) == {bad}
    reason, _, stand_in = forecast.fallbacks[bad].rpartition("; ")
    assert reason
    assert stand_in == "the mean of 28 days stands in"
    assert forecast.units[bad].tolist() == [7] * 7
    whole = SeriesForecaster(name, over_processes(1)).forecast(history)
    assert not whole.fallbacks
    np.testing.assert_array_equal(forecast.units[[good, other]], whole.units[[good, other]])


@pytest.mark.parametrize("name", SERIES_MODELS)
@pytest.mark.parametrize("series", [[4, 0], [1, 0, 0], [3] * 8, [1] + [0] * 30, [10**9, 0, 0, 5] * 5])
def test_odd_series_have_a_figure_or_a_reason(name: str, series: list[int]) -> None:
    units, reason = forecast_series(name, np.array(series, dtype=float))
    assert (reason is None) == np.isfinite(units).all()
    assert reason is None or np.isnan(units).all()


def test_processes_give_the_same_figures_as_one() -> None:
    rng = np.random.default_rng(2)
    history = history_of({f"P{n}": rng.poisson(3, 90).tolist() for n in range(12)})
    one, two = (SeriesForecaster(CROSTON_SBA, over_processes(count)).forecast(history).units for count in (1, 2))
    np.testing.assert_array_equal(one, two)
