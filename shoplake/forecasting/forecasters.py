"""The one interface of every forecaster: a history goes in, units for each of the next 7 days come out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import MIN_POINTS, DemandHistory, FloatArray
from shoplake.forecasting.levels import mean_by_category, rolling_mean

FALLBACK_DAYS = 28
STAND_IN = f"the mean of {FALLBACK_DAYS} days stands in"
NOT_FINITE = "the model gave no finite figure"
TOO_SHORT = f"fewer than {MIN_POINTS} days since the first sale: the mean of its category over {FALLBACK_DAYS} days"


@dataclass(frozen=True)
class Forecast:
    """Units of each product on each of the 7 days after the cutoff.

    Attributes:
        units: (products, 7), at least 0.
        fallbacks: row -> why another figure stands in for the forecaster's own.
    """

    units: FloatArray
    fallbacks: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_fallback(self) -> npt.NDArray[np.bool_]:
        """Whether another figure stands in, by product."""
        return np.isin(np.arange(len(self.units)), list(self.fallbacks))


class Forecaster(Protocol):
    """Anything that forecasts demand; `version` identifies what exactly made a forecast."""

    @property
    def name(self) -> str:
        """The name in gold.demand_predictions."""

    @property
    def version(self) -> str:
        """SHA-256 of the artifact, or of the definition where there is nothing to train."""

    def forecast(self, history: DemandHistory) -> Forecast:
        """Forecast each product; a series that it cannot forecast has a stand-in, named in `fallbacks`."""


def forecast_items(forecaster: Forecaster, history: DemandHistory) -> Forecast:
    """Forecast every product of the history, whatever the forecaster.

    A product with a series of fewer than two days (or never sold) gets the mean units per day of its category's
    products over the last 28 days, marked as a fallback. Nothing is forecast for a day on which the shop is closed.
    """
    forecast = forecaster.forecast(history)
    is_short = ~history.has_series
    category_means = mean_by_category(history, rolling_mean(history, history.units, FALLBACK_DAYS))
    units = np.where(is_short[:, np.newaxis], category_means[:, np.newaxis], np.maximum(forecast.units, 0.0))
    units[:, history.closed[history.days:]] = 0.0
    return Forecast(units, {**forecast.fallbacks, **dict.fromkeys(np.flatnonzero(is_short).tolist(), TOO_SHORT)})


def hash_definition(definition: str) -> str:
    """Give the SHA-256 of a text; it is the version of a forecaster that has nothing to train."""
    return hashlib.sha256(definition.encode()).hexdigest()
