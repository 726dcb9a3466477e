"""Features as a function of a history: training is this function at many cutoffs, serving is the same at one."""

import hashlib
import json
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.names import HORIZONS
from shoplake.settings import FeatureSettings

FeatureArray = npt.NDArray[np.float32]

# Raise it when a feature's meaning changes but not its name: models trained on the old meaning are then refused.
DEFINITION_VERSION = 1
LEVEL_WINDOWS = (14, 28, 56)
PRICE_DAYS = 30
RECENT_DAYS = 28
TREND_DAYS = 14
PROFILE_WEEKS = 8
WEEK = 7

ALL_HORIZONS = HORIZONS["next_week"]


def item_feature_names(spec: FeatureSettings) -> tuple[str, ...]:
    """Name the features that are the same for every horizon."""
    return (
        *(f"lag_{lag}" for lag in spec.lags), *(f"rolling_mean_{window}" for window in spec.rolling_windows),
        "level", f"active_share_{RECENT_DAYS}", "units_per_active_day", "days_since_last_sale", "days_since_first_sale",
        f"category_mean_{RECENT_DAYS}", "last_price", f"price_ratio_{PRICE_DAYS}", f"shop_trend_{TREND_DAYS}",
    )


TARGET_FEATURE_NAMES = (
    "horizon", "target_weekday", "target_month", "target_day_of_year", "weekday_mean_4", "shop_weekday_index",
    "seasonal_level",
)


def feature_names(spec: FeatureSettings) -> tuple[str, ...]:
    """Name all features in the order of their columns."""
    return (*item_feature_names(spec), *TARGET_FEATURE_NAMES)


def hash_features(spec: FeatureSettings) -> str:
    """Give the SHA-256 of the feature definition; a model trained under another one is refused."""
    definition = json.dumps({"version": DEFINITION_VERSION, "features": feature_names(spec)})
    return hashlib.sha256(definition.encode()).hexdigest()


def build_features(history: DemandHistory, spec: FeatureSettings) -> FeatureArray:
    """Compute the features of every product for each of the next 7 days, from the history's days and the calendar.

    Shape (products, 7, features). Lags count back from the first target day, so lag_1 is the cutoff. Means are over
    calendar days, never before the item's first sale. NaN where the past does not reach.
    """
    level = np.mean([rolling_mean(history, window) for window in LEVEL_WINDOWS], axis=0)
    items = _item_features(history, level, spec)
    targets = _target_features(history, level)
    features = np.empty((len(history.product_ids), WEEK, len(items) + len(targets)), dtype=np.float32)
    for column, values in enumerate(items):
        features[:, :, column] = values[:, np.newaxis]
    for column, values in enumerate(targets, start=len(items)):
        features[:, :, column] = values
    return features


def tabulate_features(history: DemandHistory, spec: FeatureSettings) -> pd.DataFrame:
    """Give the features as a table for people: one row per product and target day, sorted, with its keys in front."""
    features = build_features(history, spec)
    table = pd.DataFrame(features.reshape(-1, features.shape[2]), columns=list(feature_names(spec)))
    table.insert(0, "as_of_date", history.cutoff)
    table.insert(1, "target_date", np.tile(np.array(target_days(history), dtype=object), len(features)))
    table.insert(2, "product_id", np.repeat(history.product_ids, WEEK))
    table.insert(3, "category", np.repeat(history.categories, WEEK))
    return table.sort_values(["product_id", "target_date"], ignore_index=True)


def target_days(history: DemandHistory) -> list[date]:
    """Give the 7 days after the cutoff."""
    return [history.cutoff + timedelta(days=horizon) for horizon in ALL_HORIZONS]


def rolling_mean(history: DemandHistory, window: int) -> FloatArray:
    """Average units per calendar day over the last `window` days to the cutoff, never before the item's first sale."""
    length = np.clip(history.points, 1, window)
    return np.asarray(history.units[:, -window:].sum(axis=1) / length, dtype=np.float64)


def same_weekday_units(history: DemandHistory, horizon: int, weeks_back: int) -> FloatArray:
    """Give units of the target's weekday `weeks_back` weeks before the target; NaN before the item's first sale."""
    column = history.days - 1 + horizon - WEEK * weeks_back
    if not 0 <= column < history.days:
        return np.full(len(history.product_ids), np.nan)
    return np.where(history.first_sale <= column, history.units[:, column], np.nan)


def mean_by_category(history: DemandHistory, values: FloatArray) -> FloatArray:
    """Average `values` over each category's items that have a series; the shop's mean where a category has none."""
    codes = history.category_codes[:, -1]
    counted = codes[history.has_series]
    shape = len(history.category_names)
    counts = np.bincount(counted, minlength=shape)
    totals = np.bincount(counted, weights=values[history.has_series], minlength=shape)
    shop_mean = totals.sum() / counts.sum() if counts.sum() else 0.0
    means = np.divide(totals, counts, out=np.full(shape, shop_mean), where=counts > 0)
    return np.asarray(means[codes], dtype=np.float64)


def _item_features(history: DemandHistory, level: FloatArray, spec: FeatureSettings) -> list[FloatArray]:
    recent = history.units[:, -RECENT_DAYS:] > 0
    has_sale = history.points > 0
    active_days = (history.units > 0).sum(axis=1)
    last_price, price_ratio = _prices(history)
    return [
        *(_lag(history, lag) for lag in spec.lags),
        *(rolling_mean(history, window) for window in spec.rolling_windows),
        level,
        recent.sum(axis=1) / np.clip(history.points, 1, RECENT_DAYS),
        history.units.sum(axis=1) / np.maximum(active_days, 1),
        np.where(has_sale, history.days - 1 - history.last_sale[:, -1], np.nan),
        np.where(has_sale, history.points - 1, np.nan),
        mean_by_category(history, rolling_mean(history, RECENT_DAYS)),
        last_price,
        price_ratio,
        np.full(len(level), _shop_trend(history)),
    ]


def _lag(history: DemandHistory, lag: int) -> FloatArray:
    column = history.days - lag
    if column < 0:
        return np.full(len(history.product_ids), np.nan)
    return np.where(history.first_sale <= column, history.units[:, column], np.nan)


def _prices(history: DemandHistory) -> tuple[FloatArray, FloatArray]:
    """Give the unit price of the last sale, and its ratio to the mean price of the last 30 days; NaN if unknown."""
    rows = np.arange(len(history.product_ids))
    column = history.last_sale[:, -1]
    units = history.units[rows, column]
    has_sale = (column >= 0) & (units > 0)
    last_price = np.divide(history.amounts[rows, column], units, out=np.full(len(rows), np.nan), where=has_sale)
    sold = history.units[:, -PRICE_DAYS:].sum(axis=1)
    amount = history.amounts[:, -PRICE_DAYS:].sum(axis=1)
    mean_price = np.divide(amount, sold, out=np.full(len(rows), np.nan), where=sold > 0)
    ratio = np.divide(last_price, mean_price, out=np.full(len(rows), np.nan), where=mean_price > 0)
    return last_price, ratio


def _shop_trend(history: DemandHistory) -> float:
    """Give the shop's units of the last 14 days over those of the 14 before, at most doubled or halved."""
    totals = history.units[:, -2 * TREND_DAYS:].sum(axis=0)
    before = int(totals[:-TREND_DAYS].sum())
    if len(totals) < 2 * TREND_DAYS or before == 0:
        return 1.0
    return float(np.clip(totals[-TREND_DAYS:].sum() / before, 0.5, 2.0))


def _target_features(history: DemandHistory, level: FloatArray) -> list[FloatArray]:
    shape = (len(level), WEEK)
    targets = target_days(history)
    weekday_index = _shop_weekday_index(history)
    weekday_means = np.stack([_weekday_mean(history, horizon) for horizon in ALL_HORIZONS], axis=1)
    calendar = (
        ALL_HORIZONS, [target.weekday() for target in targets], [target.month for target in targets],
        [target.timetuple().tm_yday for target in targets],
    )
    return [
        *(np.broadcast_to(np.asarray(values, dtype=np.float64), shape) for values in calendar),
        weekday_means, np.broadcast_to(weekday_index, shape), level[:, np.newaxis] * weekday_index,
    ]


def _weekday_mean(history: DemandHistory, horizon: int) -> FloatArray:
    weeks = np.stack([same_weekday_units(history, horizon, back) for back in range(1, 5)])
    known = (~np.isnan(weeks)).sum(axis=0)
    total: FloatArray = np.nansum(weeks, axis=0)
    means: FloatArray = np.divide(total, known, out=np.full(len(known), np.nan), where=known > 0)
    return means


def _shop_weekday_index(history: DemandHistory) -> FloatArray:
    """Give the shop's demand on each of the next 7 days relative to its mean day.

    Each of the last 8 whole weeks is divided by its own mean, so that growth is not taken for a weekday; the median
    over the weeks keeps one great order from shaping the profile. A weekday on which the shop never trades becomes 0.
    """
    weeks = min(PROFILE_WEEKS, history.days // WEEK)
    totals = history.units[:, history.days - weeks * WEEK:].sum(axis=0).reshape(weeks, WEEK)
    trading = totals[totals.sum(axis=1) > 0]
    if not len(trading):
        return np.ones(WEEK)
    profile = np.median(trading / trading.mean(axis=1, keepdims=True), axis=0)
    return np.asarray(profile / profile.mean() if profile.mean() > 0 else np.ones(WEEK), dtype=np.float64)
