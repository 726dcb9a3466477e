"""Whether sales have left their forecasts for good: a CUSUM of the standardised daily error of the shop's total.

Source: Page (1954), "Continuous inspection schemes", in the tabular form of the NIST/SEMATECH e-Handbook of Statistical
Methods, 6.3.2.3: upper and lower sums of what lies more than K spreads beyond the usual error; a sum above H is a
signal, after which both start again at 0. An error is the logarithm of sold over forecast units, so that half and
double are equally far; it is cut at CUT spreads, so that no single day makes a signal. What is usual is told by
weekday: a forecaster that knows no weekdays is wrong on each in its own way, and that is no drift.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.history import FloatArray

# In spreads of the usual error: what a day is allowed, when a sum signals, and the most that one day counts.
K = 0.75
H = 5.0
CUT = 3.0
# The usual error is that of the 8 weeks before; of a weekday that was forecast on fewer than 4 of them nothing is said.
REFERENCE = timedelta(weeks=8)
LEAST_DAYS = 4
# A forecaster that is usually wrong by less than this share is not to be called off for being so once.
LEAST_SPREAD = 0.05
# Makes the median deviation that of a normal distribution.
NORMAL = 1.4826


def drift_scores(days: Sequence[date], predicted: FloatArray, actual: FloatArray) -> FloatArray:
    """Give each day's score: the upper sum, or the lower one below 0, whichever is further from 0, (days,).

    Above H or below -H it is a signal: more, or less, was sold than forecast, day after day. Each day is judged by the
    days before it only. A day on which no sale was expected, or its weekday usually sells nothing, says nothing and
    keeps the sums.

    Args:
        days: in order; some may be missing.
        predicted: the shop's forecast units, (days,).
        actual: what it sold, (days,).

    Returns:
        NaN until a day could be judged for the first time.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(predicted > 0, np.log(actual / predicted), np.nan)
    scores = np.full(len(errors), np.nan)
    above = below = 0.0
    is_begun = False
    for row, day in enumerate(days):
        recent = slice(max(0, row - REFERENCE.days), row)
        beyond = np.nan if np.isnan(errors[row]) else _standardise(days[recent], errors[recent], day, errors[row])
        if not np.isnan(beyond):
            is_begun = True
            above, below = max(0.0, above + beyond - K), max(0.0, below - beyond - K)
        if is_begun:
            scores[row] = above if above >= below else -below
        if max(above, below) > H:
            above = below = 0.0
    return scores


def is_signal(scores: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which scores are signals; NaN is none."""
    return np.asarray(np.abs(scores) > H)


def _standardise(days: Sequence[date], errors: FloatArray, day: date, error: float) -> float:
    """Give the error in spreads from its weekday's median; NaN where that is not known, or usually nothing is sold."""
    groups = list(_by_weekday(days, errors, day))
    medians = {weekday: float(np.median(own)) for weekday, own in groups}
    usual = medians.get(day.weekday(), np.nan)
    if not np.isfinite(usual):
        return np.nan
    deviations = np.concatenate([np.abs(own - medians[weekday]) for weekday, own in groups
                                 if np.isfinite(medians[weekday])])
    spread = max(NORMAL * float(np.median(deviations)), LEAST_SPREAD)
    return float(np.clip((error - usual) / spread, -CUT, CUT))


def _by_weekday(days: Sequence[date], errors: FloatArray, day: date) -> Iterator[tuple[int, FloatArray]]:
    recent = [(before.weekday(), error) for before, error in zip(days, errors, strict=True)
              if before >= day - REFERENCE and not np.isnan(error)]
    for weekday in range(7):
        own = np.array([error for known, error in recent if known == weekday])
        if len(own) >= LEAST_DAYS:
            yield weekday, own
