"""How often bands hold, and how close they are: each fitted with what was known at its origin."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.intervals import LEVELS, SPANS, BandModel, has_days_for_bands
from shoplake.forecasting.levels import WEEK, trading_days_after
from shoplake.forecasting.metrics import Scored, pinball
from shoplake.sections import MlSettings

# Of one method: level in per cent -> lower and upper, (2, items, origins, 8), the week's total first, then its days.
Limits = Mapping[int, FloatArray]
# The weeks of items of like sales are told apart, as many in each class.
SIZE_CLASSES = 4
SIZE_DAYS = 56


def lay_bands(
    history: DemandHistory, origins: Sequence[int], forecasts: Mapping[str, FloatArray], settings: MlSettings,
) -> dict[str, Limits]:
    """Fit bands at each origin, with what was known there, and lay them around each method's forecast.

    Args:
        forecasts: name -> (items, origins, 7).

    Returns:
        name -> limits in units; NaN at an origin where too few days were known for bands, and for young items. Nothing
        if no origin has enough days.
    """
    banded = [column for column, days in enumerate(origins) if has_days_for_bands(history.until(days))]
    if not banded:
        return {}
    shape = (2, len(history.product_ids), len(origins), SPANS)
    limits = {name: {level: np.full(shape, np.nan) for level in LEVELS} for name in forecasts}
    for column in banded:
        known = history.until(origins[column])
        model, items = BandModel.fit(known, settings), slice(len(known.product_ids))
        for name, units in forecasts.items():
            bands = model.bands(known, units[items, column])
            for level, both in limits[name].items():
                both[:, items, column] = bands.lower[level], bands.upper[level]
    return dict(limits)


def measure_bands(
    history: DemandHistory, origins: Sequence[int], scored: Scored, limits: Mapping[str, Limits],
) -> dict[str, dict[str, Any]]:
    """Tell how the bands that `lay_bands` gives did on weeks and days.

    Returns:
        name -> coverage_80, coverage_95 (shares of all items and origins), pinball_10 and so on (units, the mean loss
        of each limit), coverage_80_by_origin and coverage_95_by_origin (None where there were no bands),
        coverage_by_size (see `_measure_sizes`), all of the week's total; day_coverage_80, day_coverage_95 of days on
        which the shop trades.
    """
    sizes = mean_weeks(history, origins)
    figures = {}
    for name, by_level in limits.items():
        has_bands = np.asarray(~np.isnan(by_level[min(by_level)]).all(axis=(0, 1, 3)))
        weeks = np.where(has_bands, scored.actual.sum(axis=2), np.nan)
        is_day = (has_bands[:, np.newaxis] & trading_days_after(history, origins)).reshape(-1)
        days = np.where(is_day, scored.actual.reshape(len(scored.actual), -1), np.nan)
        by_day = measure_limits(
            days, {level: both[..., 1:].reshape(2, len(days), -1) for level, both in by_level.items()})
        of_week = {level: both[..., 0] for level, both in by_level.items()}
        figures[name] = {
            **measure_limits(weeks, of_week), "coverage_by_size": _measure_sizes(weeks, of_week, sizes),
            **{f"day_coverage_{level}": by_day[f"coverage_{level}"] for level in by_level}}
    return figures


def mean_weeks(history: DemandHistory, origins: Sequence[int]) -> FloatArray:
    """Give each item's units a week over the 56 days to each origin, (items, origins)."""
    return np.stack(
        [history.units[:, max(0, days - SIZE_DAYS):days].mean(axis=1) * WEEK for days in origins], axis=1)


def _measure_sizes(totals: FloatArray, limits: Limits, sizes: FloatArray) -> list[dict[str, Any]]:
    """Give coverage by the item's usual week: classes of as many weeks each, in units above `over` up to `up_to`.

    What was known at the origin makes the class: classes by what was sold then would gather the weeks outside.
    """
    is_scored = ~np.isnan(totals)
    edges = np.unique(np.quantile(sizes[is_scored], np.linspace(0, 1, SIZE_CLASSES + 1)[1:], method="inverted_cdf"))
    places = np.searchsorted(edges, sizes)
    classes = []
    for place, edge in enumerate(edges.tolist()):
        of_class = np.where(places == place, totals, np.nan)
        figures = measure_limits(of_class, limits)
        classes.append({
            "over": float(edges[place - 1]) if place else 0.0, "up_to": edge, "weeks": int((~np.isnan(of_class)).sum()),
            **{f"coverage_{level}": figures[f"coverage_{level}"] for level in limits}})
    return classes


def measure_limits(totals: FloatArray, limits: Limits) -> dict[str, Any]:
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
        figures[f"coverage_{level}_by_origin"] = [
            int(held) / int(count) if count else None for held, count in zip(is_in.sum(axis=0), counts, strict=True)]
    return figures
