"""Opponents that statsforecast fits to each product's own series; pure functions, spread by whoever calls.

`forecast_series` is all that a process or a Spark group needs: one series in, seven days out, or a reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.forecasters import (
    FALLBACK_DAYS,
    NOT_FINITE,
    STAND_IN,
    Forecast,
    Forecaster,
    hash_definition,
)
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.levels import WEEK, rolling_mean
from shoplake.forecasting.names import ADIDA, AUTO_ETS, AUTO_THETA, CROSTON_SBA, IMAPA, TSB

# What a model says of a series: units of 7 days and None, or NaN and the reason why it says nothing.
Answer = tuple[FloatArray, str | None]
# The name of a model and many series -> their answers in the same order, from however many processes or machines.
Spread = Callable[[str, Sequence[FloatArray]], list[Answer]]

# The smoothing of demand and of its chance, as the M5 competition's benchmarks have them.
TSB_SMOOTHING = 0.1


@cache
def _make(name: str) -> Any:
    from statsforecast import models

    makers: dict[str, Callable[[], Any]] = {
        AUTO_ETS: lambda: models.AutoETS(season_length=WEEK),
        AUTO_THETA: lambda: models.AutoTheta(season_length=WEEK),
        CROSTON_SBA: models.CrostonSBA,
        TSB: lambda: models.TSB(alpha_d=TSB_SMOOTHING, alpha_p=TSB_SMOOTHING),
        IMAPA: models.IMAPA,
        ADIDA: models.ADIDA,
    }
    return makers[name]()


def forecast_series(name: str, series: FloatArray) -> Answer:
    """Forecast the 7 days after a series with a model of its own; give them with None, or NaN with the reason.

    Args:
        name: of names.SERIES_MODELS.
        series: units a day, from the first sale on.
    """
    try:
        units = np.asarray(_make(name).forecast(y=series, h=WEEK)["mean"], dtype=np.float64)
    except Exception as error:  # any fault of a library in one of thousands of series; it is recorded
        return np.full(WEEK, np.nan), f"{type(error).__name__}: {error}"
    return (units, None) if np.isfinite(units).all() else (np.full(WEEK, np.nan), NOT_FINITE)


def over_processes(processes: int) -> Spread:
    """Spread series over processes of this machine; batch/forecast_groups.py spreads them over Spark."""
    def forecast_all(name: str, series: Sequence[FloatArray]) -> list[Answer]:
        return list(Parallel(n_jobs=processes)(delayed(forecast_series)(name, one) for one in series))

    return forecast_all


@dataclass(frozen=True)
class SeriesForecaster:
    """One model for each product, wherever `spread` fits them."""

    name: str
    spread: Spread

    @property
    def version(self) -> str:
        """SHA-256 of the definition; nothing is kept between two forecasts."""
        return hash_definition(f"{self.name}: {_make(self.name)!r}, season of {WEEK} days")

    def forecast(self, history: DemandHistory) -> Forecast:
        """Fit and forecast each series; where that fails the product's mean of 28 days stands in, with the reason."""
        rows = np.flatnonzero(history.has_series)
        series = [history.units[row, history.first_sale[row]:].astype(np.float64) for row in rows]
        answers = self.spread(self.name, series)
        units = np.repeat(rolling_mean(history, history.units, FALLBACK_DAYS)[:, np.newaxis], WEEK, axis=1)
        fallbacks = {}
        for row, (forecast, reason) in zip(rows.tolist(), answers, strict=True):
            if reason is None:
                units[row] = np.maximum(forecast, 0.0)
            else:
                fallbacks[row] = f"{reason}; {STAND_IN}"
        return Forecast(units, fallbacks)


def find_untrained(name: str, spread: Spread) -> Forecaster:
    """Give the forecaster of a name that has nothing to train: a baseline, or a model for each product."""
    baselines = {baseline.name: baseline for baseline in BASELINES}
    return baselines[name] if name in baselines else SeriesForecaster(name, spread)
