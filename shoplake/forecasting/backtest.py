"""The referee: forecasts from many origins, each made with what was known there, against the days that followed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoplake.errors import ForecastError
from shoplake.forecasting.forecasters import Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.levels import WEEK, trading_days_after
from shoplake.forecasting.metrics import Scored, lag1_scales, revenue_share

# A history cut at an origin -> a forecaster that was made of nothing else.
Method = Callable[[DemandHistory], Forecaster]


@dataclass(frozen=True)
class Eligibility:
    """Which items are scored at an origin: so many days since the first sale, so many of them with units."""

    days: int
    active_days: int

    def of(self, history: DemandHistory) -> npt.NDArray[np.bool_]:
        """Tell for each item of a cut history."""
        active_days = (history.units > 0).sum(axis=1)
        return np.asarray((history.points >= self.days) & (active_days >= self.active_days))


def ready(forecaster: Forecaster) -> Method:
    """Give a forecaster that has nothing to train as a method."""
    return lambda _: forecaster


REFEREE = Eligibility(days=56, active_days=10)
TEST_WEEKS = 8
VALIDATION_WEEKS = 4


@dataclass(frozen=True)
class Origins:
    """From where forecasts are made, as numbers of days known.

    Attributes:
        validation: a week apart, on which models may be chosen.
        test: a week apart, after them; nothing is chosen on these.
        daily: every day from the first to the last of `test` after which the shop usually trades.
    """

    validation: tuple[int, ...]
    test: tuple[int, ...]
    daily: tuple[int, ...]


def plan_origins(history: DemandHistory) -> Origins:
    """Take the last 8 weeks that the history holds for the test, and the 4 before for validation.

    Raises:
        ForecastError: there are not so many weeks after the first 8, of which profiles are made.
    """
    last = history.days - WEEK
    first = last - (TEST_WEEKS - 1) * WEEK
    start = first - VALIDATION_WEEKS * WEEK
    if start < REFEREE.days:
        raise ForecastError(
            f"a backtest needs {REFEREE.days + (TEST_WEEKS + VALIDATION_WEEKS) * WEEK} days of history; there are "
            f"{history.days}, from {history.first_day} to {history.cutoff}"
        )
    origins = range(first, last + 1)
    daily = tuple(np.array(origins)[trading_days_after(history, origins)[:, 0]].tolist())
    return Origins(tuple(range(start, first, WEEK)), tuple(range(first, last + 1, WEEK)), daily)


@dataclass(frozen=True)
class Entry:
    """What one method forecast from some origins, and what that took.

    Attributes:
        units: (items, origins, 7); NaN for items that were not known yet.
        cpu_seconds: of this process and of those that it waited for; not of joblib's workers, which live on.
        fallback_count: forecasts of an item for which another figure stood in.
    """

    units: FloatArray
    cpu_seconds: float
    fallback_count: int


def collect_actuals(history: DemandHistory, origins: Sequence[int], eligibility: Eligibility) -> Scored:
    """Give what followed each origin, with the scales and weights of the referee.

    Args:
        origins: numbers of days known; each with 7 days after it in the history.
    """
    shape = (len(history.product_ids), len(origins))
    actual = np.full((*shape, WEEK), np.nan)
    day_scale, week_scale, week_step = np.ones(shape), np.ones(shape), np.ones(shape)
    share = np.zeros(shape)
    for column, days in enumerate(origins):
        known = history.until(days)
        items = np.flatnonzero(eligibility.of(known))
        actual[items, column] = history.units[items, days:days + WEEK]
        day_scale[items, column] = lag1_scales(known)[items]
        week_scale[items, column] = lag1_scales(known, WEEK)[items]
        week_step[items, column] = lag1_scales(known, WEEK, power=1)[items]
        revenue = revenue_share(known)[items]
        share[items, column] = revenue / revenue.sum() if revenue.sum() > 0 else 1 / max(len(items), 1)
    return Scored(actual, day_scale, week_scale, week_step, share)


def collect_forecasts(
    history: DemandHistory, origins: Sequence[int], method: Method, made_at: Sequence[int] | None = None,
) -> Entry:
    """Let a method forecast from each origin.

    Args:
        made_at: numbers of days known at which the forecaster is made anew; from an origin between two of them the
            one made last forecasts, as in a shop that trains once a week. Every origin if None.
    """
    units = np.full((len(history.product_ids), len(origins), WEEK), np.nan)
    fallback_count, started = 0, _cpu_seconds()
    made: dict[int, Forecaster] = {}
    for column, days in enumerate(origins):
        known = history.until(days)
        due = days if made_at is None else max(day for day in made_at if day <= days)
        if due not in made:
            made = {due: method(history.until(due))}
        forecast = forecast_items(made[due], known)
        units[:len(forecast.units), column] = forecast.units
        fallback_count += len(forecast.fallbacks)
    return Entry(units, _cpu_seconds() - started, fallback_count)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def demand_classes(history: DemandHistory) -> npt.NDArray[np.object_]:
    """Name each item's class of demand at the cutoff: smooth, erratic, intermittent or lumpy, (items,).

    By the mean days between active days (1.32) and the squared variation of the units of active days (0.49).

    Source: Syntetos, Boylan and Croston (2005).
    """
    is_active = history.units > 0
    counts = np.maximum(is_active.sum(axis=1), 1)
    interval = np.maximum(history.points, 1) / counts
    means = history.units.sum(axis=1) / counts
    deviations = np.where(is_active, history.units - means[:, np.newaxis], 0.0)
    variation = (deviations**2).sum(axis=1) / counts / np.maximum(means, 1e-9) ** 2
    is_rare, is_uneven = interval >= 1.32, variation >= 0.49
    return np.select(
        [is_rare & is_uneven, is_rare, is_uneven], ["lumpy", "intermittent", "erratic"], "smooth").astype(object)
