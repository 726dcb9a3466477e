"""Known answers, computed by hand."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.metrics import (
    Figure,
    Scored,
    bootstrap_origins_too,
    bootstrap_ratio,
    lag1_scales,
    pinball,
    ratio_of_sums,
    revenue_share,
    scaled_squares,
    score,
    score_horizons,
)

FIRST = date(2026, 6, 1)


def history_of(*series: list[int], price: float = 2.0) -> DemandHistory:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{number}", "c", sold, sold * price)
            for number, units in enumerate(series) for day, sold in enumerate(units)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, FIRST + timedelta(days=len(series[0]) - 1))


def scored_of(actual: list[list[list[float]]], share: list[list[float]]) -> Scored:
    """Make items x origins x 7 days; day's scale 1, week's scale 4, week's step 2."""
    shape = np.array(share).shape
    return Scored(np.array(actual, dtype=float), np.ones(shape), np.full(shape, 4.0), np.full(shape, 2.0),
                  np.array(share, dtype=float))


NOT_SCORED = [np.nan] * 7
# Two items, two origins; the second item is scored at the second origin only.
SCORED = scored_of([[[1] * 7, [2] * 7], [NOT_SCORED, [0, 0, 0, 0, 0, 0, 7]]], [[1.0, 0.25], [0.0, 0.75]])
ONES = np.ones((2, 2, 7))


def test_scale_is_the_mean_squared_difference_of_neighbours_from_the_first_sale() -> None:
    history = history_of([1, 3, 0, 0], [0, 0, 5, 1])
    assert lag1_scales(history).tolist() == [(4 + 9 + 0) / 3, 16]
    assert lag1_scales(history, power=1).tolist() == [(2 + 3 + 0) / 3, 4]


def test_scale_of_weeks_takes_blocks_that_end_at_the_last_day() -> None:
    steady = [99] + [1] * 7 + [2] * 7 + [4] * 7  # 7, 14, 28; the first day is left over
    late = [0] * 7 + [0] + [5] * 7 + [1] * 7  # its first sale is on the first day of a block
    later = [0] * 7 + [0] + [0] + [5] * 6 + [1] * 7  # one day later: that block is not whole
    assert lag1_scales(history_of(steady, late, later), block=7).tolist() == [(7**2 + 14**2) / 2, 28**2, 1]


def test_a_flat_series_is_measured_in_units() -> None:
    assert lag1_scales(history_of([0, 0, 0], [5, 5, 5], [0, 0, 3])).tolist() == [1, 1, 1]


def test_squared_errors_are_of_the_week_of_its_days_and_of_the_first() -> None:
    squares = scaled_squares(SCORED, ONES)
    assert squares["week"][0].tolist() == [0, 7**2 / 4]
    assert squares["day"][0].tolist() == [0, 1]
    assert squares["day"][1, 1] == pytest.approx((6 * 1 + 6**2) / 7)
    assert squares["next_day"][:, 1].tolist() == [1, 1]
    assert np.isnan(squares["week"][1, 0])


def test_rmsse_averages_over_origins_within_and_then_over_items() -> None:
    figures = score(SCORED, ONES)
    first = np.sqrt((0 + 49 / 4) / 2)
    assert figures["week_rmsse"].value == pytest.approx((first + 0) / 2)  # the second item's week is 7, as forecast
    # Weights are summed over origins: 1.25 and 0.75.
    assert figures["week_wrmsse"].value == pytest.approx((1.25 * first + 0.75 * 0) / 2)
    assert figures["next_day_wrmsse"].value == pytest.approx((1.25 * np.sqrt(1 / 2) + 0.75 * 1) / 2)


def test_wape_and_bias_are_shares_of_the_demand() -> None:
    figures = score(SCORED, ONES)
    assert figures["week_wape"].value == pytest.approx(7 / (7 + 14 + 7))
    assert figures["week_bias"].value == pytest.approx(-7 / 28)
    assert figures["next_day_wape"].value == pytest.approx((0 + 1 + 1) / (1 + 2 + 0))
    assert figures["next_day_bias"].value == pytest.approx(0)


def test_mase_is_the_mean_absolute_error_in_mean_steps() -> None:
    assert score(SCORED, ONES)["week_mase"].value == pytest.approx(((0 + 7 / 2) / 2 + 0) / 2)


def test_what_was_never_scored_counts_nowhere() -> None:
    with_stranger = Scored(*(np.concatenate([part, part[:1] * np.nan if name == "actual" else part[:1] * 0 + 1])
                             if name != "share" else np.concatenate([part, part[:1] * 0])
                             for name, part in vars(SCORED).items()))
    ours, strangers = score(SCORED, ONES), score(with_stranger, np.ones((3, 2, 7)))
    assert {name: figure.value for name, figure in ours.items()} == {
        name: figure.value for name, figure in strangers.items()}


def test_a_missing_forecast_is_no_perfect_one() -> None:
    forecast = ONES.copy()
    forecast[1, 0] = np.nan  # not scored there
    score(SCORED, forecast)
    forecast[0, 1, 3] = np.nan
    with pytest.raises(ForecastError, match="no figure"):
        score(SCORED, forecast)


def test_without_demand_there_is_no_share() -> None:
    assert ratio_of_sums(np.ones(2), np.zeros(2)) is None
    assert score(scored_of([[[0] * 7]], [[1.0]]), np.ones((1, 1, 7)))["week_wape"].value is None


def test_revenue_is_that_of_28_days_and_units_stand_in_for_it() -> None:
    history = history_of([100] + [1] * 28, [0] + [3] * 28)
    assert revenue_share(history).tolist() == [0.25, 0.75]
    assert revenue_share(history_of([1] * 3, [3] * 3, price=np.nan)).tolist() == [0.25, 0.75]


def test_pinball_costs_more_on_the_side_of_the_quantile() -> None:
    loss = pinball(np.array([10.0, 10.0]), np.array([6.0, 14.0]), 0.9)
    assert loss.tolist() == pytest.approx([0.9 * 4, 0.1 * 4])


def test_the_interval_of_a_ratio_is_that_of_drawn_items() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.gamma(2.0, 1.0, 400)
    ours = 0.9 * theirs * rng.normal(1.0, 0.1, 400)
    ones = np.ones(400)
    value, low, high = bootstrap_ratio(Figure(ours, ones), Figure(theirs, ones), seed=3)
    assert value == pytest.approx(ours.sum() / theirs.sum())
    draws = [rng.integers(0, 400, 400) for _ in range(4000)]  # the same by drawing the items one by one
    slow = np.quantile([ours[drawn].sum() / theirs[drawn].sum() for drawn in draws], (0.025, 0.975))
    assert [low, high] == pytest.approx(slow, abs=0.002)
    assert bootstrap_ratio(Figure(ours, ones), Figure(ours, ones), seed=3) == (1, 1, 1)


def test_drawing_origins_too_shows_the_luck_of_a_week() -> None:
    # Every item is forecast well in three weeks and badly in the fourth: items alone cannot tell how lucky that was.
    squares = np.tile([1.0, 1.0, 1.0, 9.0], (200, 1))
    scored = scored_of([[[1] * 7] * 4] * 200, [[1 / 200] * 4] * 200)
    value, low, high = bootstrap_origins_too(scored, squares, np.ones((200, 4)), seed=3)
    assert value == pytest.approx(np.sqrt(3))
    assert low == pytest.approx(1)
    assert high >= np.sqrt(5)


def test_each_horizon_is_scored_by_itself_and_closed_days_are_left_out() -> None:
    is_trading = np.array([[True] * 7, [True, False, *[True] * 5]])
    first, second, *_, last = score_horizons(SCORED, ONES, is_trading)
    # The first day is what next_day tells.
    for name in ("wrmsse", "rmsse", "wape", "bias"):
        assert first[f"day_{name}"].value == score(SCORED, ONES)[f"next_day_{name}"].value
    # On the second the shop trades after the first origin only: one item, 1 unit as forecast.
    assert [second[f"day_{name}"].value for name in ("wrmsse", "rmsse", "wape", "bias")] == [0, 0, 0, 0]
    assert second["day_wrmsse"].under.tolist() == [1.0, 0.0]
    # On the last 1 and 2 were sold of the one item, 7 of the other, whose weight is 0.75 of 2.
    assert last["day_wape"].value == pytest.approx((0 + 1 + 6) / (1 + 2 + 7))
    assert last["day_bias"].value == pytest.approx(-7 / 10)
    assert last["day_wrmsse"].value == pytest.approx((1.25 * np.sqrt(1 / 2) + 0.75 * 6) / 2)
    assert last["day_rmsse"].value == pytest.approx((np.sqrt(1 / 2) + 6) / 2)
