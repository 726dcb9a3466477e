"""How often bands hold, and how close they are: each fitted with what was known at its origin."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.intervals import LEVELS, SPANS, BandModel, has_days_for_bands
from shoplake.forecasting.levels import week_profile
from shoplake.forecasting.metrics import Scored, pinball
from shoplake.settings import MlSettings


def measure_bands(
    history: DemandHistory, origins: Sequence[int], scored: Scored, forecasts: Mapping[str, FloatArray],
    settings: MlSettings,
) -> dict[str, dict[str, Any]]:
    """Fit bands at each origin, lay them around each method's forecast, and tell how they did on weeks and days.

    Args:
        scored: what followed the origins.
        forecasts: name -> (items, origins, 7).

    Returns:
        name -> coverage_80, coverage_95 (shares of all items and origins), pinball_10 and so on (units, the mean loss
        of each limit), coverage_80_by_origin (None where too few days were known for bands), all of the week's total;
        day_coverage_80, day_coverage_95 of days on which the shop trades. None of it if no origin has enough days.
    """
    has_bands = np.array([has_days_for_bands(history.until(days)) for days in origins])
    if not has_bands.any():
        return {}
    shape = (2, *scored.share.shape, SPANS)
    limits = {name: {level: np.full(shape, np.nan) for level in LEVELS} for name in forecasts}
    actual = np.concatenate([scored.actual.sum(axis=2, keepdims=True), scored.actual], axis=2)
    actual[:, ~has_bands] = np.nan
    for column in np.flatnonzero(has_bands).tolist():
        known = history.until(origins[column])
        model, items = BandModel.fit(known, settings), slice(len(known.product_ids))
        actual[:, column, 1:][:, week_profile(known) == 0] = np.nan
        for name, units in forecasts.items():
            bands = model.bands(known, units[items, column])
            for level, both in limits[name].items():
                both[:, items, column] = bands.lower[level], bands.upper[level]
    return {name: _measure(actual, by_level) for name, by_level in limits.items()}


def _measure(actual: FloatArray, limits: Mapping[int, FloatArray]) -> dict[str, Any]:
    days = measure_limits(
        actual[:, :, 1:].reshape(len(actual), -1),
        {level: both[..., 1:].reshape(2, len(actual), -1) for level, both in limits.items()})
    return {**measure_limits(actual[:, :, 0], {level: both[..., 0] for level, both in limits.items()}),
            **{f"day_coverage_{level}": days[f"coverage_{level}"] for level in LEVELS}}


def measure_limits(totals: FloatArray, limits: Mapping[int, FloatArray]) -> dict[str, Any]:
    """Compare totals with limits, as `measure_bands` tells it.

    Args:
        totals: units, (items, origins); NaN where nothing is scored.
        limits: level in per cent -> lower and upper, (2, items, origins).
    """
    is_scored: npt.NDArray[np.bool_] = ~np.isnan(totals)
    counts, figures = is_scored.sum(axis=0), dict[str, Any]()
    for level, (lower, upper) in limits.items():
        is_in = is_scored & (totals >= lower) & (totals <= upper)
        figures[f"coverage_{level}"] = float(is_in.sum() / is_scored.sum())
        for quantile, limit in zip(LEVELS[level], (lower, upper), strict=True):
            loss = pinball(totals, limit, quantile)[is_scored].mean()
            figures[f"pinball_{100 * quantile:g}"] = float(loss)
        if level == min(LEVELS):
            figures[f"coverage_{level}_by_origin"] = [
                int(held) / int(count) if count else None
                for held, count in zip(is_in.sum(axis=0), counts, strict=True)]
    return figures
