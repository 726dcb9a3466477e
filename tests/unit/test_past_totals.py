"""The bands of totals, against figures worked out by hand and against a plain computation from the raw rows."""

import random
from collections import defaultdict
from datetime import date, timedelta
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.forecasters import Forecast
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.intervals import Bands
from shoplake.forecasting.predictions import Prediction
from shoplake.forecasting.totals import RelativeBands, measure_past_totals, tabulate_totals

FIRST = date(2026, 1, 5)
DAYS = 120
BY_NAME = {forecaster.name: forecaster for forecaster in BASELINES}


def reach(errors: list[float], level: int) -> float:
    return float(RelativeBands("x", {1: np.array([errors])}).reach(1, level)[0])


def test_a_limit_is_as_far_off_as_so_many_past_totals_were() -> None:
    """Of n known errors the ceil((n + 1) x level)-th from below; there is none where that is more than n."""
    four = [0.4, 0.1, 0.3, 0.2]
    assert reach(four, 80) == 0.4, "ceil(5 x 0.8) = 4"
    assert np.isnan(reach(four[:3], 80)), "ceil(4 x 0.8) = 4 of 3"
    assert reach([*four, np.nan, np.nan], 80) == 0.4, "what says nothing does not count"
    nineteen = [number / 100 for number in range(19, 0, -1)]
    assert reach(nineteen, 80) == 0.16
    assert reach(nineteen, 95) == 0.19
    assert np.isnan(reach(nineteen[1:], 95)), "ceil(19 x 0.95) = 19 of 18"
    assert reach([*nineteen, np.inf], 80) == 0.17
    assert np.isnan(reach([0.1] * 18 + [np.inf] * 2, 95)), "no factor of 0 reaches what was sold"
    assert np.isnan(reach([], 80))


def shop_rows() -> list[dict[str, Any]]:
    rng = random.Random(5)
    rows = [{"event_date": FIRST + timedelta(days=day), "product_id": f"P{product}",
             "category": "moved" if product == 3 and day >= 100 else f"c{product % 2}", "units": rng.randrange(6),
             "gross_amount": 1.0}
            for product in range(6) for day in range(DAYS) if day % 7 != 6]
    # Known only from day 110 on: an error of the totals before.
    return [*rows, *({"event_date": FIRST + timedelta(days=day), "product_id": "late", "category": "c1", "units": 40,
                      "gross_amount": 1.0} for day in range(110, DAYS))]


@pytest.fixture(scope="module")
def shop() -> DemandHistory:
    rows = pd.DataFrame(shop_rows())
    return build_history(rows.assign(event_date=pd.to_datetime(rows["event_date"])), FIRST + timedelta(days=DAYS - 1))


def plain_average(own: list[dict[str, Any]], days: int) -> float | None:
    """Give the mean of the 28 days before, since the first sale; None of a product of less than two days."""
    start = min(row["day"] for row in own if row["units"])
    sold = {row["day"]: row["units"] for row in own}
    return mean(sold.get(day, 0) for day in range(max(start, days - 28), days)) if days - start >= 2 else None


def plain_errors(days: int, span: int) -> dict[str, float]:
    """Forecast by the mean of 28 days what followed the first `days` days, and compare, in plain Python."""
    rows = [row | {"day": (row["event_date"] - FIRST).days} for row in shop_rows()]
    averages: dict[str, list[float | None]] = defaultdict(list)
    actual: dict[str, int] = defaultdict(int)
    for product in {row["product_id"] for row in rows}:
        own = [row for row in rows if row["product_id"] == product]
        known = [row for row in own if row["day"] < days]
        after = [row for row in own if days <= row["day"] < days + span]
        if known or after:
            category = (known or after)[-1]["category"]
            actual[category] += sum(row["units"] for row in after)
            averages[category] += [plain_average(known, days)] if known else []
    predicted = {}
    for category, figures in averages.items():
        own_figures = [figure for figure in figures if figure is not None]
        predicted[category] = span * sum(mean(own_figures) if figure is None else figure for figure in figures)
    predicted["all"], actual["all"] = sum(predicted.values()), sum(actual.values())
    return {name: abs(actual[name] - units) / units for name, units in predicted.items() if units}


def test_past_errors_are_those_of_forecasts_made_then(shop: DemandHistory) -> None:
    past = measure_past_totals(BY_NAME["moving_average"], shop)
    assert past.source == "moving_average"
    names = [*shop.category_names, "all"]
    assert names == ["c0", "c1", "moved", "all"]
    # 56 days one by one, and as many weeks as lie after the first 56 days.
    for span, cutoffs in ((1, range(DAYS - 1, DAYS - 57, -1)), (7, range(DAYS - 7, 55, -7))):
        assert past.errors[span].shape == (4, len(cutoffs))
        for column, days in enumerate(cutoffs):
            expected = plain_errors(days, span)
            for row, name in enumerate(names):
                seen = past.errors[span][row, column]
                if name in expected:
                    assert seen == pytest.approx(expected[name]), (name, days)
                else:
                    assert np.isnan(seen)
    assert past.counts(7).tolist() == [9, 9, 2, 9], "the category that is 20 days old has two weeks"


def test_a_model_that_takes_long_or_has_seen_the_past_has_the_bands_of_the_base(shop: DemandHistory) -> None:
    base = measure_past_totals(BY_NAME["wmixt"], shop)
    past = measure_past_totals(BY_NAME["arima"], shop)
    assert past.source == base.source == "wmixt"
    assert all(np.array_equal(past.errors[span], base.errors[span], equal_nan=True) for span in (1, 7))


def test_no_total_before_two_months() -> None:
    rows = pd.DataFrame([row for row in shop_rows() if (row["event_date"] - FIRST).days < 57])
    short = build_history(rows.assign(event_date=pd.to_datetime(rows["event_date"])), FIRST + timedelta(days=56))
    past = measure_past_totals(BY_NAME["wmixt"], short)
    assert (past.errors[1].shape[1], past.errors[7].shape[1]) == (1, 0)


def test_totals_are_sums_and_a_products_week_has_the_weeks_own_limits(shop: DemandHistory) -> None:
    count = len(shop.product_ids)
    units = np.arange(count * 7, dtype=float).reshape(count, 7)
    limits = {level: np.add.outer(np.arange(count) * 10.0, np.arange(8)) + level for level in (80, 95)}
    prediction = Prediction(
        BY_NAME["naive"], shop, Forecast(units, {0: "too short"}),
        Bands({level: limit - 50 for level, limit in limits.items()}, limits))
    past = RelativeBands("naive", {1: np.full((4, 4), 0.5), 7: np.full((4, 19), 2.0)})
    rows = tabulate_totals(prediction, past, (1, 7)).to_pylist()
    by_key = {(row["horizon_days"], row["level"], row["name"]): row for row in rows}
    assert len(by_key) == len(rows) == 2 * (count + 3 + 1)
    for number, product in enumerate(shop.product_ids):
        day, week = by_key[1, "product", product], by_key[7, "product", product]
        assert (day["predicted_units"], week["predicted_units"]) == (units[number, 0], units[number].sum())
        if number == 0:  # it has a stand-in
            assert (day["upper_80"], week["lower_95"], week["band_source"], week["fallback_count"]) == (
                None, None, None, 1)
        else:
            assert (day["upper_80"], week["upper_80"]) == (limits[80][number, 1], limits[80][number, 0])
            assert week["lower_95"] == limits[95][number, 0] - 50
            assert (week["band_source"], week["band_count"], week["fallback_count"]) == ("bands", None, 0)
    day, week = by_key[1, "shop", "all"], by_key[7, "shop", "all"]
    assert week["predicted_units"] == sum(range(count * 7))
    assert (week["lower_80"], week["upper_80"]) == (0, 3 * week["predicted_units"]), "never below 0"
    assert (day["lower_80"], day["upper_80"]) == (day["predicted_units"] / 2, 1.5 * day["predicted_units"])
    assert (day["lower_95"], day["upper_95"], day["band_source"], day["band_count"]) == (None, None, "naive", 4)
    assert (week["product_count"], week["fallback_count"], week["band_count"]) == (count, 1, 19)
    assert by_key[7, "category", "moved"]["product_count"] == 1
