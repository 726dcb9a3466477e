"""Nothing after the cutoff reaches a forecast but plans of promotions and closed days, bit for bit; looks do not."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import build_features
from shoplake.forecasting.forecasters import Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.intervals import BandModel
from shoplake.forecasting.training import fit_models
from shoplake.settings import load_settings

FIRST = date(2026, 1, 5)
DAYS = 200
CUTOFF = 170  # days known
# Closed as planned; the last one lies after the cutoff.
SHUT = (60, 97, CUTOFF - 5, CUTOFF + 2)
ITEMS = 40
ML = load_settings("local").ml


def day(number: int) -> pd.Timestamp:
    return pd.Timestamp(FIRST + timedelta(days=int(number)))


def make_shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make items that begin late, sell more when promoted, and are now and then out of stock but looked at."""
    rng = np.random.default_rng(8)
    rows, plan = [], []
    for item in range(ITEMS):
        mean = float(np.exp(rng.normal(1, 1)))
        start, phase = int(rng.integers(0, 50)), int(rng.integers(0, 60))
        out = set(range(90 + item, 94 + item)) if item % 3 == 0 else set()
        for number in range(start, DAYS):
            promoted = (number + phase) % 60 < 6
            lift = 2.0 if promoted else 1.0
            carts = 0 if number in out or number in SHUT else int(rng.poisson(mean * lift))
            units = carts + int(rng.poisson(0.2)) * 9 if carts else 0
            rows.append((day(number), f"P{item:02d}", f"c{item % 3}", units, 3.0 * units, carts, carts + 4, carts))
        plan += [(f"P{item:02d}", day(number), day(number + 5)) for number in range(-phase, DAYS + 14, 60)]
    names = ["event_date", "product_id", "category", "units", "gross_amount", "order_count", "view_count", "cart_count"]
    return pd.DataFrame(rows, columns=names), pd.DataFrame(plan, columns=["product_id", "from_date", "to_date"])


def known_at(sales: pd.DataFrame, plan: pd.DataFrame, days: int, shut: Sequence[int] = SHUT) -> DemandHistory:
    return build_history(sales, FIRST + timedelta(days=DAYS - 1), plan, closed_days(shut)).until(days)


def closed_days(numbers: Sequence[int]) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


@pytest.fixture(scope="module")
def shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    return make_shop()


def forecasters_of(history: DemandHistory) -> list[Forecaster]:
    return [*fit_models(history, ML), *BASELINES]


def test_what_happens_after_the_cutoff_changes_no_forecast_and_no_band(
    shop: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    sales, plan = shop
    is_later = sales["event_date"] >= day(CUTOFF)
    spoilt = sales.copy()
    rng = np.random.default_rng(1)
    for name in ("units", "view_count", "cart_count", "order_count"):
        spoilt.loc[is_later, name] = rng.integers(0, 500, is_later.sum())
    spoilt.loc[is_later & (rng.random(len(spoilt)) < 0.3), ["units", "cart_count"]] = 0
    spoilt.loc[is_later, ["gross_amount", "category"]] = [7.0, "x"]
    # Promotions and closed days of the past and of the 7 days stay; what is planned later may be anything.
    spoilt_plan = pd.concat([plan[plan["from_date"] < day(CUTOFF + 7)], pd.DataFrame(
        {"product_id": [f"P{item:02d}" for item in range(ITEMS)], "from_date": day(CUTOFF + 7), "to_date": day(900)})])
    history, other = known_at(sales, plan, CUTOFF), known_at(
        spoilt, spoilt_plan, CUTOFF, [*SHUT, *range(CUTOFF + 7, DAYS)])
    assert history.is_censored.any()
    assert (history.usual_units[:, SHUT[0]] > 0).any(), "a closed day is filled"
    assert history.closed[CUTOFF:].any()
    assert history.promoted[:, CUTOFF:].any()
    assert history.uplifts[-1] > 1.3
    for ours, theirs in zip(forecasters_of(history), forecasters_of(other), strict=True):
        assert ours.version == theirs.version
        assert forecast_items(ours, history).units.tobytes() == forecast_items(theirs, other).units.tobytes(), ours.name
    units = BASELINES[0].forecast(history).units
    bands = [BandModel.fit(known, ML).bands(known, units) for known in (history, other)]
    for level in bands[0].upper:
        assert bands[0].upper[level].tobytes() == bands[1].upper[level].tobytes()
        assert bands[0].lower[level].tobytes() == bands[1].lower[level].tobytes()


def test_a_plan_changes_the_planned_days_and_the_bands_with_them(shop: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    sales, plan = shop
    without = plan.assign(to_date=plan["to_date"].clip(upper=day(CUTOFF - 1)))
    history = known_at(sales, plan, CUTOFF)
    other = known_at(sales, without[without["from_date"] < day(CUTOFF)], CUTOFF)
    planned, uplift = history.promoted[:, CUTOFF:], history.uplifts[-1]
    assert planned.any()
    assert not other.promoted[:, CUTOFF:].any()
    wmixt = next(baseline for baseline in BASELINES if baseline.name == "wmixt")
    lifted, plain = (wmixt.forecast(known).units for known in (history, other))
    np.testing.assert_allclose(lifted, plain * np.where(planned, uplift, 1.0))
    bands = BandModel.fit(history, ML)
    tops = [bands.bands(known, units).upper[95][:, 1:] for known, units in ((history, lifted), (other, plain))]
    is_up = planned & (plain > 1) & np.isfinite(tops[0])
    assert (tops[0][is_up] > tops[1][is_up]).all()


def test_features_of_training_and_of_serving_are_the_same_bits_for_1000_items_and_cutoffs(
    shop: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Training cuts one long history; serving builds one from what a file or gold held on that day."""
    sales, plan = shop
    whole = known_at(sales, plan, DAYS)
    rng = np.random.default_rng(3)
    seen = 0
    for days in sorted(rng.choice(np.arange(60, DAYS - 6), 50, replace=False).tolist()):
        cutoff = FIRST + timedelta(days=days - 1)
        trained = build_features(whole.until(days), ML.features)
        served = build_features(build_history(
            sales[sales["event_date"] <= pd.Timestamp(cutoff)], cutoff, plan, closed_days(SHUT)), ML.features)
        for row in rng.choice(len(trained.base), 20, replace=False):
            assert trained.values[row].tobytes() == served.values[row].tobytes()
            assert trained.base[row].tobytes() == served.base[row].tobytes()
            seen += 1
    assert seen == 1000
