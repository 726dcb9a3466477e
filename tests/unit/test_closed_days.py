"""Closed days: a shop is forecast as if it had been open, and nothing on days to come on which it is closed."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.backtest import plan_origins
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import build_features, feature_names
from shoplake.forecasting.forecasters import forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.intervals import BandModel
from shoplake.forecasting.levels import item_level, seasonal_level, shop_trend, trading_days_after, week_profile
from shoplake.forecasting.training import build_training_rows, fit_models
from shoplake.settings import load_settings

FIRST = date(2026, 3, 2)
DAYS = 200
ML = load_settings().ml
# The shop's week: a Sunday without sales that nobody planned, and a Saturday of double sales.
WEEK = [10, 11, 9, 10, 10, 20, 0]
FILLED = ("log_level", "lag", "rolling", "smoothed", "variation", "peak", "week", "category")
NEWEST_WEEKS = range(DAYS - 56, DAYS)


def days_of(numbers: Collection[int]) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


def history_of(shut: Collection[int], closed: Collection[int], days: int = DAYS) -> DemandHistory:
    """Sell three items by the shop's week on all days but those that are shut."""
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{size}", "c", 0 if day in shut else size * WEEK[day % 7])
            for size in (1, 2, 5) for day in range(days)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units"])
    return build_history(sales.assign(gross_amount=2.0 * sales["units"]), FIRST + timedelta(days=days - 1), None,
                         days_of(closed))


CLOSURES = {
    "the day of the cutoff": [DAYS - 1],
    "a few days": [DAYS - 3, DAYS - 9, DAYS - 40],
    "a week of holidays": range(DAYS - 7, DAYS),
    "eleven weeks, open again for a day": range(DAYS - 78, DAYS - 1),
    **{f"six of eight {name}": [day for day in NEWEST_WEEKS if day % 7 == weekday][:6]
       for weekday, name in enumerate(("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays"))},
    "all Sundays but the first": range(13, DAYS, 7),
}


@pytest.mark.parametrize("closed", CLOSURES.values(), ids=CLOSURES)
def test_a_shop_that_was_closed_is_forecast_like_one_that_was_not(closed: Sequence[int]) -> None:
    planned, always_open = history_of(closed, closed), history_of([], [])
    np.testing.assert_allclose(week_profile(planned), week_profile(always_open), rtol=1e-9)
    np.testing.assert_allclose(item_level(planned), item_level(always_open), rtol=1e-9)
    np.testing.assert_allclose(planned.smoothed, always_open.smoothed, rtol=1e-9)
    assert shop_trend(planned) == pytest.approx(shop_trend(always_open), rel=1e-9)
    np.testing.assert_allclose(seasonal_level(planned), seasonal_level(always_open), rtol=1e-9)
    names = feature_names(ML.features)
    told = (build_features(one, ML.features).values for one in (planned, always_open))
    for name, ours, theirs in zip(names, *(np.moveaxis(values, 2, 0) for values in told), strict=True):
        # The others count what was sold: days between sales, orders, how far weeks lie apart.
        if name.startswith(FILLED) and name != "week_step":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=name)


def test_without_the_plan_closed_days_are_a_lull() -> None:
    week = range(DAYS - 7, DAYS)
    assert item_level(history_of(week, []))[0] < 0.85 * item_level(history_of(week, week))[0]


def test_models_learn_the_same_of_a_shop_that_was_closed_now_and_then() -> None:
    """Weeks with a closed day teach that the rest of the week is as always."""
    closed = list(range(20, DAYS, 23))
    rows, always_open = (build_training_rows(history_of(days, days), ML) for days in (closed, []))
    assert len(rows.base) == len(always_open.base)
    assert (rows.base < 0.99 * always_open.base).any(), "some weeks have a closed day"
    np.testing.assert_allclose(rows.units / rows.base, always_open.units / always_open.base, rtol=1e-6)


def test_nothing_is_forecast_for_a_closed_day_by_whatever_forecaster() -> None:
    open_week, closed_week = history_of([], []), history_of([], [DAYS + 1, DAYS + 5])
    others = [0, 2, 3, 4, 6]
    for forecaster in (*fit_models(open_week, ML), *BASELINES):
        before, after = (forecast_items(forecaster, one).units for one in (open_week, closed_week))
        assert (before[:, 1] > 0).all(), forecaster.name
        assert (after[:, [1, 5]] == 0).all(), forecaster.name
        np.testing.assert_allclose(after[:, others], before[:, others], rtol=0.02, err_msg=forecaster.name)
    assert (seasonal_level(closed_week)[:, others] == seasonal_level(open_week)[:, others]).all()
    bands = BandModel.fit(open_week, ML).bands(closed_week, seasonal_level(closed_week))
    assert (bands.upper[95][:, [2, 6]] == 0).all()
    assert (bands.upper[95][:, 1] > 0).all()


def test_the_referee_does_not_count_a_closed_day_as_a_good_forecast() -> None:
    closed = [DAYS - 10]
    history = history_of(closed, closed)
    assert DAYS - 10 not in plan_origins(history).daily
    assert DAYS - 10 in plan_origins(history_of(closed, [])).daily
    is_trading, usually = (trading_days_after(one, [DAYS - 12])[0].tolist() for one in (history, history_of([], [])))
    assert is_trading == [*usually[:2], False, *usually[3:]]


def test_a_day_of_the_plan_on_which_something_was_sold_was_open() -> None:
    history, plain = history_of([], [DAYS - 2, DAYS - 30]), history_of([], [])
    assert build_features(history, ML.features).values.tobytes() == build_features(plain, ML.features).values.tobytes()
    assert history.smoothed.tobytes() == plain.smoothed.tobytes()


def test_days_that_the_history_does_not_reach_say_nothing() -> None:
    history, plain = history_of([], [-400, -1, DAYS + 7, 90_000]), history_of([], [])
    assert not history.closed.any()
    assert seasonal_level(history).tobytes() == seasonal_level(plain).tobytes()


def test_an_item_of_a_few_days_is_filled_by_those_and_never_before_its_first_sale() -> None:
    series = {"old": {day: 6 for day in range(30) if day not in (20, 28)}, "new": {26: 3, 27: 9, 29: 6}}
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", units, 1.0)
            for product, sold in series.items() for day, units in sold.items()]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, FIRST + timedelta(days=29), None, days_of([20, 28]))
    filled = dict(zip(history.product_ids, history.usual_units.tolist(), strict=True))
    assert filled["old"] == [6] * 30
    assert filled["new"] == [0] * 26 + [3, 9, 6, 6]
    assert history.units[:, [20, 28]].sum() == 0, "what was sold stays what it is"


def test_looks_at_a_closed_shop_are_no_stock_out() -> None:
    closed = range(DAYS - 20, DAYS - 16)
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), "A", "c", units, 1.0, 50, units)
            for day in range(DAYS) if (units := 0 if day in closed else 10) or True]
    names = ["event_date", "product_id", "category", "units", "gross_amount", "view_count", "cart_count"]
    sales, newest = pd.DataFrame(rows, columns=names), FIRST + timedelta(days=DAYS - 1)
    assert build_history(sales, newest).is_censored.any()
    assert not build_history(sales, newest, None, days_of(closed)).is_censored.any()


def test_the_plan_up_to_the_cutoff_is_told() -> None:
    assert history_of([], [3, DAYS + 2, -5]).closed_text == "2026-03-05"
