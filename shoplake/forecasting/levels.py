"""The shop's statistical picture at a cutoff: each item's level, the shop's week and its trend.

Together they are wMixT, the strongest simple opponent; the learned models start from the same figures.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import DemandHistory, FloatArray, IntArray

WEEK = 7
LEVEL_WINDOWS = (14, 28, 56)
PROFILE_WEEKS = 8
TREND_DAYS = 14
TREND_LIMITS = (0.8, 1.25)


def rolling_mean(history: DemandHistory, values: npt.NDArray[Any], window: int) -> FloatArray:
    """Average a grid per calendar day over the last `window` days to the cutoff, never before the item's first sale.

    Days on which nobody could buy the item are left out; if all were such, the mean is 0.

    Args:
        values: (products, days), one of the history's grids or made of one; 0 on days off sale.
    """
    length = np.maximum(known_days(history, window), 1)
    return np.asarray(values[:, -window:].sum(axis=1) / length, dtype=np.float64)


def known_days(history: DemandHistory, window: int) -> IntArray:
    """Count each item's days among the last `window` that tell of its demand: since its first sale, on sale."""
    off_sale = history.off_sale(slice(-window, None)).sum(axis=1)
    return np.asarray(np.clip(history.points, 0, window) - off_sale, dtype=np.int64)


def item_level(history: DemandHistory) -> FloatArray:
    """Give each item's usual units per calendar day: three windows and a slow smoothing, averaged.

    For a window in which the item was never on sale the smoothing stands in.
    """
    smoothed = history.smoothed[:, -1]
    means = [np.where(known_days(history, window) > 0, rolling_mean(history, history.usual_units, window), smoothed)
             for window in LEVEL_WINDOWS]
    return np.asarray(np.mean([*means, smoothed], axis=0), dtype=np.float64)


def week_profile(history: DemandHistory) -> FloatArray:
    """Give the shop's usual units on each of the next 7 days relative to its mean day; 1 before the first whole week.

    Each of the last 8 whole weeks is divided by its own mean, so that growth is not taken for a weekday; the median
    over the weeks keeps one great order from shaping the profile. A weekday on which the shop never trades becomes 0;
    planned closed days are left out.
    """
    weeks = min(PROFILE_WEEKS, history.days // WEEK)
    newest = slice(history.days - weeks * WEEK, history.days)
    totals = np.where(history.shut(newest), np.nan, history.usual_units[:, newest].sum(axis=0)).reshape(weeks, WEEK)
    trading = totals[np.nansum(totals, axis=1) > 0]
    if not len(trading):
        return np.ones(WEEK)
    shares = trading / np.nanmean(trading, axis=1, keepdims=True)
    shares[:, np.isnan(shares).all(axis=0)] = 0.0
    profile = np.nanmedian(shares, axis=0)
    return np.asarray(profile / profile.mean() if profile.mean() > 0 else np.ones(WEEK), dtype=np.float64)


def shop_trend(history: DemandHistory) -> float:
    """Give the root of the shop's usual units of the last 14 days over the 14 before, from 0.8 to 1.25.

    By the days on which it was open. 1 without 28 days, or where nothing was sold in either half of them.
    """
    last = slice(history.days - 2 * TREND_DAYS, history.days)
    if history.days < 2 * TREND_DAYS:
        return 1.0
    before, after = history.usual_units[:, last].sum(axis=0).reshape(2, TREND_DAYS).sum(axis=1)
    open_before, open_after = (~history.shut(last)).reshape(2, TREND_DAYS).sum(axis=1)
    if before == 0 or open_after == 0:
        return 1.0
    return float(np.clip(np.sqrt(after / before * (open_before / open_after)), *TREND_LIMITS))


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
