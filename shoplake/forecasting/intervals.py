"""Bands around forecasts: quantiles by boosted trees, made honest on weeks that the trees have not seen.

Source: Romano, Patterson and Candes (2019), conformalised quantile regression; the correction here is relative to the
band's width, so that it widens a band of hundreds more than one of two units.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from shoplake.forecasting.backtest import REFEREE, Eligibility
from shoplake.forecasting.features import (
    DAY_NAMES,
    LEAST_LEVEL,
    FeatureArray,
    Features,
    build_features,
    feature_names,
)
from shoplake.forecasting.history import BoolArray, DemandHistory, FloatArray
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.models import THREADS
from shoplake.forecasting.names import BANDS
from shoplake.sections import FeatureSettings, MlSettings

# level in per cent -> its two quantiles
LEVELS = {80: (0.1, 0.9), 95: (0.025, 0.975)}
QUANTILES = tuple(sorted(quantile for pair in LEVELS.values() for quantile in pair))
# The newest weeks are kept from the trees; the bands are widened or narrowed until they would have held there.
CALIBRATION_WEEKS = 8
# Sales are whole units: a limit of less than half a one is 0.
LEAST_UNITS = 0.5
# Of the cutoffs that point forecasts learn from every second will do; four quantiles cost four times as much.
BANDS_EVERY = 2
# An item's band is learned from a month of it on. Calibrated are those that the referee counts: of younger ones nine of
# ten weeks lie in the quantiles already, and would make the others' bands too narrow.
BANDED = Eligibility(days=28, active_days=3)
# Spans: the whole week, then each of its days.
SPANS = 1 + WEEK
KINDS = ("week", "day")


@dataclass(frozen=True)
class Bands:
    """Lower and upper limits in units, by level in per cent: (products, 8), the week's total first, then its 7 days."""

    lower: dict[int, FloatArray]
    upper: dict[int, FloatArray]


def _spans(features: Features) -> tuple[FeatureArray, FloatArray]:
    """Give features and base of each product's spans, (products, 8, …): the week as horizon 0 without a weekday."""
    week = np.full((len(features.base), 1, len(DAY_NAMES)), np.nan, dtype=np.float32)
    week[:, :, DAY_NAMES.index("horizon")] = 0
    items = np.broadcast_to(features.items[:, np.newaxis], (len(features.base), SPANS, features.items.shape[1]))
    values = np.concatenate([items, np.concatenate([week, features.days], axis=1)], axis=2)
    base = np.concatenate([features.base.sum(axis=1, keepdims=True), features.base], axis=1)
    return values, base


def _totals(history: DemandHistory, days: int, items: int) -> FloatArray:
    units = history.units[:items, days:days + WEEK].astype(np.float64)
    return np.concatenate([units.sum(axis=1, keepdims=True), units], axis=1)


def _in_stock(history: DemandHistory, days: int, items: int) -> BoolArray:
    """Tell of each product's 8 spans whether it was in stock in them: the others say nothing of demand."""
    is_out = history.out_of_stock(slice(days, days + WEEK))[:items]
    return ~np.concatenate([is_out.any(axis=1, keepdims=True), is_out], axis=1)


def has_days_for_bands(history: DemandHistory) -> bool:
    """Tell whether there is an item to learn from, and weeks of it, before the weeks kept for calibration."""
    if history.days < BANDED.days + (CALIBRATION_WEEKS + 3) * WEEK:
        return False
    known = history.until(_newest_lesson(history))
    is_sold = known.units[:, -BANDED.days:].any(axis=1)
    return bool((BANDED.of(known) & is_sold).any())


def _newest_lesson(history: DemandHistory) -> int:
    return history.days - (1 + CALIBRATION_WEEKS) * WEEK


class BandModel:
    """Quantiles of units relative to the seasonal level, and what calibration adds to them."""

    name: ClassVar[str] = BANDS
    file_suffix: ClassVar[str] = ".ubj"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "xgboost")

    def __init__(self, booster: Any, margins: dict[str, float], spec: FeatureSettings) -> None:
        """Take an xgboost.Booster and the margins by `<kind>_<level>`, in widths of the band."""
        self._booster = booster
        self.margins = margins
        self._spec = spec

    @classmethod
    def fit(cls, history: DemandHistory, settings: MlSettings) -> Self:
        """Learn the quantiles on the older cutoffs and calibrate on the newest weeks.

        The history must have enough days (`has_days_for_bands`).
        """
        newest = history.days - WEEK
        calibration = [newest - WEEK * back for back in range(CALIBRATION_WEEKS)]
        lesson = _newest_lesson(history)
        cutoffs = range(lesson, max(BANDED.days, lesson - settings.train_days), -BANDS_EVERY * settings.train_every)
        model = cls(_fit_quantiles(history, cutoffs, settings), dict.fromkeys(_margin_names(), 0.0), settings.features)
        model.margins = model._calibrate(history, calibration)
        return model

    @classmethod
    def from_bytes(cls, content: bytes, spec: FeatureSettings) -> Self:
        """Read what `to_bytes` wrote."""
        import xgboost

        booster = xgboost.Booster({"nthread": THREADS})
        booster.load_model(bytearray(content))
        return cls(booster, json.loads(str(booster.attr("margins"))), spec)

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give XGBoost's parameters, and how many weeks it is calibrated on."""
        parameters = settings.xgboost.model_dump(exclude={"tweedie_variance_power"})
        return {**parameters, "objective": "reg:quantileerror", "quantile_alpha": list(QUANTILES),
                "tree_method": "hist", "nthread": THREADS, "calibration_weeks": CALIBRATION_WEEKS}

    def to_bytes(self) -> bytes:
        """Write XGBoost's UBJSON; the margins are an attribute of it."""
        self._booster.set_attr(margins=json.dumps(self.margins))
        return bytes(self._booster.save_raw("ubj"))

    def bands(self, history: DemandHistory, units: FloatArray) -> Bands:
        """Give the bands around a forecast; they are never below 0 and never leave the forecast outside.

        A wider level holds the narrower one. On a day on which the shop never trades they begin at 0. An item that is
        too young to have been learned from has NaN.

        Args:
            units: the point forecasts, (products, 7).
        """
        features, base = _spans(build_features(history, self._spec))
        point = np.concatenate([units.sum(axis=1, keepdims=True), units], axis=1)
        lower, upper = {}, {}
        innermost = point, point
        for level, (low, high) in sorted(self._raw_bands(features, base).items()):
            margin = self._margin(level) * _width(low, high)
            is_open = base > 0
            below = np.where(low > 0, np.maximum(low - margin, 0.0), 0.0)
            lower[level] = np.where(is_open, np.minimum(below, innermost[0]), 0.0)
            upper[level] = np.where(is_open, np.maximum(high + margin, innermost[1]), innermost[1])
            innermost = lower[level], upper[level]
        is_young = ~BANDED.of(history)
        for limits in (*lower.values(), *upper.values()):
            limits[is_young] = np.nan
        return Bands(lower, upper)

    def _margin(self, level: int) -> FloatArray:
        return np.array([self.margins[f"week_{level}"], *[self.margins[f"day_{level}"]] * WEEK])

    def _raw_bands(self, features: FeatureArray, base: FloatArray) -> dict[int, tuple[FloatArray, FloatArray]]:
        rows = features.reshape(-1, features.shape[2])
        # Trees of different quantiles may cross; sorted, they do not.
        ratios = np.sort(self._booster.inplace_predict(rows).astype(np.float64), axis=1)
        units = ratios.reshape(*base.shape, len(QUANTILES)) * np.maximum(base, 0)[:, :, np.newaxis]
        units = np.where(units < LEAST_UNITS, 0.0, units)
        return {level: (units[:, :, QUANTILES.index(low)], units[:, :, QUANTILES.index(high)])
                for level, (low, high) in LEVELS.items()}

    def _calibrate(self, history: DemandHistory, cutoffs: Sequence[int]) -> dict[str, float]:
        excess: dict[str, list[FloatArray]] = {name: [] for name in _margin_names()}
        for days in cutoffs:
            known = history.until(days)
            is_item = REFEREE.of(known)
            if not is_item.any():
                is_item = BANDED.of(known)
            features, base = _spans(build_features(known, self._spec))
            actual, in_stock = _totals(history, days, len(base)), _in_stock(history, days, len(base))
            for level, (low, high) in self._raw_bands(features, base).items():
                # Nothing is below a limit of 0, and 0 is above none: whatever the margin, these are inside.
                below = np.where(low > 0, low - actual, -np.inf)
                above = np.where(actual > 0, actual - high, -np.inf)
                off = np.maximum(below, above) / _width(low, high)
                excess[f"week_{level}"].append(off[is_item & in_stock[:, 0], 0])
                is_day = is_item[:, np.newaxis] & in_stock & (base > 0)
                excess[f"day_{level}"].append(off[:, 1:][is_day[:, 1:]])
        return {name: _find_margin(np.concatenate(parts), int(name.rsplit("_", 1)[1]) / 100)
                for name, parts in excess.items()}


def _find_margin(excess: FloatArray, share: float) -> float:
    # A band narrowed by its whole width is the point forecast.
    place = min(len(excess), int(np.ceil((len(excess) + 1) * share)))
    return max(float(np.sort(excess)[place - 1]), -1.0)


def _margin_names() -> tuple[str, ...]:
    return tuple(f"{kind}_{level}" for kind in KINDS for level in LEVELS)


def _width(low: FloatArray, high: FloatArray) -> FloatArray:
    return high - low + 1.0


def _fit_quantiles(history: DemandHistory, cutoffs: Sequence[int], settings: MlSettings) -> Any:
    import xgboost

    features, ratios = [], []
    expected = 2 * sum(int(BANDED.of(history.until(days)).sum()) for days in cutoffs)
    share = settings.max_training_rows / max(expected, 1)
    for number, days in enumerate(cutoffs):
        known = history.until(days)
        values, base = _spans(build_features(known, settings.features))
        is_row = BANDED.of(known)[:, np.newaxis] & (base > LEAST_LEVEL) & _in_stock(history, days, len(base))
        # Of the week's days one in turn: their rows are alike, and the weeks shall not drown in them.
        is_row &= np.isin(np.arange(SPANS), (0, 1 + number % WEEK))
        if share < 1:
            is_row &= np.random.default_rng([settings.xgboost.seed, days]).random(is_row.shape) < share
        features.append(values[is_row])
        ratios.append(_totals(history, days, len(base))[is_row] / base[is_row])
    matrix = xgboost.QuantileDMatrix(
        np.concatenate(features), np.concatenate(ratios), nthread=THREADS,
        feature_names=list(feature_names(settings.features)))
    parameters = BandModel.parameters(settings)
    del parameters["calibration_weeks"]
    return xgboost.train(parameters, matrix, num_boost_round=parameters.pop("n_estimators"))
