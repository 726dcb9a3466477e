"""Closed days: they teach nothing, nothing is forecast for them, and a plan that did not come true is not believed."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import build_features, feature_names
from shoplake.forecasting.forecasters import forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.intervals import BandModel
from shoplake.forecasting.levels import item_level, seasonal_level, shop_trend, week_profile
from shoplake.forecasting.training import fit_models
from shoplake.settings import load_settings

FIRST = date(2026, 3, 2)
DAYS = 144
ML = load_settings().ml
# The shop's week: a Sunday without sales that nobody planned, and a Saturday of double sales.
WEEK = [10, 10, 10, 10, 10, 20, 0]
CLOSED = [DAYS - 1, DAYS - 4, DAYS - 11, DAYS - 39]


def days_of(numbers: Sequence[int]) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


def history_of(shut: Sequence[int], closed: Sequence[int], days: int = DAYS) -> DemandHistory:
    """Sell three items by the shop's week on all days but those that are shut."""
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{size}", "c", 0 if day in shut else size * WEEK[day % 7])
            for size in (1, 2, 5) for day in range(days)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units"])
    return build_history(sales.assign(gross_amount=2.0 * sales["units"]), FIRST + timedelta(days=days - 1), None,
                         days_of(closed))


def test_a_shop_that_was_closed_is_forecast_like_one_that_was_not() -> None:
    """But for the weekdays of the days that are left: its means are of two Mondays less."""
    planned, surprised, open_all_days = history_of(CLOSED, CLOSED), history_of(CLOSED, []), history_of([], [])
    assert week_profile(planned) == pytest.approx(week_profile(open_all_days), rel=1e-9)
    assert shop_trend(open_all_days) == 1
    level, told, blind = (item_level(one)[0] for one in (open_all_days, planned, surprised))
    assert level == pytest.approx(10, rel=0.03)
    assert abs(told - level) < 0.03 * level
    assert blind < 0.93 * level
    assert shop_trend(planned) == pytest.approx(1, abs=0.02)


def test_closed_on_most_mondays_the_others_say_what_a_monday_is() -> None:
    mondays = [day for day in range(DAYS - 56, DAYS - 14) if day % 7 == 0]
    assert len(mondays) == 6
    assert week_profile(history_of(mondays, mondays)) == pytest.approx(week_profile(history_of([], [])), rel=1e-9)


def test_after_a_week_of_holidays_the_shop_is_not_on_its_way_down() -> None:
    week = list(range(DAYS - 7, DAYS))
    assert shop_trend(history_of(week, week)) == pytest.approx(1, abs=1e-9)


def test_a_weeks_level_is_the_mean_of_its_open_days_and_the_smoothing_holds() -> None:
    history = history_of([DAYS - 3], [DAYS - 3])
    week = history.usual_units[:, -7:]
    features = build_features(history, ML.features)
    names = feature_names(ML.features)
    rolling = features.values[:, 0, names.index("rolling_mean_7")] * item_level(history)
    assert rolling == pytest.approx(week.sum(axis=1) / 6, rel=1e-6)
    assert history.smoothed[:, DAYS - 3].tolist() == history.smoothed[:, DAYS - 4].tolist()
    assert np.isnan(features.values[:, 0, names.index("lag_2")]).sum() == 0
    closed_yesterday = build_features(history_of([DAYS - 1], [DAYS - 1]), ML.features)
    assert np.isnan(closed_yesterday.values[:, :, names.index("lag_1")]).all()


def test_nothing_is_forecast_for_a_closed_day_by_whatever_forecaster() -> None:
    open_week, closed_week = history_of([], []), history_of([], [DAYS + 1, DAYS + 4])
    others = [0, 2, 3, 5, 6]
    for forecaster in (*fit_models(open_week, ML), *BASELINES):
        before, after = (forecast_items(forecaster, one).units for one in (open_week, closed_week))
        assert (before[:, 1] > 0).all(), forecaster.name
        assert (after[:, [1, 4]] == 0).all(), forecaster.name
        assert after[:, others] == pytest.approx(before[:, others], rel=0.2), forecaster.name
    assert (seasonal_level(closed_week)[:, others] == seasonal_level(open_week)[:, others]).all()
    bands = BandModel.fit(open_week, ML).bands(closed_week, seasonal_level(closed_week))
    assert (bands.upper[95][:, [2, 5]] == 0).all()
    assert (bands.upper[95][:, 1] > 0).all()


def test_a_day_of_the_plan_on_which_something_was_sold_was_open() -> None:
    history, plain = history_of([], CLOSED), history_of([], [])
    assert build_features(history, ML.features).values.tobytes() == build_features(plain, ML.features).values.tobytes()
    assert history.smoothed.tobytes() == plain.smoothed.tobytes()


def test_days_that_the_history_does_not_reach_say_nothing() -> None:
    history, plain = history_of([], [-400, -1, DAYS + 7, 90_000]), history_of([], [])
    assert not history.closed.any()
    assert seasonal_level(history).tobytes() == seasonal_level(plain).tobytes()


def test_an_items_days_before_its_first_sale_are_not_counted_twice() -> None:
    """Closed before it was first sold: its mean of four days is that of four days."""
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", units, 1.0)
            for product, start in (("old", 0), ("new", 26)) for day in range(start, 30)
            if (units := 0 if day == 20 else 6)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, FIRST + timedelta(days=29), None, days_of([20]))
    assert item_level(history).tolist() == [6, 6]


def test_a_shop_that_is_closed_for_months_is_no_fault() -> None:
    shut = range(40, DAYS + 7)
    history = history_of(list(shut), list(shut))
    assert shop_trend(history) == 1
    assert week_profile(history).tolist() == [1] * 7
    assert (seasonal_level(history) == 0).all()
    assert np.isfinite(build_features(history, ML.features).base).all()
