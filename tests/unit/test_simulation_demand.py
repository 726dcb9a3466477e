"""The demand behind the draws: against the draws themselves, and against shops built without its effects."""

from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from shoplake.settings import load_settings
from shoplake.simulation.demand import calendar_of, expected_units, plan_promotions, share_events, tabulate_demand
from shoplake.simulation.draws import Draws
from shoplake.simulation.shop import Floats, Shop, build_shop
from shoplake.simulation.shoppers import shop_day, simulate_day

SETTINGS = load_settings("local").simulation.model_copy(update={"products": 40})
SHOP = build_shop(SETTINGS)
DAYS = [date(2026, 3, 2) + timedelta(days=number) for number in range(30)]
EVENTS = [4000.0] * len(DAYS)


def draw_units(shop: Shop, days: list[date], events: float) -> Floats:
    """Draw the units of each product and day with the simulator; a visit's orders count on the day of its start."""
    units = np.zeros((len(shop.product_ids), len(days)))
    row = {product: number for number, product in enumerate(shop.product_ids)}
    for column, day in enumerate(days):
        whole = shop_day(day, ZoneInfo("Europe/London"))
        for activity in simulate_day(shop, whole, int(events), whole.end + 10**6, "run", Draws(5, column)):
            if activity.event_type == "order_created":
                units[row[activity.product_id], column] += activity.quantity
    return units


def test_draws_are_as_many_as_expected_within_their_own_error() -> None:
    drawn, expected = draw_units(SHOP, DAYS, EVENTS[0]), expected_units(SHOP, DAYS, EVENTS)
    off = drawn.sum(axis=0) - expected.sum(axis=0)
    error = np.sqrt(len(DAYS)) * off.std()
    assert error < 0.02 * expected.sum()  # precise enough to say something
    assert abs(off.sum()) < 3 * error
    # Each product, too: squared deviations are what chance makes them (a line is of several units, variance over mean
    # is the mean of squares over the mean of a quantity, at the most 12).
    chi = (drawn.sum(axis=1) - expected.sum(axis=1)) ** 2 / (12 * expected.sum(axis=1))
    assert chi.max() < 16
    assert (drawn[~calendar_of(SHOP, DAYS).in_stock] == 0).all()
    assert (expected[~calendar_of(SHOP, DAYS).in_stock] == 0).all()


@pytest.mark.parametrize(("without", "field"), [
    ("with_stock_outs", "_stock_out_days"), ("with_promotions", "_promotion_days")])
def test_without_an_effect_is_what_a_shop_without_it_sells(without: str, field: str) -> None:
    bare = replace(SHOP, **{field: np.zeros(SETTINGS.products, dtype=np.int64)})
    expected = expected_units(SHOP, DAYS, EVENTS, **{without: False})
    of_bare = expected_units(bare, DAYS, EVENTS)
    # Visits are as many as with the effect, where the bare shop has as many events: one factor for each day.
    factor = expected.sum(axis=0) / of_bare.sum(axis=0)
    np.testing.assert_allclose(expected, of_bare * factor)
    assert (np.abs(factor - 1) < 0.05).all()
    assert np.abs(expected - expected_units(SHOP, DAYS, EVENTS)).max() > 1


def test_a_promotion_multiplies_an_items_share_of_the_looks() -> None:
    today = calendar_of(SHOP, DAYS)
    ratio = expected_units(SHOP, DAYS, EVENTS) / np.maximum(
        expected_units(SHOP, DAYS, EVENTS, with_promotions=False), 1e-9)
    is_sold = today.in_stock & today.is_awake
    assert (ratio[today.is_promoted & is_sold] > 1.2).all()
    assert (ratio[today.is_promoted & is_sold] < 2.2).all()
    assert (ratio[~today.is_promoted & is_sold] <= 1 + 1e-9).all()


def test_events_are_shared_as_the_shop_is_busy() -> None:
    shares = share_events(SHOP, DAYS, 7000)
    assert sum(shares) == pytest.approx(7000)
    assert shares[5] / shares[1] == pytest.approx(SHOP.busyness(DAYS[5]) / SHOP.busyness(DAYS[1]))


def test_the_plan_is_the_calendar() -> None:
    planned: defaultdict[str, set[date]] = defaultdict(set)
    for product, first, last in plan_promotions(SHOP, DAYS[0], DAYS[-1]):
        run = {first + timedelta(days=number) for number in range((last - first).days + 1)}
        assert run.isdisjoint(planned[product])
        planned[product] |= run
    for product, is_promoted in zip(SHOP.product_ids, calendar_of(SHOP, DAYS).is_promoted, strict=True):
        assert planned[product] == {day for day, promoted in zip(DAYS, is_promoted, strict=True) if promoted}


def test_the_table_says_what_was_to_be_expected_and_what_in_stock() -> None:
    rows = tabulate_demand(SHOP, {DAYS[1]: 900, DAYS[0]: 1000})
    assert [row[0] for row in rows] == [str(day) for day in DAYS[:2] for _ in SHOP.product_ids]
    assert sum(row[2] for row in rows) == pytest.approx(expected_units(SHOP, DAYS[:2], [1000, 900]).sum(), rel=1e-6)
    for _, _, units, in_stock, _, is_in_stock in rows:
        assert units == 0 if not is_in_stock else units >= in_stock
