"""Forecasters without training: the opponents that a model has to beat, and the figures it starts from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shoplake.forecasting.arima import Arima
from shoplake.forecasting.forecasters import Forecast, Forecaster, hash_definition
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.levels import WEEK, rolling_mean, seasonal_level
from shoplake.forecasting.names import ACTIVE_DAY_AVERAGE, MOVING_AVERAGE, NAIVE, SEASONAL_NAIVE, WMIXT

AVERAGE_DAYS = 28


@dataclass(frozen=True)
class Baseline:
    """A forecaster that is one function of the history, (products,) or (products, 7)."""

    name: str
    definition: str
    function: Callable[[DemandHistory], FloatArray]

    @property
    def version(self) -> str:
        """SHA-256 of the definition."""
        return hash_definition(f"{self.name}: {self.definition}")

    def forecast(self, history: DemandHistory) -> Forecast:
        """Apply the function; a figure per product stands for all days."""
        units = self.function(history)
        return Forecast(np.repeat(units[:, np.newaxis], WEEK, axis=1) if units.ndim == 1 else units)


def _newest_day(history: DemandHistory) -> FloatArray:
    return history.units[:, -1].astype(np.float64)


def _newest_week(history: DemandHistory) -> FloatArray:
    week = history.units[:, -WEEK:].astype(np.float64)
    return np.pad(week, ((0, 0), (WEEK - week.shape[1], 0)))


def _moving_average(history: DemandHistory) -> FloatArray:
    return rolling_mean(history, history.units, AVERAGE_DAYS)


def active_day_average(history: DemandHistory) -> FloatArray:
    """Give each product's mean units of the days with a sale among the last 28, (products,)."""
    recent = history.units[:, -AVERAGE_DAYS:]
    return np.asarray(recent.sum(axis=1) / np.maximum((recent > 0).sum(axis=1), 1), dtype=np.float64)


BASELINES: tuple[Forecaster, ...] = (
    Baseline(WMIXT, "level x week profile x shop trend, of units without outliers", seasonal_level),
    Baseline(MOVING_AVERAGE, f"mean of {AVERAGE_DAYS} calendar days, since the first sale", _moving_average),
    Baseline(SEASONAL_NAIVE, "units of the target - 7 days", _newest_week),
    Baseline(NAIVE, "units of the cutoff", _newest_day),
    # As the RetailRocket original has it: days without a sale are left out, so it is too high. Kept to show that.
    Baseline(ACTIVE_DAY_AVERAGE, f"mean of the days with units among the last {AVERAGE_DAYS}", active_day_average),
    Arima(),
)
