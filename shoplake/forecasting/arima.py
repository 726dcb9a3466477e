"""ARIMA(1,1,1) of all products at once, by exact maximum likelihood.

Libraries fit one series at a time. With two parameters a grid that is refined around its best point does, all series
take each step together, and no start value can be wrong.
"""

from dataclasses import dataclass

import numpy as np

from shoplake.forecasting.forecasters import FALLBACK_DAYS, NOT_FINITE, STAND_IN, Forecast, hash_definition
from shoplake.forecasting.history import DemandHistory, FloatArray, IntArray
from shoplake.forecasting.levels import WEEK, rolling_mean
from shoplake.forecasting.names import ARIMA

# Autoregression and moving average lie between -1 and 1: the process is stationary and invertible.
GRID = np.linspace(-0.96, 0.96, 13)
FIRST_STEP = 0.08
ROUNDS = 6
LIMIT = 0.999
# Items whose grid is worked on at once: the arrays of one step stay in the processor's cache.
CHUNK = 128
NEIGHBOURS = np.array([(across, up) for across in (-1, 0, 1) for up in (-1, 0, 1)], dtype=np.float64)


@dataclass(frozen=True)
class Fit:
    """What the likelihood says of some parameters for each series; all of shape (items, points)."""

    deviance: FloatArray
    next_difference: FloatArray


def filter_differences(differences: FloatArray, start: IntArray, ar: FloatArray, ma: FloatArray) -> Fit:
    """Run the innovations recursion over each series of differences, for several parameters each.

    Args:
        differences: (items, days); those before `start` are not looked at.
        start: first column of each series, (items,).
        ar: (items, points) or (1, points).
        ma: as `ar`.

    Returns:
        n log(mean scaled squared error) + sum of log scales, which is least where the likelihood is largest, and the
        forecast of the next difference.

    Source: Brockwell and Davis (1991), example 5.3.2 and section 8.7.
    """
    items, days = differences.shape
    shape = (items, ar.shape[1])
    first_scale = np.broadcast_to((1 + 2 * ar * ma + ma**2) / (1 - ar**2), shape)
    scale, expected = first_scale.copy(), np.zeros(shape)
    squares, logs = np.zeros(shape), np.zeros(shape)
    for day in range(int(start.min(initial=days)), days):
        has_begun = (start <= day)[:, np.newaxis]
        seen = differences[:, day, np.newaxis]
        error = seen - expected
        squares += np.where(has_begun, error**2 / scale, 0.0)
        logs += np.where(has_begun, np.log(scale), 0.0)
        expected = np.where(has_begun, ar * seen + ma / scale * error, 0.0)
        scale = np.where(has_begun, 1 + ma**2 - ma**2 / scale, first_scale)
    count = np.maximum(days - start, 1)[:, np.newaxis]
    return Fit(count * np.log(np.maximum(squares, 1e-12) / count) + logs, expected)


def fit_parameters(differences: FloatArray, start: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give each series' autoregression, moving average and expected next difference, each (items,)."""
    across, up = np.meshgrid(GRID, GRID)
    points = np.stack([across.ravel(), up.ravel()])
    # A process in which both cancel out is white noise whatever they are: of such points one is enough.
    points = points[:, (np.abs(points.sum(axis=0)) > 1e-9) | (np.abs(points[0]) < 1e-9)]
    deviance = filter_differences(differences, start, points[:1], points[1:]).deviance
    best = points[:, deviance.argmin(axis=1)]
    rows = np.arange(len(differences))
    for number in range(ROUNDS):
        step = FIRST_STEP / 2**number
        near = np.clip(best[:, :, np.newaxis] + step * NEIGHBOURS.T[:, np.newaxis, :], -LIMIT, LIMIT)
        chosen = filter_differences(differences, start, near[0], near[1]).deviance.argmin(axis=1)
        best = near[:, rows, chosen]
    fit = filter_differences(differences, start, best[0][:, np.newaxis], best[1][:, np.newaxis])
    return best[0], best[1], fit.next_difference[:, 0]


def forecast_arima(units: FloatArray, first_sale: IntArray) -> FloatArray:
    """Forecast the 7 days after each series, (items, 7).

    Args:
        units: (items, days).
        first_sale: the column in which each series begins, (items,); each has at least two days.
    """
    forecasts = np.empty((len(units), WEEK))
    for begin in range(0, len(units), CHUNK):
        part = slice(begin, begin + CHUNK)
        ar, _, expected = fit_parameters(np.diff(units[part], axis=1), first_sale[part])
        steps = expected[:, np.newaxis] * ar[:, np.newaxis] ** np.arange(WEEK)
        forecasts[part] = units[part, -1:] + np.cumsum(steps, axis=1)
    return forecasts


class Arima:
    """ARIMA(1,1,1) of each product's series from its first sale on."""

    name = ARIMA
    version = hash_definition("arima: order (1, 1, 1), no constant, exact maximum likelihood on a refined grid")

    def forecast(self, history: DemandHistory) -> Forecast:
        """Forecast every series; where no figure comes out the product's mean of 28 days stands in, with the reason."""
        units = np.repeat(rolling_mean(history, history.units, FALLBACK_DAYS)[:, np.newaxis], WEEK, axis=1)
        rows = np.flatnonzero(history.has_series)
        forecast = forecast_arima(history.units[rows].astype(np.float64), history.first_sale[rows])
        is_finite = np.isfinite(forecast).all(axis=1)
        units[rows[is_finite]] = np.maximum(forecast[is_finite], 0.0)
        return Forecast(units, dict.fromkeys(rows[~is_finite].tolist(), f"{NOT_FINITE}; {STAND_IN}"))
