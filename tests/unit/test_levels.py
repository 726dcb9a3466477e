"""Levels, profile and trend against loops over days, as the referee's strongest simple opponent is defined."""

import random
from datetime import date, timedelta
from statistics import mean, median

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.history import build_history, cut_outliers
from shoplake.forecasting.levels import item_level, seasonal_level, shop_trend, week_profile

FIRST = date(2026, 3, 2)
DAYS = 90


def make_series(seed: int = 4) -> dict[str, list[int]]:
    """Make series that begin late, have gaps, closed Saturdays and orders far beyond the usual."""
    rng = random.Random(seed)
    series = {}
    for number in range(9):
        units = [0] * (number * 9)
        while len(units) < DAYS:
            closed = (FIRST + timedelta(days=len(units))).weekday() == 5
            units.append(0 if closed or rng.random() < 0.3 else rng.choice([1, 2, 3, 5, 8] + [400] * (number % 2)))
        series[f"P{number}"] = units
    series["P0"][0] = 3
    return series


def sales_of(series: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", sold, float(sold))
            for product, units in series.items() for day, sold in enumerate(units) if sold]
    return pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])


def slow_usual(units: list[int]) -> list[float]:
    usual: list[float] = []
    for day, sold in enumerate(units):
        active = [before for before in units[:day] if before > 0]
        usual.append(min(sold, max(5 * mean(active), 24)) if len(active) >= 5 else sold)
    return usual


def slow_wmixt(series: dict[str, list[int]], days: int) -> dict[str, list[float]]:
    """Compute wMixT from the issue's words."""
    usual = {product: slow_usual(units[:days]) for product, units in series.items()}
    total = [sum(own[day] for own in usual.values()) for day in range(days)]
    weeks = [total[days - 7 * back:][:7] for back in range(8, 0, -1)]
    relative = [[value / mean(week) for value in week] for week in weeks]
    columns = [median(column) for column in zip(*relative, strict=True)]
    profile = [value / mean(columns) for value in columns]
    trend = min(max((sum(total[-14:]) / sum(total[-28:-14])) ** 0.5, 0.8), 1.25)
    forecasts = {}
    for product, own in usual.items():
        first = next((day for day, sold in enumerate(own) if sold), None)
        if first is None:
            forecasts[product] = [0.0] * 7
            continue
        smoothed = own[first]
        for value in own[first + 1:]:
            smoothed += 0.03 * (value - smoothed)
        means = [mean(own[max(first, days - window):]) for window in (14, 28, 56)]
        forecasts[product] = [mean([*means, smoothed]) * share * trend for share in profile]
    return forecasts


def test_outliers_are_cut_by_the_past_of_each_item_only() -> None:
    series = make_series()
    grid = np.array(list(series.values()))
    expected = [slow_usual(units) for units in series.values()]
    np.testing.assert_allclose(cut_outliers(grid), expected)
    assert (cut_outliers(grid) < grid).sum() > 5  # the data has something to cut


def test_the_first_five_active_days_stay_and_the_cap_is_never_below_24() -> None:
    grid = np.array([[74215, 0, 1, 1, 1, 1, 74215, 30], [1, 1, 1, 1, 1, 74215, 23, 30], [10] * 5 + [74215, 51, 49]])
    assert cut_outliers(grid).tolist() == [
        [74215, 0, 1, 1, 1, 1, 74215, 30], [1, 1, 1, 1, 1, 24, 23, 30],
        [10, 10, 10, 10, 10, 50, 51, 49]]


@pytest.mark.parametrize("days", [60, 71, 90])
def test_the_seasonal_level_is_wmixt_as_its_words_say(days: int) -> None:
    series = make_series()
    history = build_history(sales_of(series), FIRST + timedelta(days=days - 1))
    expected = slow_wmixt(series, days)
    for product, units in zip(history.product_ids, seasonal_level(history), strict=True):
        assert units == pytest.approx(expected[product]), product
        assert units[(5 - (FIRST + timedelta(days=days)).weekday()) % 7] == 0  # Saturday


def test_growth_is_no_weekday_and_one_great_order_is_no_profile() -> None:
    growing = {"A": [10 * (1 + day // 7) * (1 + (day % 7 == 2)) for day in range(70)]}
    history = build_history(sales_of(growing), FIRST + timedelta(days=69))
    assert week_profile(history) == pytest.approx([7 / 8, 7 / 8, 14 / 8, 7 / 8, 7 / 8, 7 / 8, 7 / 8])


def test_the_trend_is_bounded_and_1_where_it_is_not_known() -> None:
    def trend_of(units: list[int]) -> float:
        return shop_trend(build_history(sales_of({"A": units}), FIRST + timedelta(days=len(units) - 1)))

    assert trend_of([4] * 14 + [5] * 14) == pytest.approx((5 / 4) ** 0.5)
    assert trend_of([2] * 14 + [20] * 14) == 1.25
    assert trend_of([20] * 14 + [2] * 14) == 0.8
    assert trend_of([4] * 27) == 1
    assert trend_of([1, *[0] * 20, *[3] * 14]) == 1  # nothing in the 14 days before


def test_a_short_history_has_a_level_since_the_first_sale() -> None:
    history = build_history(sales_of({"A": [0, 0, 6, 0, 3], "B": [1, 1, 1, 1, 1]}), FIRST + timedelta(days=4))
    smoothed = 6 + 0.03 * (0 - 6)
    smoothed += 0.03 * (3 - smoothed)
    by_product = dict(zip(history.product_ids, item_level(history), strict=True))
    assert by_product == {"A": pytest.approx((3 * 3 + smoothed) / 4), "B": pytest.approx(1)}
