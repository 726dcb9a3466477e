"""Features as a function of a history: training is this function at many cutoffs, serving is the same at one.

Units are told relative to the item's level, so that one model serves items that sell one a month and a thousand a day.
Nothing here is the same for all items of a cutoff, but for the days ahead: sixty cutoffs are sixty values of such a
feature, and trees learn from it which week it was (measured: it cost 2% of WRMSSE on the validation weeks).
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoplake.forecasting import promotions, stock_outs
from shoplake.forecasting.history import (
    CLIP_ACTIVE_DAYS,
    CLIP_FACTOR,
    CLIP_LEAST_UNITS,
    SMOOTHING,
    DemandHistory,
    FloatArray,
)
from shoplake.forecasting.levels import (
    LEVEL_WINDOWS,
    PROFILE_WEEKS,
    TREND_DAYS,
    TREND_LIMITS,
    WEEK,
    item_level,
    mean_by_category,
    rolling_mean,
    spread_level,
    week_profile,
)
from shoplake.forecasting.metrics import lag1_scales
from shoplake.sections import FeatureSettings

FeatureArray = npt.NDArray[np.float32]

# Raise it when a feature's meaning changes but not its name: models trained on the old meaning are then refused.
DEFINITION_VERSION = 4
# The log of a level of zero has to be something; a hundredth of a unit a day is as good as none.
LEAST_LEVEL = 0.01
ACTIVE_WINDOWS = (7, 14, 28, 56)
WEEKS_BACK = 4
PRICE_DAYS = 56
RECENT_DAYS = 28
ORDER_WINDOWS = (7, 14, 28, 56, 112)

DAY_NAMES = ("horizon", "target_weekday", "week_profile", "weekday_mean_4", "weekday_mean_8")


@dataclass(frozen=True)
class Features:
    """What a model sees of each product for the week to come; NaN where the past does not reach.

    Attributes:
        items: what is the same for the week's days, (products, item features).
        days: what each of the next 7 days has of its own, (products, 7, day features).
        base: the seasonal level with plans, units (products, 7); 0 on days on which the shop does not trade.
    """

    items: FeatureArray
    days: FeatureArray
    base: FloatArray

    @property
    def values(self) -> FeatureArray:
        """All features of each of the next 7 days, (products, 7, features)."""
        items = np.broadcast_to(self.items[:, np.newaxis], (*self.base.shape, self.items.shape[1]))
        return np.concatenate([items, self.days], axis=2)


def feature_names(spec: FeatureSettings) -> tuple[str, ...]:
    """Name all features in the order of their columns: those of the item, then those of the day."""
    return (*item_names(spec), *DAY_NAMES)


def item_names(spec: FeatureSettings) -> tuple[str, ...]:
    """Name the features of an item in the order of their columns."""
    return (
        "log_level", *(f"lag_{lag}" for lag in spec.lags), *(f"rolling_mean_{days}" for days in spec.rolling_windows),
        "smoothed", *(f"active_share_{days}" for days in ACTIVE_WINDOWS), "units_per_active_day", "days_between_sales",
        "days_since_last_sale", "days_since_first_sale", f"variation_{RECENT_DAYS}", f"peak_{RECENT_DAYS}",
        f"outlier_share_{RECENT_DAYS}", *(f"week_{back}" for back in range(1, WEEKS_BACK + 1)),
        "week_step", "log_price", f"price_ratio_{PRICE_DAYS}", "category_level", "category_trend",
        *(f"ordered_level_{days}" for days in ORDER_WINDOWS), "order_trend_14_56", "order_trend_28_112",
        "units_per_order", "order_size_ratio_56", "log_order_mean_56",
    )


def hash_features(spec: FeatureSettings) -> str:
    """Give the SHA-256 of the feature definition; a model trained under another one is refused."""
    definition = json.dumps({"version": DEFINITION_VERSION, "features": feature_names(spec), "figures": [
        CLIP_FACTOR, CLIP_LEAST_UNITS, CLIP_ACTIVE_DAYS, SMOOTHING, LEVEL_WINDOWS, PROFILE_WEEKS, TREND_DAYS,
        TREND_LIMITS, stock_outs.LEAST_CHANCE, stock_outs.LONGEST_DAYS, stock_outs.PRIOR_LOOKS,
        promotions.USUAL_DAYS, promotions.LEAST_USUAL_DAYS, promotions.PRIOR_DAYS, promotions.UPLIFT_LIMITS]})
    return hashlib.sha256(definition.encode()).hexdigest()


def build_features(history: DemandHistory, spec: FeatureSettings) -> Features:
    """Compute the features of every product for each of the next 7 days, from the history's days and the calendar.

    Lags count back from the first target day, so lag_1 is the cutoff. Means are over calendar days, never before the
    item's first sale and without days out of stock, of units without outliers and what promotions added. Lags, means,
    smoothed, peak and weeks are divided by the level, week_step by the level of a week.
    """
    level = item_level(history)
    profile = week_profile(history)
    shape = (len(level), WEEK)
    items = _item_features(history, np.maximum(level, LEAST_LEVEL), spec)
    days = _day_features(history, np.maximum(level, LEAST_LEVEL), profile)
    return Features(
        np.stack(items, axis=1).astype(np.float32),
        np.stack([np.broadcast_to(day, shape) for day in days], axis=2).astype(np.float32),
        spread_level(history, level, profile))


def tabulate_features(history: DemandHistory, spec: FeatureSettings) -> pd.DataFrame:
    """Give the features as a table for people: one row per product and target day, sorted, with its keys in front."""
    features = build_features(history, spec)
    names = list(feature_names(spec))
    table = pd.DataFrame(features.values.reshape(-1, len(names)), columns=names)
    table.insert(0, "as_of_date", history.cutoff)
    table.insert(1, "target_date", np.tile(np.array(target_days(history), dtype=object), len(features.base)))
    table.insert(2, "product_id", np.repeat(history.product_ids, WEEK))
    table.insert(3, "category", np.repeat(history.categories, WEEK))
    table["seasonal_level"] = features.base.reshape(-1)
    return table.sort_values(["product_id", "target_date"], ignore_index=True)


def target_days(history: DemandHistory) -> list[date]:
    """Give the 7 days after the cutoff."""
    return [history.cutoff + timedelta(days=horizon) for horizon in range(1, WEEK + 1)]


def _item_features(history: DemandHistory, level: FloatArray, spec: FeatureSettings) -> list[FloatArray]:
    usual, is_active = history.usual_units, history.units > 0
    has_sale = history.points > 0
    active_days = np.maximum(is_active.sum(axis=1), 1)
    recent = rolling_mean(history, usual, RECENT_DAYS)
    recent_squares = rolling_mean(history, usual[:, -RECENT_DAYS:] ** 2, RECENT_DAYS)
    outliers = rolling_mean(history, history.units, RECENT_DAYS) - recent
    return [
        np.log(level),
        *(_lag(history, lag) / level for lag in spec.lags),
        *(rolling_mean(history, usual, days) / level for days in spec.rolling_windows),
        history.smoothed[:, -1] / level,
        *(rolling_mean(history, is_active[:, -days:], days) for days in ACTIVE_WINDOWS),
        history.units.sum(axis=1) / active_days / level,
        history.points / active_days,
        np.where(has_sale, history.days - 1 - history.last_sale[:, -1], np.nan),
        np.where(has_sale, history.points - 1, np.nan),
        np.sqrt(recent_squares) / level,
        usual[:, -RECENT_DAYS:].max(axis=1) / level,
        outliers / level,
        *(_week_mean(history, back) / level for back in range(1, WEEKS_BACK + 1)),
        np.sqrt(lag1_scales(history, WEEK)) / (WEEK * level),
        *_prices(history),
        *_category_features(history, recent, level),
        *_order_features(history, level),
    ]


def _lag(history: DemandHistory, lag: int) -> FloatArray:
    column = history.days - lag
    if column < 0:
        return np.full(len(history.product_ids), np.nan)
    is_known = (history.first_sale <= column) & ~history.out_of_stock(slice(column, column + 1))[:, 0]
    return np.where(is_known, history.usual_units[:, column], np.nan)


def _week_mean(history: DemandHistory, back: int) -> FloatArray:
    """Give the mean day of the week that lies `back` weeks back; NaN where it begins before the first sale."""
    start = history.days - WEEK * back
    if start < 0:
        return np.full(len(history.product_ids), np.nan)
    in_stock = (~history.out_of_stock(slice(start, start + WEEK))).sum(axis=1)
    units = history.usual_units[:, start:start + WEEK].sum(axis=1)
    return np.where((history.first_sale <= start) & (in_stock > 0), units / np.maximum(in_stock, 1), np.nan)


def _prices(history: DemandHistory) -> tuple[FloatArray, FloatArray]:
    """Give the log of the unit price of the last sale, and its ratio to the mean price of 56 days; NaN if unknown.

    A ratio below 1 is what is left to see of a promotion.
    """
    rows = np.arange(len(history.product_ids))
    column = history.last_sale[:, -1]
    units = history.units[rows, column]
    has_sale = (column >= 0) & (units > 0) & (history.amounts[rows, column] > 0)
    last_price = np.divide(history.amounts[rows, column], units, out=np.full(len(rows), np.nan), where=has_sale)
    sold = history.units[:, -PRICE_DAYS:].sum(axis=1)
    amount = history.amounts[:, -PRICE_DAYS:].sum(axis=1)
    mean_price = np.divide(amount, sold, out=np.full(len(rows), np.nan), where=sold > 0)
    ratio = np.divide(last_price, mean_price, out=np.full(len(rows), np.nan), where=mean_price > 0)
    return np.log(last_price), ratio


def _category_features(history: DemandHistory, recent: FloatArray, level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the mean level of the category's items relative to the item's, and the category's last week.

    The last week is told against four weeks, and that against the same of the whole shop: 1 in a shop of one category.
    """
    week = rolling_mean(history, history.usual_units, WEEK)
    mean = mean_by_category(history, recent)
    trend = np.divide(mean_by_category(history, week), mean, out=np.ones_like(mean), where=mean > 0)
    items = history.has_series
    shop_trend = week[items].sum() / recent[items].sum() if week[items].sum() > 0 else 1.0
    return mean / level, trend / shop_trend


def _order_features(history: DemandHistory, level: FloatArray) -> list[FloatArray]:
    """Tell demand by its orders: their mean number times the item's units per order, relative to the level.

    Orders come more evenly than units, which one great order moves for weeks (measured: 0.7% of the week's WRMSSE).
    Then how orders move, the units per order of all days, those of 56 days against them, and the number itself. NaN
    where the history tells no orders.
    """
    if not history.orders.any():
        return [np.full(len(level), np.nan)] * (len(ORDER_WINDOWS) + 5)
    means = {days: rolling_mean(history, history.orders, days) for days in ORDER_WINDOWS}
    size = history.usual_units.sum(axis=1) / np.maximum(history.orders.sum(axis=1), 1)
    recent = history.usual_units[:, -56:].sum(axis=1) / np.maximum(history.orders[:, -56:].sum(axis=1), 1)
    return [
        *(mean * size / level for mean in means.values()),
        means[14] / np.maximum(means[56], LEAST_LEVEL), means[28] / np.maximum(means[112], LEAST_LEVEL),
        size, np.divide(recent, size, out=np.full(len(size), np.nan), where=size > 0),
        np.log(np.maximum(means[56], LEAST_LEVEL)),
    ]


def _day_features(history: DemandHistory, level: FloatArray, profile: FloatArray) -> list[FloatArray]:
    return [
        np.arange(1.0, WEEK + 1), np.array([float(target.weekday()) for target in target_days(history)]), profile,
        _weekday_mean(history, 4) / level[:, np.newaxis], _weekday_mean(history, 8) / level[:, np.newaxis],
    ]


def _weekday_mean(history: DemandHistory, weeks: int) -> FloatArray:
    """Average the units of each target's weekday over the last weeks, since the first sale; NaN without one."""
    weeks = min(weeks, history.days // WEEK)
    start = history.days - weeks * WEEK
    grid = history.usual_units[:, start:].reshape(len(history.units), weeks, WEEK)
    is_known = np.arange(start, history.days) >= history.first_sale[:, np.newaxis]
    is_known = (is_known & ~history.out_of_stock(slice(start, None))).reshape(grid.shape)
    known = is_known.sum(axis=1)
    means: FloatArray = np.divide(
        (grid * is_known).sum(axis=1), known, out=np.full(known.shape, np.nan), where=known > 0)
    return means
