"""How far forecasts are off: figures that are one sum over items divided by another, and what chance makes of them.

Shapes: items x origins x 7 days; NaN in `actual` where an item is not scored at an origin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoplake.errors import ForecastError
from shoplake.forecasting.history import DemandHistory, FloatArray

DRAWS = 2000
REVENUE_DAYS = 28


@dataclass(frozen=True)
class Scored:
    """What followed each origin, and what an error there is measured against.

    Attributes:
        actual: units of the 7 days after each origin, (items, origins, 7).
        day_scale: mean squared difference between neighbouring days, (items, origins).
        week_scale: the same of whole weeks that end at the origin, (items, origins).
        week_step: mean absolute difference of those weeks, (items, origins).
        share: the item's part of the scored items' revenue in the 28 days to the origin, (items, origins); 0 where it
            is not scored.
    """

    actual: FloatArray
    day_scale: FloatArray
    week_scale: FloatArray
    week_step: FloatArray
    share: FloatArray

    @property
    def is_scored(self) -> npt.NDArray[np.bool_]:
        """Whether each item is scored at each origin."""
        return ~np.isnan(self.actual[:, :, 0])


@dataclass(frozen=True)
class Figure:
    """One figure: `over` summed over items, divided by `under` summed over items; both (items,)."""

    over: FloatArray
    under: FloatArray

    @property
    def value(self) -> float | None:
        """The figure; None where there is nothing to divide by."""
        return ratio_of_sums(self.over, self.under)


def ratio_of_sums(over: FloatArray, under: FloatArray) -> float | None:
    """Divide one sum by another; None for a divisor of 0."""
    divisor = float(under.sum())
    return float(over.sum()) / divisor if divisor > 0 else None


def lag1_scales(history: DemandHistory, block: int = 1, power: int = 2) -> FloatArray:
    """Give each item's mean squared difference between neighbouring blocks, RMSSE's denominator, shape (items,).

    With a power of 1 it is the mean absolute difference, MASE's denominator.

    Blocks of `block` days are summed and end at the cutoff; they reach back to the first sale, and days left over
    there are not used. A flat series, or one of fewer than two blocks, has no scale of its own: 1 unit stands in, so
    its RMSSE is in units.

    Source: Hyndman and Koehler (2006), as used by the M5 competition.
    """
    blocks = history.days // block
    totals = history.units[:, history.days - blocks * block:].reshape(len(history.units), blocks, block).sum(axis=2)
    steps = np.abs(np.diff(totals, axis=1)).astype(np.float64) ** power
    own_blocks = history.points // block
    is_own = np.arange(blocks - 1) >= (blocks - own_blocks)[:, np.newaxis]
    means = (steps * is_own).sum(axis=1) / np.maximum(own_blocks - 1, 1)
    return np.where(means > 0, means, 1.0)


def revenue_share(history: DemandHistory) -> FloatArray:
    """Give each item's part of the revenue of the 28 days to the cutoff, (items,); of the units without prices."""
    revenue = np.nansum(history.amounts[:, -REVENUE_DAYS:], axis=1)
    if revenue.sum() == 0:
        revenue = history.units[:, -REVENUE_DAYS:].sum(axis=1).astype(np.float64)
    return revenue / revenue.sum() if revenue.sum() > 0 else np.full(len(revenue), 1 / max(len(revenue), 1))


def scaled_squares(scored: Scored, forecast: FloatArray) -> Mapping[str, FloatArray]:
    """Give each item's squared error at each origin over its scale, by what is forecast; NaN where not scored."""
    error = forecast - scored.actual
    return {
        "week": error.sum(axis=2) ** 2 / scored.week_scale,
        "day": (error**2).mean(axis=2) / scored.day_scale,
        "next_day": error[:, :, 0] ** 2 / scored.day_scale,
    }


def item_rmsse(squares: FloatArray) -> FloatArray:
    """Give each item's root of the mean over its origins; 0 for an item that is never scored."""
    counts = (~np.isnan(squares)).sum(axis=1)
    return np.asarray(np.sqrt(np.nansum(squares, axis=1) / np.maximum(counts, 1)), dtype=np.float64)


def score(scored: Scored, forecast: FloatArray) -> dict[str, Figure]:
    """Give a forecast's figures by name, each still item by item.

    `…_wrmsse` weigh an item by its revenue's share, summed over its origins; `…_rmsse` count all items alike; `week_…`
    is about totals of 7 days, `day_…` about each of them, `next_day_…` about the first. `…_bias` is above 0 for too
    high. `week_mase` is the mean over items of the mean absolute error over `week_step`.

    Args:
        forecast: (items, origins, 7); NaN is allowed where an item is not scored.

    Raises:
        ForecastError: NaN where an item is scored, which would count as no error.
    """
    if np.isnan(forecast[scored.is_scored]).any():
        raise ForecastError("a forecast has no figure for an item that is scored")
    squares = scaled_squares(scored, forecast)
    figures = {
        **_name_figures("week", scored.share, squares["week"], scored.actual.sum(axis=2), forecast.sum(axis=2)),
        **_name_figures("next_day", scored.share, squares["next_day"], scored.actual[:, :, 0], forecast[:, :, 0]),
        **_scaled_figures("day", scored.share, squares["day"]),
    }
    is_item = np.asarray(scored.is_scored.any(axis=1), dtype=np.float64)
    absolute = np.abs(forecast.sum(axis=2) - scored.actual.sum(axis=2)) / scored.week_step
    origins = np.maximum(scored.is_scored.sum(axis=1), 1)
    figures["week_mase"] = Figure(is_item * np.nansum(absolute, axis=1) / origins, is_item)
    return figures


def score_horizons(
    scored: Scored, forecast: FloatArray, is_trading: npt.NDArray[np.bool_],
) -> list[dict[str, Figure]]:
    """Give day_wrmsse, day_rmsse, day_wape and day_bias of each horizon, 1 to 7 days, each still item by item.

    Args:
        forecast: (items, origins, 7), as `score` takes it.
        is_trading: whether the shop trades on each day, (origins, 7); other days would count as good forecasts.
    """
    figures = []
    for day in range(scored.actual.shape[2]):
        actual = np.where(is_trading[:, day], scored.actual[:, :, day], np.nan)
        squares = (forecast[:, :, day] - actual) ** 2 / scored.day_scale
        share = scored.share * is_trading[:, day]
        figures.append(_name_figures("day", share, squares, actual, forecast[:, :, day]))
    return figures


def _name_figures(
    prefix: str, share: FloatArray, squares: FloatArray, actual: FloatArray, forecast: FloatArray,
) -> dict[str, Figure]:
    error, demand = forecast - actual, np.asarray(np.nansum(actual, axis=1), dtype=np.float64)
    return {
        **_scaled_figures(prefix, share, squares),
        f"{prefix}_wape": Figure(np.nansum(np.abs(error), axis=1), demand),
        f"{prefix}_bias": Figure(np.nansum(np.where(np.isnan(actual), 0, error), axis=1), demand),
    }


def _scaled_figures(prefix: str, share: FloatArray, squares: FloatArray) -> dict[str, Figure]:
    weight: FloatArray = share.sum(axis=1)
    is_item = np.asarray((~np.isnan(squares)).any(axis=1), dtype=np.float64)
    rmsse = item_rmsse(squares)
    return {f"{prefix}_wrmsse": Figure(weight * rmsse, weight), f"{prefix}_rmsse": Figure(is_item * rmsse, is_item)}


def pinball(actual: FloatArray, quantile: FloatArray, level: float) -> FloatArray:
    """Give the pinball loss of a quantile: a unit too low costs `level`, a unit too high 1 - `level`."""
    short = actual - quantile
    return np.maximum(level * short, (level - 1) * short)


def draw_ratios(ours: Figure, theirs: Figure, seed: int, draws: int) -> FloatArray:
    """Give ours / theirs in so many drawn shops: items are drawn with replacement, the same for both, (draws,)."""
    items = len(ours.over)
    counts = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=draws)
    with np.errstate(invalid="ignore", divide="ignore"):  # a drawn shop may be without demand
        drawn = (counts @ ours.over) / (counts @ ours.under) / ((counts @ theirs.over) / (counts @ theirs.under))
    return np.asarray(drawn, dtype=np.float64)


def bootstrap_ratio(
    ours: Figure, theirs: Figure, seed: int, draws: int = DRAWS,
) -> tuple[float | None, float | None, float | None]:
    """Give ours / theirs with the limits of its 95% interval, of the paired bootstrap over items.

    Three times None where the other has no error at all, or nothing is scored.

    Source: Efron and Tibshirani (1993), the percentile interval.
    """
    if not theirs.value or ours.value is None:
        return None, None, None
    value = ours.value / theirs.value
    low, high = np.nanquantile(draw_ratios(ours, theirs, seed, draws), (0.025, 0.975))
    return float(value), float(low), float(high)


def bootstrap_origins_too(
    scored: Scored, ours: FloatArray, theirs: FloatArray, seed: int, draws: int = DRAWS // 4,
) -> tuple[float | None, float | None, float | None]:
    """Give the ratio of two WRMSSE as `bootstrap_ratio` does, with the origins drawn anew as well.

    A whole week of trade is luck that all items share: drawing items alone does not show it.

    Args:
        ours: an entry of `scaled_squares`, (items, origins).
        theirs: the same of the other forecast.
    """
    if not np.nansum(theirs):
        return None, None, None
    generator = np.random.default_rng(seed)
    items, origins = ours.shape
    drawn = []
    for _ in range(draws):
        columns = generator.integers(0, origins, origins)
        counts = generator.multinomial(items, np.full(items, 1 / items))
        weight = counts * scored.share[:, columns].sum(axis=1)
        drawn.append((weight @ item_rmsse(ours[:, columns])) / (weight @ item_rmsse(theirs[:, columns])))
    weight = scored.share.sum(axis=1)
    value = (weight @ item_rmsse(ours)) / (weight @ item_rmsse(theirs))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(value), float(low), float(high)
