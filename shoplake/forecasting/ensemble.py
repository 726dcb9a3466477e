"""A weighted mean of forecasters; the weights are chosen on validation origins only."""

from collections.abc import Mapping
from itertools import product

import numpy as np

from shoplake.forecasting.history import FloatArray
from shoplake.forecasting.metrics import Scored, score

# Coarse on purpose: four weeks cannot tell finer weights apart.
STEPS = 4
CHOSEN_BY = ("week_wrmsse", "week_wape", "day_wrmsse")


def choose_weights(scored: Scored, forecasts: Mapping[str, FloatArray], base: FloatArray) -> dict[str, float]:
    """Choose each member's weight, in steps of a quarter, by its figures on validation origins.

    The least mean ratio to `base` of the week's WRMSSE and WAPE and the day's WRMSSE wins.

    Args:
        forecasts: name -> (items, origins, 7).
        base: the forecasts that all are measured against, of the same shape.
    """
    reference = score(scored, base)
    stacked = np.stack(list(forecasts.values()))
    best: tuple[float, dict[str, float]] | None = None
    for steps in product(range(STEPS + 1), repeat=len(forecasts)):
        if sum(steps) != STEPS:
            continue
        weights = np.array(steps) / STEPS
        figures = score(scored, np.einsum("m,mioh->ioh", weights, stacked))
        loss = float(np.mean([(figures[name].value or 0) / (reference[name].value or 1) for name in CHOSEN_BY]))
        if best is None or loss < best[0]:
            best = loss, dict(zip(forecasts, weights.tolist(), strict=True))
    assert best is not None  # noqa: S101 - one of the sums is STEPS
    return best[1]
