"""The detector of a level shift, against figures worked out by hand and on shops whose shift is known."""

from datetime import date, timedelta

import numpy as np
import pytest

from shoplake.forecasting.drift import drift_scores, is_signal
from shoplake.forecasting.history import FloatArray

MONDAY = date(2026, 1, 5)


def score(errors: list[float]) -> FloatArray:
    """Score days that sold exp(error) times their forecast of 100."""
    days = [MONDAY + timedelta(days=day) for day in range(len(errors))]
    return drift_scores(days, np.full(len(errors), 100.0), 100.0 * np.exp(np.array(errors)))


# Four weeks, each weekday off by 0.1 up, down, up, down: the median is 0, the median deviation 0.1, the spread 0.14826.
QUIET = [*[0.1] * 7, *[-0.1] * 7, *[0.1] * 7, *[-0.1] * 7]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sums_of_a_shift_are_those_of_the_hand(sign: int) -> None:
    """Each day 0.3 / 0.14826 - 0.75 = 1.27347: the fourth is beyond 5, and the fifth begins again."""
    scores = score([*QUIET, *[0.3 * sign] * 5])
    assert np.isnan(scores[:28]).all()
    expected = [sign * 1.27347 * days for days in (1, 2, 3, 4, 1)]
    assert scores[28:].tolist() == pytest.approx(expected, abs=1e-4)
    assert is_signal(scores).tolist() == [False] * 31 + [True, False]


def test_one_odd_day_is_no_shift_and_a_usual_day_takes_the_sum_down() -> None:
    """A day of any height counts 3 - 0.75 = 2.25; a day at the median takes 0.75."""
    assert score([*QUIET, 9.0, 0.0, 0.0])[28:].tolist() == pytest.approx([2.25, 1.5, 0.75])
    nothing_sold = score([*QUIET, -np.inf, 0.0])
    assert nothing_sold[28:].tolist() == pytest.approx([-2.25, -1.5])


def test_a_weekday_that_never_sells_and_a_day_without_a_forecast_say_nothing() -> None:
    # A mean of all days forecasts 100 for Sundays too, on which the shop is closed.
    closed = [-np.inf if day % 7 == 6 else error for day, error in enumerate([*QUIET, *[0.3] * 8])]
    scores = score(closed)
    # On Saturday five weekdays have a fifth deviation: 10 are 0, 4 are 0.1, 15 are 0.2. The middle one is 0.2, the
    # spread 0.29652, and the day counts 0.3 / 0.29652 - 0.75 = 0.26174. Sunday keeps the sum.
    assert scores[28:35].tolist() == pytest.approx(
        [1.27347, 2.54694, 3.82041, 5.09388, 1.27347, 1.53521, 1.53521], abs=1e-4)
    assert is_signal(scores).sum() == 1, "a sum that Sunday keeps is not told twice"
    days = [MONDAY + timedelta(days=day) for day in range(30)]
    predicted = np.array([*[100.0] * 28, 0.0, 100.0])
    actual = 100 * np.exp(np.array([*QUIET, 0.5, 0.3]))
    assert np.isnan(drift_scores(days, predicted, actual)[28])
    assert drift_scores(days, predicted, actual)[29] == pytest.approx(1.27347, abs=1e-4)


def test_a_day_is_judged_by_the_days_before_it_only() -> None:
    rng = np.random.default_rng(2)
    errors = rng.normal(0, 0.2, 120).tolist()
    scores = score(errors)
    for length in (40, 80, 119):
        assert np.array_equal(score([*errors[:length], 3.0])[:length], scores[:length], equal_nan=True)


@pytest.mark.parametrize(("factor", "sign"), [(1.4, 1), (0.6, -1)])
def test_a_shift_is_found_within_a_week_and_quiet_months_are_quiet(factor: float, sign: int) -> None:
    """In 10 shops that differ from their forecast by 15% a day, and by more on each weekday."""
    quiet_days = 280
    false_signals, waits = 0, []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        weekday = rng.normal(0, 0.3, 7)
        errors = weekday[np.arange(quiet_days + 14) % 7] + rng.normal(0, 0.15, quiet_days + 14)
        errors[quiet_days:] += np.log(factor)
        scores = score(errors.tolist())
        signals = np.flatnonzero(is_signal(scores))
        false_signals += int((signals < quiet_days).sum())
        waits.append(min(int(day) - quiet_days + 1 for day in signals if day >= quiet_days and scores[day] * sign > 0))
    assert max(waits) <= 7
    assert false_signals <= 10 * 252 / 170, "one in 170 judged days"
