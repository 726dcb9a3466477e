"""How often bands hold, by hand."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.coverage import measure_bands, measure_limits
from shoplake.forecasting.history import build_history
from shoplake.forecasting.metrics import Scored


def test_coverage_and_losses_by_hand() -> None:
    totals = np.array([[10.0, 4.0], [0.0, np.nan], [7.0, 8.0]])
    limits = {
        80: np.array([[[8, 5], [0, 0], [7, 1]], [[9, 9], [0, 9], [7, 3]]], dtype=float),
        95: np.array([[[0, 0], [0, 0], [0, 0]], [[20, 20], [20, 20], [20, 20]]], dtype=float),
    }
    figures = measure_limits(totals, limits)
    # Of 80: 10 is above 9, 4 below 5, 8 above 3; 0 and 7 are on their limits, which counts as inside.
    assert figures["coverage_80"] == pytest.approx(2 / 5)
    assert figures["coverage_80_by_origin"] == [pytest.approx(2 / 3), 0.0]
    assert figures["coverage_95"] == 1.0
    assert figures["coverage_95_by_origin"] == [1.0, 1.0]
    # Lower limits 8, 0, 7, 5, 1 under 10, 0, 7, 4, 8: 0.1 of 2, 0, 0, 7, and 0.9 of the unit too high.
    assert figures["pinball_10"] == pytest.approx((0.2 + 0 + 0 + 0.9 + 0.7) / 5)
    assert figures["pinball_90"] == pytest.approx((0.9 + 0 + 0 + 0.1 * 5 + 0.9 * 5) / 5)


def test_an_origin_without_bands_has_no_share() -> None:
    totals = np.array([[np.nan, 4.0]])
    assert measure_limits(totals, {80: np.array([[[0.0, 0.0]], [[9.0, 9.0]]])})["coverage_80_by_origin"] == [None, 1.0]


def test_bands_are_judged_by_the_size_that_was_known_and_on_days_of_trade() -> None:
    first = date(2026, 1, 5)  # a Monday; Sundays are closed
    sold = {f"P{n}": [n * (day % 7 != 6) for day in range(77)] for n in range(1, 9)}
    sales = pd.DataFrame([
        (pd.Timestamp(first + timedelta(days=day)), product, "c", units, 1.0)
        for product, series in sold.items() for day, units in enumerate(series)
    ], columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, first + timedelta(days=76))
    origins = [63, 70]
    actual = np.stack([history.units[:, days:days + 7] for days in origins], axis=1).astype(float)
    ones = np.ones((8, 2))
    scored = Scored(actual, ones, ones, ones, ones / 8)
    lower, upper = np.zeros((8, 2, 8)), np.full((8, 2, 8), 100.0)
    upper[0, :, 0] = 5  # of the smallest product 6 are sold
    upper[7, 1, 0] = 47  # of the greatest 48, once
    upper[:, :, 7] = -1  # nobody looks at a band of a Sunday
    upper[2, 0, 1] = 2  # of 3 on a Monday
    limits = {level: np.stack([lower, upper]) for level in (80, 95)}
    figures = measure_bands(history, origins, scored, {"m": limits})["m"]
    assert figures["coverage_80"] == 13 / 16
    assert figures["coverage_80_by_origin"] == [7 / 8, 6 / 8]
    assert figures["day_coverage_80"] == 1 - 1 / (8 * 2 * 6)
    assert [(row["over"], row["up_to"], row["weeks"], row["coverage_80"]) for row in figures["coverage_by_size"]] == [
        (0, 12, 4, 2 / 4), (12, 24, 4, 1), (24, 36, 4, 1), (36, 48, 4, 3 / 4)]
    # Where no band was fitted nothing is counted.
    limits = {level: np.where(np.arange(2)[:, np.newaxis] == 0, np.nan, both) for level, both in limits.items()}
    figures = measure_bands(history, origins, scored, {"m": limits})["m"]
    assert figures["coverage_80_by_origin"] == [None, 6 / 8]
    assert figures["day_coverage_80"] == 1.0
    assert measure_bands(history, origins, scored, {}) == {}
