"""Known answers, computed by hand."""

import numpy as np
import pytest

from shoplake.forecasting.metrics import bias, lag1_scale, rmsse, wape


def test_wape_and_bias_are_shares_of_the_demand() -> None:
    actual, predicted = np.array([10.0, 0.0, 30.0]), np.array([8.0, 4.0, 28.0])
    assert wape(actual, predicted) == pytest.approx(8 / 40)
    assert bias(actual, predicted) == 0.0
    assert bias(actual, predicted + 1) == pytest.approx(3 / 40)


def test_without_demand_there_is_no_share() -> None:
    assert wape(np.zeros(3), np.ones(3)) is None
    assert bias(np.zeros(3), np.ones(3)) is None
    assert wape(np.array([]), np.array([])) is None


def test_scale_is_the_mean_squared_difference_of_neighbours() -> None:
    assert lag1_scale(np.array([1, 3, 0, 0])) == pytest.approx((4 + 9 + 0) / 3)


def test_scale_of_weeks_takes_blocks_that_end_at_the_last_day() -> None:
    series = np.array([99] + [1] * 7 + [2] * 7 + [4] * 7)  # 7, 14, 28; the first day is left over
    assert lag1_scale(series, block=7) == pytest.approx((7**2 + 14**2) / 2)


@pytest.mark.parametrize("series", [[0, 0, 0], [5, 5, 5], [3], []])
def test_a_flat_series_is_measured_in_units(series: list[int]) -> None:
    assert lag1_scale(np.array(series, dtype=np.int64)) == 1.0


def test_rmsse_averages_over_origins_within_and_then_over_items() -> None:
    actual = np.array([[1.0, 2.0], [10.0, np.nan], [np.nan, np.nan]])
    predicted = np.array([[3.0, 2.0], [4.0, 7.0], [1.0, 1.0]])
    scale = np.array([[2.0, 5.0], [9.0, 1.0], [1.0, 1.0]])
    # Item 1: sqrt((4/2 + 0/5) / 2) = 1; item 2: sqrt(36/9) = 2; item 3 was not scored.
    assert rmsse(actual, predicted, scale) == pytest.approx(1.5)


def test_rmsse_of_an_all_zero_series_is_defined() -> None:
    zeros = np.zeros((1, 2))
    scale = np.full((1, 2), lag1_scale(np.zeros(20, dtype=np.int64)))
    assert rmsse(zeros, zeros, scale) == 0.0
    assert rmsse(zeros, zeros + 0.5, scale) == pytest.approx(0.5)


def test_rmsse_of_no_items_is_none() -> None:
    nothing = np.full((2, 1), np.nan)
    assert rmsse(nothing, nothing, np.ones((2, 1))) is None
