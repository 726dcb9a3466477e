"""Stock-outs seen from what shoppers do: looks at an item, day after day, and never one into the cart.

A day on which an item could not be bought says nothing about how many would have been. Counted as a day without demand
it would lower the level, the next order would be smaller, and the item would be out of stock again.
"""

import numpy as np
import numpy.typing as npt

# So seldom would an item that can be bought be looked at so often in a row without one look ending in a cart …
LEAST_CHANCE = 0.005
# … and so long at the most; an item that nobody can buy for a month is not out of stock but gone.
LONGEST_DAYS = 28
# An item's own cart rate counts against the shop's as its looks do against so many.
PRIOR_LOOKS = 20
NEVER = np.iinfo(np.int32).max

Ints = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]


def find_stock_outs(units: Ints, views: Ints, carts: Ints) -> Days:
    """Tell of each product's day since when it is known to be censored, as a column number; NEVER for all others.

    A run begins with a look and ends with a cart or a sale. It is a stock-out as soon as so many looks without a cart
    have a chance below 1 in 200 at the rate at which looks at the item ended in a cart before the run; then all its
    days are, and those that follow in it, up to 28. Only items that were sold before can be out of stock.

    Each column is made of the days up to it, so what is known on a day is what the columns up to it say below it.

    Args:
        units: (products, days), as are the others; all 0 in `views` and `carts` where nothing is known of them.
    """
    if not views.any():
        return np.broadcast_to(np.int32(NEVER), units.shape)
    known_since = np.full(units.shape, NEVER, dtype=np.int32)
    products = len(units)
    has_sold, is_out = np.zeros((2, products), dtype=bool)
    looks, usual_views, usual_carts = np.zeros((3, products))
    start = np.zeros(products, dtype=np.int64)
    for day in range(units.shape[1]):
        is_bought = (units[:, day] > 0) | (carts[:, day] > 0)
        # A run that was no stock-out counts as usual once it has ended.
        usual_views += np.where(is_bought, np.where(is_out, 0, looks) + views[:, day], 0)
        usual_carts += carts[:, day]
        has_sold |= units[:, day] > 0
        start[(looks == 0) | is_bought] = day
        looks = np.where(is_bought, 0, looks + views[:, day])
        chance = looks * np.log1p(-_cart_rate(usual_views, usual_carts))
        was_out = is_out & ~is_bought
        is_out = has_sold & (chance < np.log(LEAST_CHANCE)) & (day - start < LONGEST_DAYS)
        known_since[is_out, day] = day
        for row in np.flatnonzero(is_out & ~was_out):
            known_since[row, start[row]:day] = day
        is_out |= was_out
    return known_since


def _cart_rate(views: npt.NDArray[np.float64], carts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    of_shop = carts.sum() / max(views.sum(), 1.0)
    rate = (carts + PRIOR_LOOKS * of_shop) / (views + PRIOR_LOOKS)
    return np.asarray(np.minimum(rate, 1 - LEAST_CHANCE), dtype=np.float64)
