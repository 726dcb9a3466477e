"""How often bands hold, by hand."""

import numpy as np
import pytest

from shoplake.forecasting.coverage import measure_limits


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
    # Lower limits 8, 0, 7, 5, 1 under 10, 0, 7, 4, 8: 0.1 of 2, 0, 0, 7, and 0.9 of the unit too high.
    assert figures["pinball_10"] == pytest.approx((0.2 + 0 + 0 + 0.9 + 0.7) / 5)
    assert figures["pinball_90"] == pytest.approx((0.9 + 0 + 0 + 0.1 * 5 + 0.9 * 5) / 5)


def test_an_origin_without_bands_has_no_share() -> None:
    totals = np.array([[np.nan, 4.0]])
    assert measure_limits(totals, {80: np.array([[[0.0, 0.0]], [[9.0, 9.0]]])})["coverage_80_by_origin"] == [None, 1.0]
