"""Bands: how often the truth lies in them, and what they promise whatever they have learned."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.intervals import LEVELS, BandModel, Bands, has_days_for_bands
from shoplake.forecasting.levels import seasonal_level
from shoplake.settings import load_settings

FIRST = date(2026, 1, 5)
DAYS = 240
PRODUCTS = 150
ML = load_settings("local").ml


@pytest.fixture(scope="module")
def shop() -> DemandHistory:
    """Make a shop whose every item is as uneven as it always was; it is closed on Sundays."""
    rng = np.random.default_rng(6)
    means = np.exp(rng.normal(1.0, 1.0, PRODUCTS))
    units = rng.negative_binomial(1.5, 1.5 / (1.5 + means[:, np.newaxis]), (PRODUCTS, DAYS))
    units[:, np.arange(DAYS) % 7 == 6] = 0
    items, days = np.indices(units.shape).reshape(2, -1)
    return build_history(pd.DataFrame({
        "event_date": pd.Timestamp(FIRST) + pd.to_timedelta(days, unit="D"), "category": "c",
        "product_id": np.char.add("P", items.astype(str)).astype(object), "units": units.reshape(-1),
        "gross_amount": units.reshape(-1) * 2.0}), FIRST + timedelta(days=DAYS - 1))


@pytest.fixture(scope="module")
def known(shop: DemandHistory) -> DemandHistory:
    return shop.until(DAYS - 21)


@pytest.fixture(scope="module")
def model(known: DemandHistory) -> BandModel:
    return BandModel.fit(known, ML)


def bands_at(model: BandModel, history: DemandHistory) -> Bands:
    return model.bands(history, seasonal_level(history))


@pytest.mark.parametrize("level", LEVELS)
def test_as_many_weeks_and_days_lie_in_the_bands_as_they_say(
    level: int, model: BandModel, shop: DemandHistory,
) -> None:
    weeks, days = [], []
    for origin in (DAYS - 21, DAYS - 14, DAYS - 7):  # after all that the model has seen
        bands = bands_at(model, shop.until(origin))
        actual = shop.units[:, origin:origin + 7]
        totals = np.concatenate([actual.sum(axis=1, keepdims=True), actual], axis=1)
        is_in = (totals >= bands.lower[level]) & (totals <= bands.upper[level])
        is_open = (np.arange(origin, origin + 7) % 7) != 6
        weeks.append(is_in[:, 0])
        days.append(is_in[:, 1:][:, is_open])
    assert np.mean(weeks) == pytest.approx(level / 100, abs=0.05)
    assert np.mean(np.concatenate(days)) == pytest.approx(level / 100, abs=0.05)


def test_a_week_of_nothing_says_nothing_of_a_band_that_begins_at_0(model: BandModel, known: DemandHistory) -> None:
    """Else the many weeks without a sale would keep wide bands wide: 80% would hold 90%."""
    class Wide:
        def inplace_predict(self, rows: np.ndarray) -> np.ndarray:
            return np.repeat([[0.0, 0.0, 9.0, 10.0]], len(rows), axis=0)

    idle = DemandHistory(**{**vars(known), "units": known.units.copy()})
    idle.units[:PRODUCTS // 3, -70:] = 0
    wide = BandModel(Wide(), dict.fromkeys(model.margins, 0.0), ML.features)
    wide.margins = wide._calibrate(idle, [idle.days - 7 * back for back in range(1, 9)])
    bands = wide.bands(idle.until(idle.days - 7), seasonal_level(idle.until(idle.days - 7)))
    week = idle.units[:, -7:].sum(axis=1)
    inside = (week >= bands.lower[80][:, 0]) & (week <= bands.upper[80][:, 0])
    assert wide.margins["week_80"] < -0.3
    assert inside.mean() == pytest.approx(0.8, abs=0.08)


def test_bands_are_not_negative_hold_the_forecast_and_lie_in_one_another(
    model: BandModel, known: DemandHistory,
) -> None:
    units = seasonal_level(known) * 3  # a forecast that is far from what the bands expect
    bands = model.bands(known, units)
    point = np.concatenate([units.sum(axis=1, keepdims=True), units], axis=1)
    for level in LEVELS:
        assert (bands.lower[level] >= 0).all()
        assert (bands.lower[level] <= point).all()
        assert (bands.upper[level] >= point).all()
    assert (bands.lower[95] <= bands.lower[80]).all()
    assert (bands.upper[95] >= bands.upper[80]).all()


def test_calibration_mends_quantiles_that_are_far_off(model: BandModel, known: DemandHistory) -> None:
    class Narrow:
        def inplace_predict(self, rows: np.ndarray) -> np.ndarray:
            return np.repeat([[0.98, 0.99, 1.01, 1.02]], len(rows), axis=0)

    off = BandModel(Narrow(), dict.fromkeys(model.margins, 0.0), ML.features)
    off.margins = off._calibrate(known, [known.days - 7 * back for back in range(1, 9)])
    assert min(off.margins.values()) > 0
    bands = off.bands(known.until(known.days - 7), seasonal_level(known.until(known.days - 7)))
    week = known.units[:, -7:].sum(axis=1)
    inside = (week >= bands.lower[80][:, 0]) & (week <= bands.upper[80][:, 0])
    assert inside.mean() == pytest.approx(0.8, abs=0.08)


def test_a_repeated_fit_is_the_same_and_what_is_read_is_what_was_written(
    model: BandModel, known: DemandHistory,
) -> None:
    content = model.to_bytes()
    assert BandModel.fit(known, ML).to_bytes() == content
    read = BandModel.from_bytes(content, ML.features)
    assert read.margins == model.margins
    assert read.to_bytes() == content
    for level in LEVELS:
        assert bands_at(read, known).upper[level].tobytes() == bands_at(model, known).upper[level].tobytes()


def test_nothing_after_the_cutoff_changes_a_band(model: BandModel, shop: DemandHistory, known: DemandHistory) -> None:
    changed = DemandHistory(**{**vars(shop), "units": shop.units.copy()})
    changed.units[:, known.days:] += 1000
    again = BandModel.fit(changed.until(known.days), ML)
    assert again.to_bytes() == model.to_bytes()


def test_a_shop_whose_items_are_all_young_has_no_bands() -> None:
    stray = pd.DataFrame({"event_date": [pd.Timestamp(FIRST)], "product_id": "stray", "category": "c", "units": 1,
                          "gross_amount": 1.0})
    young = pd.DataFrame({"event_date": pd.Timestamp(FIRST) + pd.to_timedelta(range(70, 130), unit="D"),
                          "product_id": "young", "category": "c", "units": 3, "gross_amount": 1.0})
    history = build_history(pd.concat([stray, young]), FIRST + timedelta(days=129))
    assert not has_days_for_bands(history)


def test_a_closed_day_begins_at_0_and_a_young_item_has_none(model: BandModel, known: DemandHistory) -> None:
    bands = model.bands(known, np.full((PRODUCTS, 7), 5.0))  # a forecast that knows no Sunday
    sunday = 1 + (6 - known.days) % 7
    for level in LEVELS:
        assert (bands.lower[level][:, sunday] == 0).all()
        assert (bands.upper[level][:, sunday] == 5).all()
    young = DemandHistory(**{**vars(known), "first_sale": known.first_sale.copy()})
    young.first_sale[3] = known.days - 20
    assert np.isnan(model.bands(young, seasonal_level(young)).upper[80]).any(axis=1).nonzero()[0].tolist() == [3]


def test_a_short_history_has_no_bands(shop: DemandHistory) -> None:
    assert not has_days_for_bands(shop.until(104))
    assert has_days_for_bands(shop.until(105))
    BandModel.fit(shop.until(105), ML)
