"""Forecasts against the simulator's own demand: what was to be expected, before chance had its say.

The nightly history is drawn by the simulator's shoppers, visit by visit, the quick one from the chances of each product
and day; the demand held against both is summed from chances (test_simulation_demand.py proves those of the draws).
Demand is what would have been ordered had all been in stock. Averages of the past run behind the season, by some per
cent in a month of spring or autumn, so the weeks of a whole year are summed up.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.forecasters import Forecaster, forecast_items
from shoplake.forecasting.history import BoolArray, DemandHistory, FloatArray, build_history
from shoplake.forecasting.names import WMIXT, XGBOOST
from shoplake.forecasting.training import fit_models
from shoplake.settings import load_settings
from shoplake.simulation.demand import calendar_of, expect_visit, expected_units, plan_promotions, share_events
from shoplake.simulation.draws import Draws
from shoplake.simulation.shop import Shop, build_shop
from shoplake.simulation.shoppers import shop_day, simulate_day

SETTINGS = load_settings("local")
FIRST = date(2025, 1, 1)
DAYS = 484
# A year of weeks, after what levels and uplift are made of.
CUTOFFS = range(112, DAYS - 6, 7)
ZONE = ZoneInfo("Europe/London")
COUNTED = {"order_created": "units", "product_viewed": "view_count", "add_to_cart": "cart_count"}
WMIXT_FORECASTER = next(baseline for baseline in BASELINES if baseline.name == WMIXT)


@dataclass(frozen=True)
class KnownShop:
    """A shop with so many drawn days, and what was behind them."""

    shop: Shop
    days: list[date]
    events: list[float]
    sales: pd.DataFrame

    @cached_property
    def demand(self) -> FloatArray:
        """Give the units to be expected had all been in stock, (products, days)."""
        return expected_units(self.shop, self.days, self.events, with_stock_outs=False)

    @cached_property
    def is_promoted(self) -> BoolArray:
        return calendar_of(self.shop, self.days).is_promoted

    @cached_property
    def is_out(self) -> BoolArray:
        return ~calendar_of(self.shop, self.days).in_stock

    @cached_property
    def promotions(self) -> pd.DataFrame:
        plan = plan_promotions(self.shop, self.days[0], self.days[-1] + timedelta(days=7))
        return pd.DataFrame([(product, pd.Timestamp(first), pd.Timestamp(last)) for product, first, last in plan],
                            columns=["product_id", "from_date", "to_date"])

    @property
    def true_uplift(self) -> float:
        """Give the promoted days' demand over that of a shop without any promotion."""
        plain = expected_units(self.shop, self.days, self.events, with_stock_outs=False, with_promotions=False)
        return float(self.demand[self.is_promoted].sum() / plain[self.is_promoted].sum())

    def history(self, *, with_looks: bool = True, with_plan: bool = True) -> DemandHistory:
        rows = self.sales if with_looks else self.sales.drop(columns=["view_count", "cart_count"])
        return build_history(rows, self.days[-1], self.promotions if with_plan else None)

    def rows_of(self, history: DemandHistory) -> list[int]:
        return [int(product[1:]) for product in history.product_ids]


def draw_shop(products: int, events: int, seed: int) -> KnownShop:
    shop = build_shop(SETTINGS.simulation.model_copy(update={"products": products}))
    dates = [FIRST + timedelta(days=number) for number in range(DAYS)]
    counts = [round(share) for share in share_events(shop, dates, events)]
    sums: defaultdict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for day, count in zip(dates, counts, strict=True):
        whole = shop_day(day, ZONE)
        for activity in simulate_day(shop, whole, count, whole.end + 10**6, "run", Draws(seed, day.toordinal())):
            if name := COUNTED.get(activity.event_type):
                sums[day, activity.product_id][name] += activity.quantity if name == "units" else 1
                if name == "units":
                    sums[day, activity.product_id]["pence"] += int(100 * activity.price) * activity.quantity
    sales = pd.DataFrame([
        {"event_date": pd.Timestamp(day), "product_id": product, "category": "c", "gross_amount": counts["pence"] / 100,
         **{name: counts[name] for name in COUNTED.values()}} for (day, product), counts in sums.items()])
    return KnownShop(shop, dates, [float(count) for count in counts], sales)


def draw_quickly(products: int, events: int, seed: int) -> KnownShop:
    """Draw counts of each product and day instead of visits: a hundredth of the time for the same expectations."""
    shop = build_shop(SETTINGS.simulation.model_copy(update={"products": products}))
    dates = [FIRST + timedelta(days=number) for number in range(DAYS)]
    counts = share_events(shop, dates, events)
    rng = np.random.default_rng(seed)
    packs = np.array(shop.pack_sizes)
    parts = []
    for day, count in zip(dates, counts, strict=True):
        today = shop.calendar(day)
        visit = expect_visit(shop, day, today.is_promoted, today.in_stock)
        visits = count / visit.activities.sum()
        lines = rng.poisson(visits * visit.orders)
        carts = lines + rng.poisson(visits * (visit.carts - visit.orders))
        views = carts + rng.poisson(visits * (visit.looks - visit.carts))
        of_line = np.repeat(np.arange(products), lines)
        bulk = np.where(rng.random(len(of_line)) < 0.01, rng.integers(5, 21, len(of_line)), 1)
        units = np.bincount(of_line, rng.integers(1, packs[of_line] + 1) * bulk, products).astype(np.int64)
        parts.append(pd.DataFrame({
            "event_date": pd.Timestamp(day), "product_id": np.array(shop.product_ids, dtype=object), "category": "c",
            "units": units, "view_count": views, "cart_count": carts, "gross_amount": 2.0 * units}))
    rows = pd.concat(parts, ignore_index=True)
    return KnownShop(shop, dates, counts, rows[rows["view_count"] > 0])


@dataclass(frozen=True)
class Sums:
    """Forecast over demand, minus 1, of all weeks together."""

    total: float
    promoted: float
    out_of_stock: float


def sum_weeks(known: KnownShop, history: DemandHistory, cutoffs: range, *forecasters: Forecaster) -> Sums:
    """Forecast the week after each cutoff with the forecaster made last, each made at the first cutoff of its part.

    `out_of_stock` is about items that were out of stock on a day of the last 14 and are still to be ordered for.
    """
    forecast, demand = np.zeros(3), np.zeros(3)
    for number, days in enumerate(cutoffs):
        forecaster = forecasters[number * len(forecasters) // len(cutoffs)]
        cut = history.until(days)
        units, rows = forecast_items(forecaster, cut).units, known.rows_of(cut)
        truth, week = known.demand[rows, days:days + 7], slice(days, days + 7)
        was_out = np.repeat(known.is_out[rows, days - 14:days].any(axis=1)[:, np.newaxis], 7, axis=1)
        for place, mask in enumerate((np.ones_like(was_out), known.is_promoted[rows, week], was_out)):
            forecast[place] += units[mask].sum()
            demand[place] += truth[mask].sum()
    return Sums(*(forecast / demand - 1))


@pytest.fixture(scope="module")
def quick() -> KnownShop:
    return draw_quickly(products=120, events=2_000_000, seed=4)


def test_demand_uplift_and_stock_outs_are_seen(quick: KnownShop) -> None:
    history = quick.history()
    assert history.uplifts[-1] == pytest.approx(quick.true_uplift, rel=0.15)
    seeing = sum_weeks(quick, history, CUTOFFS, WMIXT_FORECASTER)
    blind = sum_weeks(quick, quick.history(with_looks=False), CUTOFFS, WMIXT_FORECASTER)
    planless = sum_weeks(quick, quick.history(with_plan=False), CUTOFFS, WMIXT_FORECASTER)
    assert abs(seeing.total) < 0.03
    assert abs(seeing.promoted) < 0.15
    assert planless.promoted < -0.35
    assert abs(seeing.out_of_stock) < 0.05
    assert blind.out_of_stock < -0.07
    # What is taken for a stock-out is one.
    rows = quick.rows_of(history)
    out = quick.is_out[rows]
    demand = quick.demand[rows]
    assert demand[history.is_censored & ~out].sum() < 0.003 * demand.sum()
    assert demand[history.is_censored & out].sum() > 0.5 * demand[out].sum()


@pytest.mark.nightly
def test_a_year_of_weeks_is_as_the_simulator_expects_them() -> None:
    known = draw_shop(products=200, events=1_500_000, seed=4)
    history, blind = known.history(), known.history(with_looks=False)
    assert history.uplifts[-1] == pytest.approx(known.true_uplift, rel=0.15)
    # Made anew four times in the year.
    quarters = [CUTOFFS[number * len(CUTOFFS) // 4] for number in range(4)]
    for name in (WMIXT, XGBOOST):
        made = [WMIXT_FORECASTER] if name == WMIXT else [
            model for days in quarters for model in fit_models(history.until(days), SETTINGS.ml) if model.name == name]
        sums = sum_weeks(known, history, CUTOFFS, *made)
        assert abs(sums.total) < 0.03
        assert abs(sums.promoted) < 0.15
        assert abs(sums.out_of_stock) < 0.05
    without = sum_weeks(known, blind, CUTOFFS, WMIXT_FORECASTER)
    assert without.out_of_stock < -0.07
