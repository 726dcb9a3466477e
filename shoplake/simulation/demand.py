"""What shoppers are expected to buy: the demand behind the simulator's draws, to hold forecasts against.

Nothing is drawn here. A visit is a chain of chances (shoppers.py), so the units that it is expected to end with follow
from the day's attraction and stock. Not in it: an order after midnight counts on the next day (some 2 in 1,000), and
the last visit of each day is cut off where the day's events are used up.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from shoplake.errors import SourceError
from shoplake.simulation.shop import Calendar, Flags, Floats, Shop
from shoplake.simulation.shoppers import (
    BULK,
    BULK_PACKS,
    CANCEL,
    MOST_PRODUCTS,
    NEXT_PRODUCT,
    ORDER,
    OUT_OF_CART,
    TO_CART,
)

# Promotions are known so long in advance.
PLANNED_DAYS = 7


@dataclass(frozen=True)
class Visit:
    """How often a visit is expected to do what with each product, (products,) each; activities are all of it."""

    activities: Floats
    looks: Floats
    carts: Floats
    orders: Floats


def expected_units(
    shop: Shop, days: Sequence[date], events: Sequence[float], *, with_stock_outs: bool = True,
    with_promotions: bool = True,
) -> Floats:
    """Give the units that shoppers are expected to order of each product on each day, (products, days).

    Without stock-outs or promotions as many shoppers come as with them, and choose among what there is then.

    Args:
        events: what shoppers do on each day, looks and all, as `simulate_day` counts it.
    """
    columns = []
    for day, count in zip(days, events, strict=True):
        today = shop.calendar(day)
        visits = count / expect_visit(shop, day, today.is_promoted, today.in_stock).activities.sum()
        visit = expect_visit(
            shop, day, today.is_promoted & with_promotions, today.in_stock | (not with_stock_outs))
        columns.append(visits * visit.orders * _mean_quantity(shop))
    return np.stack(columns, axis=1)


def share_events(shop: Shop, days: Sequence[date], events: float) -> list[float]:
    """Spread a history's events over its days as the shop is busy."""
    busyness = np.array([shop.busyness(day) for day in days])
    return list(events * busyness / busyness.sum())


def calendar_of(shop: Shop, days: Sequence[date]) -> Calendar:
    """Give the calendars of several days as (products, days)."""
    each = [shop.calendar(day) for day in days]
    return Calendar(*(np.stack([getattr(day, name) for day in each], axis=1)
                      for name in ("is_promoted", "in_stock", "is_awake")))


def expect_visit(shop: Shop, day: date, is_promoted: Flags, in_stock: Flags) -> Visit:
    """Follow a visit of that day step by step, for any promotions and stock."""
    weights = shop.attraction(day, is_promoted, in_stock)
    look = weights / weights.sum()
    to_cart = look * in_stock * TO_CART
    # A look that puts it into the cart for good; once there, it is not put in again.
    kept = to_cart * (1 - OUT_OF_CART)
    looks, not_in_cart, in_cart = np.zeros_like(look), np.zeros_like(look), np.zeros_like(look)
    for step in range(MOST_PRODUCTS):
        reached = NEXT_PRODUCT**step
        is_last = reached if step == MOST_PRODUCTS - 1 else reached * (1 - NEXT_PRODUCT)
        looks += reached * look
        not_in_cart += reached * (1 - kept) ** step
        in_cart += is_last * (1 - (1 - kept) ** (step + 1))
    orders = ORDER * in_cart
    carts = to_cart * not_in_cart
    return Visit(looks + carts * (1 + OUT_OF_CART) + orders * (1 + CANCEL), looks, carts, orders)


def _mean_quantity(shop: Shop) -> Floats:
    packs = (1 + np.array(shop.pack_sizes)) / 2
    return np.asarray(packs * (1 - BULK + BULK * sum(BULK_PACKS) / 2))


def plan_promotions(shop: Shop, first_day: date, last_day: date) -> list[tuple[str, date, date]]:
    """Give the promotions of these days (inclusive) as product, first and last day of each, sorted."""
    days = [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]
    promotions = []
    for product_id, is_promoted in zip(shop.product_ids, calendar_of(shop, days).is_promoted, strict=True):
        # +1 where one begins, -1 on the day after it.
        steps = np.diff(np.pad(is_promoted.astype(int), 1))
        promotions += [(product_id, days[begin], days[after - 1]) for begin, after in
                       zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True)]
    return promotions


def write_promotions(path: Path, shop: Shop, first_day: date, last_day: date) -> int:
    """Write the promotions of a history and of the week after it, which is planned by then, as CSV; give their number.

    Raises:
        SourceError: the file cannot be written.
    """
    promotions = plan_promotions(shop, first_day, last_day + timedelta(days=PLANNED_DAYS))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("product_id", "from_date", "to_date"), *promotions])
    except OSError as error:
        raise SourceError(f"cannot write the promotions to {path}: {error.strerror or error}") from error
    return len(promotions)


def tabulate_demand(shop: Shop, events: Mapping[date, int]) -> list[list[Any]]:
    """Give each day's and product's expected_units, the same had all been in stock, is_promoted and is_in_stock.

    Args:
        events: accepted events of each day.
    """
    days = sorted(events)
    counts = [events[day] for day in days]
    units, in_stock = (expected_units(shop, days, counts, with_stock_outs=with_them) for with_them in (True, False))
    today = calendar_of(shop, days)
    return [[day.isoformat(), product_id, round(float(units[row, column]), 6), round(float(in_stock[row, column]), 6),
             bool(today.is_promoted[row, column]), bool(today.in_stock[row, column])]
            for column, day in enumerate(days) for row, product_id in enumerate(shop.product_ids)]
