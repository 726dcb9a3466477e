"""Demand as a dense grid of products by days: what features and models see, and all that they see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoplake.errors import ForecastError
from shoplake.forecasting.promotions import estimate_uplift, lay_out_promotions
from shoplake.forecasting.stock_outs import NEVER, find_stock_outs

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Promotions and closed days are told of so many days after the cutoff: those that are forecast.
PLANNED_DAYS = 7
# Products x days; seven grids of 8 bytes stay below 3 GB; promotions take some more while they are counted.
MAX_CELLS = 5 * 10**7
# A series of one day says nothing about the next: fewer points than this fall back to the category.
MIN_POINTS = 2
# An order of a wholesaler is no demand that comes again: more than so many times the mean active day is cut off …
CLIP_FACTOR = 5
# … but never below so many units, and not before so many active days are known.
CLIP_LEAST_UNITS = 24
CLIP_ACTIVE_DAYS = 5
SMOOTHING = 0.03
FILLED_FROM_WEEKS = 4


@dataclass(frozen=True)
class DemandHistory:
    """Everything known at the end of one day, the cutoff, which is the grid's last column.

    A model is given a history and nothing else, so it cannot look past the cutoff. Products stand in the order of
    their first row in the history (then by id): the products known on an earlier day are a prefix, and `until` cuts
    views, not copies. Each column of a grid is made of the days up to it, so a cut leaves no trace of later ones.

    Attributes:
        units: units ordered, (products, days); 0 on days without a row.
        usual_units: the same divided by the uplift on promoted days, outliers cut off (`cut_outliers`), closed days
            filled (`fill_closed_days`), (products, days).
        smoothed: `usual_units` smoothed exponentially from the first sale on, (products, days); 0 before. Held over
            censored days.
        orders: number of orders, (products, days); 0 everywhere where the input had none.
        amounts: gross amount, (products, days); NaN where the input had none.
        last_sale: the newest day with units up to each day, (products, days), as a column number; -1 before the first.
        category_codes: the category last seen up to each day, (products, days); -1 before the first row.
        first_seen: column of each product's first row.
        first_sale: column of each product's first day with units; the number of days if there was none.
        censored_since: the day on which it became known that the product was out of stock on each day, (products,
            days), as a column number; NEVER where it was not.
        promoted: promotions as they are planned, (products, days + 7); they and `closed` are all that is told of days
            after the cutoff.
        uplifts: what promotions multiply demand by, as it was known on each day, (days,).
        closed: days on which the shop is closed, as they are planned, (days + 7,).
    """

    first_day: date
    product_ids: npt.NDArray[np.object_]
    category_names: npt.NDArray[np.object_]
    units: IntArray
    usual_units: FloatArray
    smoothed: FloatArray
    orders: IntArray
    amounts: FloatArray
    last_sale: IntArray
    category_codes: IntArray
    first_seen: IntArray
    first_sale: IntArray
    censored_since: npt.NDArray[np.int32]
    promoted: BoolArray
    uplifts: FloatArray
    closed: BoolArray

    @property
    def days(self) -> int:
        """Number of days from the first to the cutoff, both included."""
        return int(self.units.shape[1])

    @property
    def cutoff(self) -> date:
        """The last day known."""
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def points(self) -> IntArray:
        """Length of each product's series, in days from its first sale to the cutoff."""
        return self.days - self.first_sale

    @property
    def has_series(self) -> BoolArray:
        """Whether each product's series is long enough for a model."""
        return self.points >= MIN_POINTS

    @property
    def categories(self) -> npt.NDArray[np.object_]:
        """Each product's last category known at the cutoff."""
        return self.category_names[self.category_codes[:, -1]]

    @property
    def is_censored(self) -> BoolArray:
        """Whether each product is known at the cutoff to have been out of stock on each day, (products, days)."""
        return self.out_of_stock(slice(None))

    def out_of_stock(self, days: slice) -> BoolArray:
        """Tell the same of some days only, (products, those days): features ask for a few of hundreds."""
        return np.asarray(self.censored_since[:, days] < self.days)

    @property
    def closed_text(self) -> str:
        """The closed days up to the cutoff, YYYY-MM-DD: what two histories of the same sales may differ by."""
        days = np.flatnonzero(self.closed[:self.days]).tolist()
        return " ".join(str(self.first_day + timedelta(days=day)) for day in days)

    @property
    def planned_factor(self) -> FloatArray:
        """What plans multiply demand by on the next 7 days, (products, 7): 0 on closed ones, the uplift on promoted."""
        uplift = np.where(self.promoted[:, self.days:], self.uplifts[-1], 1.0)
        return np.where(self.closed[self.days:], 0.0, uplift)

    def usual_week(self, days: int, items: int) -> FloatArray:
        """Give the first items' units of the 7 days after so many, (items, 7): outliers cut off, promotions in them.

        On a day on which the shop sold nothing they are 0, whatever `usual_units` says of a closed one.
        """
        week = slice(days, days + PLANNED_DAYS)
        units = self.usual_units[:items, week] * np.where(self.promoted[:items, week], self.uplifts[week], 1.0)
        return np.where((self.units[:, week] > 0).any(axis=0), units, 0.0)

    def until(self, days: int) -> "DemandHistory":
        """Give the history as it stood after its first `days` days: later columns and products are gone."""
        if not 1 <= days <= self.days:
            raise ForecastError(f"a history of {self.days} days cannot be cut to {days}")
        known = int(np.searchsorted(self.first_seen, days, side="left"))
        return DemandHistory(
            self.first_day, self.product_ids[:known], self.category_names, self.units[:known, :days],
            self.usual_units[:known, :days], self.smoothed[:known, :days],
            self.orders[:known, :days], self.amounts[:known, :days], self.last_sale[:known, :days],
            self.category_codes[:known, :days],
            self.first_seen[:known], np.minimum(self.first_sale[:known], days),
            self.censored_since[:known, :days], self.promoted[:known, :days + PLANNED_DAYS], self.uplifts[:days],
            self.closed[:days + PLANNED_DAYS],
        )


def build_history(
    sales: pd.DataFrame, as_of: date, promotions: pd.DataFrame | None = None, closed_days: Sequence[date] = (),
) -> DemandHistory:
    """Lay checked sales (`inputs.Sales.rows`) out as a dense grid up to and including `as_of`.

    A day without a row is a day without demand: gold.daily_sales has rows of days with an event only.

    Args:
        promotions: of `promotions.read_promotions`.
        closed_days: ml.closed_days; those outside of the history and its next 7 days say nothing.

    Raises:
        ForecastError: the grid would not fit into memory: a date far off stretches it.
    """
    known = sales[sales["event_date"] <= pd.Timestamp(as_of)]
    first_day: date = known["event_date"].min().date()
    # Whole days: a difference of nanoseconds overflows after 292 years.
    day = (known["event_date"].to_numpy("datetime64[D]") - np.datetime64(first_day)).astype(np.int64)
    first_seen = pd.Series(day).groupby(known["product_id"].to_numpy()).min()
    order = np.lexsort((first_seen.index.to_numpy(str), first_seen.to_numpy()))
    product_ids = first_seen.index.to_numpy(object)[order]
    days = (as_of - first_day).days + 1
    if days * len(product_ids) > MAX_CELLS:
        raise ForecastError(
            f"{len(product_ids)} products over {days} days from {first_day} are more than {MAX_CELLS} "
            "product-days: is there a date far in the past? Give a shorter history with --data"
        )
    row = pd.Index(product_ids).get_indexer(pd.Index(known["product_id"]))
    category_codes, category_names = pd.factorize(known["category"], sort=True)
    units = np.zeros((len(product_ids), days), dtype=np.int64)
    units[row, day] = known["units"]
    amounts = np.zeros(units.shape) if known["gross_amount"].notna().any() else np.full(units.shape, np.nan)
    amounts[row, day] = known["gross_amount"]
    last_sale = np.maximum.accumulate(np.where(units > 0, np.arange(days), -1), axis=1)
    first_sale = np.where((units > 0).any(axis=1), (units > 0).argmax(axis=1), days).astype(np.int64)
    orders, views, carts = (
        _lay_out_counts(known, name, row, day, units.shape) for name in ("order_count", "view_count", "cart_count"))
    closed = np.isin(np.arange(days + PLANNED_DAYS), [(closed_day - first_day).days for closed_day in closed_days])
    # A day of the plan on which something was sold was open.
    is_shut = closed[:days] & ~(units > 0).any(axis=0)
    censored_since = find_stock_outs(units, np.where(is_shut, 0, views), carts)
    usual_units = cut_outliers(units)
    promoted, uplifts = np.broadcast_to(False, (len(units), days + PLANNED_DAYS)), np.ones(days)
    if promotions is not None:
        promoted = lay_out_promotions(promotions, product_ids, first_day, days + PLANNED_DAYS)
        is_promoted, each_day = promoted[:, :days], np.arange(days)
        # As each day itself knew it, and not as later ones did.
        is_usual = (each_day >= first_sale[:, np.newaxis]) & (censored_since > each_day) & ~is_shut
        uplifts = estimate_uplift(usual_units, is_promoted, is_usual)
        usual_units = cut_outliers(units / np.where(is_promoted, uplifts, 1.0))
    usual_units = fill_closed_days(usual_units, first_sale, np.flatnonzero(is_shut))
    return DemandHistory(
        first_day, product_ids, np.asarray(category_names, dtype=object), units, usual_units,
        _smooth(usual_units, first_sale, censored_since), orders, amounts, last_sale,
        _filled_forward(row, day, category_codes, units.shape), first_seen.to_numpy()[order].astype(np.int64),
        first_sale, censored_since, promoted, uplifts, closed,
    )


def _lay_out_counts(
    known: pd.DataFrame, name: str, row: IntArray, day: IntArray, shape: tuple[int, ...],
) -> IntArray:
    if name not in known or not known[name].any():
        return np.broadcast_to(np.int64(0), shape)
    counts = np.zeros(shape, dtype=np.int64)
    counts[row, day] = known[name]
    return counts


def cut_outliers(units: IntArray | FloatArray) -> FloatArray:
    """Cap each day's units at 5 times the item's mean per active day before that day, and never below 24.

    The first five active days stay as they are. One order of 74,215 units would otherwise teach more than a thousand
    ordinary days.
    """
    is_active = units > 0
    active_before: IntArray = np.cumsum(is_active, axis=1) - is_active
    units_before = np.cumsum(units, axis=1) - units
    cap = np.maximum(CLIP_FACTOR * units_before / np.maximum(active_before, 1), CLIP_LEAST_UNITS)
    return np.where(active_before >= CLIP_ACTIVE_DAYS, np.minimum(units, cap), units.astype(np.float64))


def fill_closed_days(units: FloatArray, first_sale: IntArray, closed: IntArray) -> FloatArray:
    """Give each product on each closed day what it usually sells on that weekday: the mean of the four before.

    Never of days before its first sale; in its first week the mean of the days since. Nothing on a weekday on which the
    shop never traded. So a holiday is no lull, and after a long closure everything stands as before it.

    Args:
        closed: column numbers, ascending.
    """
    filled = units.copy()
    for day in closed.tolist():
        weekday = np.arange(day % 7, day, 7)
        same = weekday[-FILLED_FROM_WEEKS:]
        count = (same >= first_sale[:, np.newaxis]).sum(axis=1)
        newest = filled[:, max(0, day - 7):day].sum(axis=1) / np.maximum(day - first_sale, 1)
        filled[:, day] = np.where(count > 0, filled[:, same].sum(axis=1) / np.maximum(count, 1), newest)
        if len(weekday) and not units[:, weekday].any():
            filled[:, day] = 0
    return filled


def _smooth(units: FloatArray, first_sale: IntArray, censored_since: npt.NDArray[np.int32]) -> FloatArray:
    """Smooth each series exponentially (Brown's simple smoothing); it starts at the first sale's units.

    As soon as a stock-out is known the level is what it was before it.
    """
    smoothed = np.zeros_like(units)
    level = np.zeros(len(units))
    has_stock_outs = (censored_since != NEVER).any()
    for day in range(units.shape[1]):
        newest = units[:, day]
        level = np.where(first_sale < day, level + SMOOTHING * (newest - level), np.where(first_sale == day, newest, 0))
        if has_stock_outs:
            rows = np.flatnonzero(censored_since[:, day] == day)
            start = (censored_since[rows] == day).argmax(axis=1)
            level[rows] = smoothed[rows, start - 1]
        smoothed[:, day] = level
    return smoothed


def _filled_forward(row: IntArray, day: IntArray, codes: IntArray, shape: tuple[int, ...]) -> IntArray:
    grid = np.full(shape, -1, dtype=np.int64)
    grid[row, day] = codes
    newest = np.maximum.accumulate(np.where(grid >= 0, np.arange(shape[1]), 0), axis=1)
    return np.take_along_axis(grid, newest, axis=1)
