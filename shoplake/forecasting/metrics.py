"""How far a forecast is off: WAPE and bias over all items, RMSSE as the mean over items."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def wape(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Give the summed absolute error as a share of the summed demand; None where there was no demand."""
    demand = float(actual.sum())
    return float(np.abs(predicted - actual).sum()) / demand if demand > 0 else None


def bias(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Give the summed error as a share of the summed demand, above 0 for too high; None where there was no demand."""
    demand = float(actual.sum())
    return float((predicted - actual).sum()) / demand if demand > 0 else None


def lag1_scale(series: npt.NDArray[np.int64], block: int = 1) -> float:
    """Give the mean squared difference between neighbouring blocks of a series, RMSSE's denominator.

    Blocks of `block` days are summed and end at the series' last day; days left over at its start are not used.
    A flat series, or one of fewer than two blocks, has no scale of its own: 1 unit stands in, so its RMSSE is
    in units.

    Source: Hyndman and Koehler (2006), as used by the M5 competition.
    """
    blocks = len(series) // block
    totals = series[len(series) - blocks * block:].reshape(blocks, block).sum(axis=1)
    scale = float(np.mean(np.diff(totals).astype(np.float64) ** 2)) if blocks > 1 else 0.0
    return scale if scale > 0 else 1.0


def rmsse(actual: FloatArray, predicted: FloatArray, scale: FloatArray) -> float | None:
    """Give the mean over items of sqrt(mean over an item's origins of squared error / scale).

    All of shape (items, origins); NaN in `actual` where an item was not scored at an origin. None without any item.
    """
    ratio = (predicted - actual) ** 2 / scale
    scored = (~np.isnan(ratio)).sum(axis=1)
    has_score = scored > 0
    if not has_score.any():
        return None
    per_item = np.nansum(ratio[has_score], axis=1) / scored[has_score]
    return float(np.sqrt(per_item).mean())
