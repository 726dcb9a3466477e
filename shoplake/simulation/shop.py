"""The simulated shop: catalogue, prices, promotions, stock, seasons and regulars.

The shop is the same for every seed and is a function of the calendar; a seed only decides who comes and what they do.
So a day simulated on its own continues the history that another run has made, and demand can be learned.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import cos, pi

import numpy as np
import numpy.typing as npt

from shoplake.sections import SimulationSettings

_WORLD_SEED = 20101201
_DAYS_A_YEAR = 365.25
_TREND_A_YEAR = 0.15
_TREND_ORIGIN = date(2020, 1, 1)

CATEGORIES = ("home decor", "kitchen", "garden", "stationery", "toys", "lighting", "textiles", "café, tea & gifts")
_BRANDS = ("Albion", "Brightside", "Côte", "Dovetail", "Elm & Oak", None)

# Busyness from Monday to Sunday: of the whole shop, and of three kinds of products within it.
_WEEK = (0.85, 0.80, 0.90, 1.00, 1.20, 1.45, 0.80)
_WEEK_SHAPES = np.array([
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    (1.6, 1.4, 1.3, 1.2, 0.8, 0.4, 0.3),
    (0.5, 0.5, 0.6, 0.8, 1.3, 1.8, 1.5),
])
_SLOW_SHARE = 0.15           # products that sell on few days
_SLOW_ACTIVE = 0.15          # share of days on which they do
_FINE_PRICE_SHARE = 0.05     # products priced in 3 or 4 decimals
_PROMOTED_SHARE = 0.4
_PROMOTION_PRICE = 80        # per cent of the price
_PROMOTION_UPLIFT = 2.2
_OUT_OF_STOCK_LOOKS = 0.3    # of the usual looks at a product that cannot be had
_PRICE_STEP_DAYS = 91
_PRICE_STEPS = (100, 103, 106)  # per cent; the price moves from one to the next and starts again
_RECATEGORISED_EVERY = 12    # every twelfth product changes its category …
_RECATEGORISED_AFTER = 20 * 86_400  # … every 20 days, in the middle of a day

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Offer:
    """What the shop offers on one day, by product number.

    Attributes:
        prices: unit prices of the day, promotions taken off.
        attraction: running sums of the weights with which shoppers look at products.
        in_stock: whether it can be put into the cart.
    """

    prices: list[Decimal]
    attraction: list[float]
    in_stock: list[bool]


@dataclass(frozen=True)
class Calendar:
    """What a day has of its own, (products,) each.

    Attributes:
        is_promoted: offered at a lower price.
        in_stock: whether it can be put into the cart.
        is_awake: whether shoppers look at it at all; products that sell on few days are asleep on the others.
    """

    is_promoted: Flags
    in_stock: Flags
    is_awake: Flags


@dataclass(frozen=True)
class Shop:
    """Everything about the shop that no day changes; arrays are by product number."""

    bot_share: float
    product_ids: list[str]
    brands: list[str | None]
    pack_sizes: list[int]
    regulars: list[float]
    _categories: list[tuple[str, str]]
    _levels: Floats
    _week_shapes: Ints
    _is_slow: Flags
    _price_units: Ints
    _price_decimals: Ints
    _phases: Ints
    _promotion_cycles: Ints
    _promotion_days: Ints
    _stock_cycles: Ints
    _stock_out_days: Ints

    def offer(self, day: date) -> Offer:
        """Give the day's prices, attraction and stock."""
        today = self.calendar(day)
        weights = self.attraction(day, today.is_promoted, today.in_stock)
        return Offer(self._prices(day.toordinal(), today.is_promoted), np.cumsum(weights).tolist(),
                     today.in_stock.tolist())

    def calendar(self, day: date) -> Calendar:
        """Give what is promoted, in stock and awake on the day."""
        number = day.toordinal()
        is_promoted = (number + self._phases) % self._promotion_cycles < self._promotion_days
        in_stock = (number + 3 * self._phases) % self._stock_cycles >= self._stock_out_days
        # Knuth's multiplicative hash: scattered days, the same for every run.
        is_lucky = (number * 2_654_435_761 + self._phases * 40_503) % 1000 < 1000 * _SLOW_ACTIVE
        return Calendar(is_promoted, in_stock, ~self._is_slow | is_lucky)

    def attraction(self, day: date, is_promoted: Flags, in_stock: Flags) -> Floats:
        """Give the weights with which shoppers look at the products, for any promotions and stock."""
        weights = self._levels * _WEEK_SHAPES[self._week_shapes, day.weekday()]
        weights = weights * np.where(is_promoted, _PROMOTION_UPLIFT, 1.0) * np.where(in_stock, 1.0, _OUT_OF_STOCK_LOOKS)
        return np.where(self.calendar(day).is_awake, weights, 0.0)

    def _prices(self, number: int, is_promoted: Flags) -> list[Decimal]:
        steps = np.array(_PRICE_STEPS)[(number + self._phases) // _PRICE_STEP_DAYS % len(_PRICE_STEPS)]
        percent = steps * np.where(is_promoted, _PROMOTION_PRICE, 100)
        units = np.maximum(self._price_units * percent // 10_000, 1)
        return [Decimal(unit).scaleb(-decimals) for unit, decimals in
                zip(units.tolist(), self._price_decimals.tolist(), strict=True)]

    def category(self, product: int, second: int) -> str:
        """Give the product's category at a second since 1970."""
        return self._categories[product][second // _RECATEGORISED_AFTER % 2]

    def busyness(self, day: date) -> float:
        """Give the day's traffic against the shop's mean: week, year (a peak before Christmas) and trend."""
        season = 1 + 0.25 * cos(2 * pi * (day.timetuple().tm_yday - 340) / _DAYS_A_YEAR)
        trend = 1 + _TREND_A_YEAR * (day - _TREND_ORIGIN).days / _DAYS_A_YEAR
        return _WEEK[day.weekday()] * season * max(trend, 0.1)


def build_shop(settings: SimulationSettings) -> Shop:
    """Build the shop of so many products and regular customers."""
    count = settings.products
    world = np.random.default_rng(_WORLD_SEED)
    decimals = np.where(world.random(count) < _FINE_PRICE_SHARE, world.integers(3, 5, count), 2)
    price = np.exp(world.normal(1.6, 0.9, count)) + 0.3
    promotion_cycles = world.integers(35, 90, count)
    return Shop(
        bot_share=settings.bot_share,
        product_ids=[f"P{number:05d}" for number in range(count)],
        brands=[_BRANDS[index] for index in world.integers(0, len(_BRANDS), count)],
        pack_sizes=np.clip(12 / price, 1, 6).astype(int).tolist(),
        regulars=np.cumsum(1 / np.sqrt(np.arange(1, settings.users + 1))).tolist(),
        _categories=[_categories_of(number, index) for number, index in
                     enumerate(world.integers(0, len(CATEGORIES), count).tolist())],
        _levels=np.exp(world.normal(0, 1.1, count)),
        _week_shapes=world.integers(0, len(_WEEK_SHAPES), count),
        _is_slow=world.random(count) < _SLOW_SHARE,
        _price_units=np.round(price * 10.0**decimals).astype(np.int64),
        _price_decimals=decimals,
        _phases=world.integers(0, 10_000, count),
        _promotion_cycles=promotion_cycles,
        _promotion_days=np.where(world.random(count) < _PROMOTED_SHARE, world.integers(4, 10, count), 0),
        _stock_cycles=world.integers(60, 150, count),
        _stock_out_days=world.integers(0, 6, count),
    )


def _categories_of(number: int, index: int) -> tuple[str, str]:
    other = (index + 1) % len(CATEGORIES) if number % _RECATEGORISED_EVERY == 3 else index
    return CATEGORIES[index], CATEGORIES[other]
