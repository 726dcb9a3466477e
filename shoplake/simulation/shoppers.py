"""Shoppers of one day: visits in which they look, put into the cart, take out, order and cancel; and programs."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from shoplake.simulation.draws import Draws
from shoplake.simulation.shop import Offer, Shop

# No visit lasts longer, cancellations apart.
LONGEST_VISIT = 3600

# Running sums of the traffic by hour of the shop's day: quiet nights, peaks at lunch and in the evening.
_HOURS = (1.5, 0.7, 0.4, 0.3, 0.3, 0.5, 1, 2, 3, 4, 5, 6, 7, 6.5, 5.5, 5, 5, 5.5, 6.5, 7.5, 8, 7, 5, 3)
_HOURS_SUMMED = tuple(sum(_HOURS[:hour + 1]) for hour in range(24))

_GUEST = 0.15
MOST_PRODUCTS = 8
NEXT_PRODUCT = 0.62
TO_CART = 0.5
OUT_OF_CART = 0.08
ORDER = 0.75
CANCEL = 0.06
BULK = 0.01
BULK_PACKS = (5, 20)  # times the usual quantity
_CANCEL_AFTER = (600, 2 * 86_400)  # seconds
BOT = "bot-"
# Programs look at so many products: one as fast as it can, one by the clock, one slowly and for long. Seconds between.
_BOT_PAUSES = ((0, 2), (30, 30), (3, 12))
_BOT_LOOKS = ((25, 200), (30, 100), (310, 400))


class Activity(NamedTuple):
    """One thing that a shopper did, to the second (since 1970)."""

    second: int
    event_type: str
    user_id: str
    product_id: str
    category: str
    price: Decimal
    quantity: int
    order_id: str | None
    session_id: str
    brand: str | None
    is_guest: bool


@dataclass(frozen=True)
class ShopDay:
    """A day of the shop in seconds since 1970; 23 or 25 hours long when the clocks change."""

    day: date
    start: int
    end: int


def shop_day(day: date, time_zone: ZoneInfo) -> ShopDay:
    """Give the bounds of a shop's day."""
    midnights = (datetime(each.year, each.month, each.day, tzinfo=time_zone) for each in (day, day + timedelta(days=1)))
    start, end = (int(midnight.timestamp()) for midnight in midnights)
    return ShopDay(day, start, end)


def simulate_day(shop: Shop, day: ShopDay, count: int, latest: int, run: str, draws: Draws) -> list[Activity]:
    """Give exactly `count` activities of visits that begin on this day, visit by visit.

    A visit may run past midnight, and a cancellation may come two days later, but nothing comes after `latest`.

    Args:
        run: stands in session, order and guest ids, so that two runs never share one.
    """
    offer = shop.offer(day.day)
    latest_start = min(day.end - 1, latest - LONGEST_VISIT)
    activities: list[Activity] = []
    visit = 0
    while len(activities) < count:
        start = day.start + int(_draw_moment(draws) * (latest_start - day.start))
        name = f"{run}-{day.day:%y%m%d}-{visit}"
        if shop.bot_share and draws.chance(shop.bot_share):
            activities += _simulate_bot(shop, offer, start, name, draws)
        else:
            activities += _simulate_visit(shop, offer, start, latest, name, draws)
        visit += 1
    return activities[:count]


def _draw_moment(draws: Draws) -> float:
    return (draws.pick(_HOURS_SUMMED) + draws.uniform()) / 24


def _simulate_visit(shop: Shop, offer: Offer, start: int, latest: int, name: str, draws: Draws) -> list[Activity]:
    is_guest = draws.chance(_GUEST)
    user_id = f"guest-{name}" if is_guest else f"user-{draws.pick(shop.regulars):05d}"
    second = start
    cart: dict[int, int] = {}
    activities: list[Activity] = []

    def act(event_type: str, product: int, quantity: int, order_id: str | None = None) -> Activity:
        activity = Activity(
            second, event_type, user_id, shop.product_ids[product], shop.category(product, second),
            offer.prices[product], quantity, order_id, f"s-{name}", shop.brands[product], is_guest,
        )
        activities.append(activity)
        return activity

    for _ in range(MOST_PRODUCTS):
        product = draws.pick(offer.attraction)
        act("product_viewed", product, 1)
        second += draws.between(5, 120)
        if offer.in_stock[product] and product not in cart and draws.chance(TO_CART):
            cart[product] = _draw_quantity(shop.pack_sizes[product], draws)
            act("add_to_cart", product, cart[product])
            second += draws.between(5, 90)
            if draws.chance(OUT_OF_CART):
                act("remove_from_cart", product, cart.pop(product))
                second += draws.between(5, 30)
        if not draws.chance(NEXT_PRODUCT):
            break
    if cart and draws.chance(ORDER):
        second += draws.between(30, 300)
        for line in [act("order_created", product, quantity, f"o-{name}") for product, quantity in cart.items()]:
            if draws.chance(CANCEL):
                activities.append(line._replace(
                    event_type="order_cancelled", second=min(line.second + draws.between(*_CANCEL_AFTER), latest)))
    return activities


def _simulate_bot(shop: Shop, offer: Offer, start: int, name: str, draws: Draws) -> list[Activity]:
    kind = draws.between(0, len(_BOT_PAUSES) - 1)
    second = start
    activities: list[Activity] = []
    for _ in range(draws.between(*_BOT_LOOKS[kind])):
        product = draws.between(0, len(shop.product_ids) - 1)
        activities.append(Activity(
            second, "product_viewed", f"{BOT}{name}", shop.product_ids[product], shop.category(product, second),
            offer.prices[product], 1, None, f"s-{name}", shop.brands[product], is_guest=True))
        second += draws.between(*_BOT_PAUSES[kind])
    return activities


def _draw_quantity(pack_size: int, draws: Draws) -> int:
    quantity = draws.between(1, pack_size)
    return quantity * draws.between(*BULK_PACKS) if draws.chance(BULK) else quantity
