"""The shop's statistical picture at a cutoff: each item's level, the shop's week and its trend.

Together they are wMixT, the strongest simple opponent; the learned models start from the same figures.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import BoolArray, DemandHistory, FloatArray, IntArray

WEEK = 7
LEVEL_WINDOWS = (14, 28, 56)
PROFILE_WEEKS = 8
TREND_DAYS = 14
TREND_LIMITS = (0.8, 1.25)


def rolling_mean(history: DemandHistory, values: npt.NDArray[Any], window: int) -> FloatArray:
    """Average a grid per calendar day over the last `window` days to the cutoff, never before the item's first sale.

    Days on which the item was out of stock are left out; if all were, the mean is 0.

    Args:
        values: (products, days), one of the history's grids or made of one; 0 on days out of stock.
    """
    length = np.maximum(known_days(history, window), 1)
    return np.asarray(values[:, -window:].sum(axis=1) / length, dtype=np.float64)


def known_days(history: DemandHistory, window: int) -> IntArray:
    """Count each item's days among the last `window` that tell of its demand: since its first sale, in stock."""
    censored = history.out_of_stock(slice(-window, None)).sum(axis=1)
    return np.asarray(np.clip(history.points, 0, window) - censored, dtype=np.int64)


def item_level(history: DemandHistory) -> FloatArray:
    """Give each item's usual units per calendar day: three windows and a slow smoothing, averaged.

    For a window in which the item was never in stock the smoothing stands in.
    """
    smoothed = history.smoothed[:, -1]
    means = [np.where(known_days(history, window) > 0, rolling_mean(history, history.usual_units, window), smoothed)
             for window in LEVEL_WINDOWS]
    return np.asarray(np.mean([*means, smoothed], axis=0), dtype=np.float64)


def week_profile(history: DemandHistory) -> FloatArray:
    """Give the shop's usual units on each of the next 7 days relative to its mean day; 1 before the first whole week.

    Each of the last 8 whole weeks is divided by its own mean, so that growth is not taken for a weekday; the median
    over the weeks keeps one great order from shaping the profile. A weekday on which the shop never trades becomes 0.
    """
    weeks = min(PROFILE_WEEKS, history.days // WEEK)
    totals = history.usual_units[:, history.days - weeks * WEEK:].sum(axis=0).reshape(weeks, WEEK)
    trading = totals[totals.sum(axis=1) > 0]
    if not len(trading):
        return np.ones(WEEK)
    profile = np.median(trading / trading.mean(axis=1, keepdims=True), axis=0)
    return np.asarray(profile / profile.mean() if profile.mean() > 0 else np.ones(WEEK), dtype=np.float64)


def trading_days_after(history: DemandHistory, origins: Iterable[int]) -> BoolArray:
    """Tell whether the shop is to trade on each of the 7 days after each origin, (origins, 7).

    It usually does on that weekday, and is not to be closed.
    """
    known = [history.until(days) for days in origins]
    return np.stack([(week_profile(one) > 0) & ~one.closed[one.days:] for one in known])


def shop_trend(history: DemandHistory) -> float:
    """Give the root of the shop's usual units of the last 14 days over the 14 before, from 0.8 to 1.25.

    1 without 28 days, or where nothing was sold in the first 14 of them.
    """
    totals = history.usual_units[:, -2 * TREND_DAYS:].sum(axis=0)
    before = totals[:-TREND_DAYS].sum()
    if len(totals) < 2 * TREND_DAYS or before == 0:
        return 1.0
    return float(np.clip(np.sqrt(totals[-TREND_DAYS:].sum() / before), *TREND_LIMITS))


def seasonal_level(history: DemandHistory) -> FloatArray:
    """Give wMixT's forecast: each item's level on each of the next 7 days, by the shop's week and trend, (items, 7)."""
    return spread_level(history, item_level(history), week_profile(history))


def spread_level(history: DemandHistory, level: FloatArray, profile: FloatArray) -> FloatArray:
    """Lay each item's level on the next 7 days by a profile, the shop's trend and its plans, (items, 7)."""
    return np.asarray(level[:, np.newaxis] * profile * shop_trend(history) * history.planned_factor)


def mean_by_category(history: DemandHistory, values: FloatArray) -> FloatArray:
    """Average `values` over each category's items that have a series; the shop's mean where a category has none."""
    codes = history.category_codes[:, -1]
    counted = codes[history.has_series]
    shape = len(history.category_names)
    counts = np.bincount(counted, minlength=shape)
    totals = np.bincount(counted, weights=values[history.has_series], minlength=shape)
    # Not of `totals`: how many categories there will be would change its last digit.
    shop_mean = values[history.has_series].mean() if len(counted) else 0.0
    means = np.divide(totals, counts, out=np.full(shape, shop_mean), where=counts > 0)
    return np.asarray(means[codes], dtype=np.float64)
