"""Promotions: a file of when what is offered at a lower price, past and planned, and what that has sold so far.

A plan is known in advance, sales are not: days after the cutoff may act on a forecast through this file and nothing
else. Whoever forecasts a past day has to give the plans as they stood on it.
"""

import logging
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoplake.errors import ForecastError
from shoplake.text_table import read_text_table

COLUMNS = ("product_id", "from_date", "to_date")
# An item's usual day is the mean of its days without a promotion among so many before …
USUAL_DAYS = 56
# … of which there must be so many.
LEAST_USUAL_DAYS = 14
# The uplift counts as so many promoted days of an item have shown it to be 1.
PRIOR_DAYS = 20
UPLIFT_LIMITS = (0.5, 10.0)

# Products that a warning names.
SHOWN = 5

LOG = logging.getLogger("shoplake.forecasting")

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def read_promotions(file: Path | None) -> pd.DataFrame | None:
    """Read a CSV with product_id, from_date and to_date (YYYY-MM-DD, both inclusive), one row per promotion.

    Without a file there is nothing to read, and nothing is known of promotions.

    Raises:
        ForecastError: no such file, other columns, or a row that is no promotion; the message names the row.
    """
    if file is None:
        return None
    texts = read_text_table(file, COLUMNS, ForecastError).to_pandas()
    days = {name: pd.to_datetime(texts[name], format="%Y-%m-%d", errors="coerce") for name in COLUMNS[1:]}
    for is_bad, fault in (
        (texts["product_id"] == "", "an empty product_id"),
        (days["from_date"].isna() | days["to_date"].isna(), "a day that is not written YYYY-MM-DD"),
        (days["to_date"] < days["from_date"], "a to_date before its from_date"),
    ):
        if is_bad.any():
            first = int(is_bad.argmax())
            raise ForecastError(f"{file}: {int(is_bad.sum())} row(s) with {fault}, the first in row {first + 1} "
                                f"({', '.join(texts.loc[first, list(COLUMNS)])})")
    return pd.DataFrame({"product_id": texts["product_id"], **days})


def lay_out_promotions(
    promotions: pd.DataFrame, product_ids: npt.NDArray[np.object_], first_day: date, days: int,
) -> Flags:
    """Tell whether each product is promoted on each of so many days from the first on, (products, days).

    Promotions of products that are not among them are left out with a warning, and so are days before and after.
    """
    is_promoted = np.zeros((len(product_ids), days), dtype=bool)
    rows = pd.Index(product_ids).get_indexer(pd.Index(promotions["product_id"]))
    if (rows < 0).any():
        unknown = sorted(set(promotions["product_id"][rows < 0]))
        LOG.warning("%d product(s) of the promotions have no row in the history up to its cutoff and are left out: %s",
                    len(unknown), ", ".join([*unknown[:SHOWN], *(["…"] if len(unknown) > SHOWN else [])]))
    start = np.datetime64(first_day)
    bounds = [(promotions[name].to_numpy("datetime64[D]") - start).astype(np.int64) for name in COLUMNS[1:]]
    for row, begin, end in zip(rows, *bounds, strict=True):
        if row >= 0:
            is_promoted[row, max(begin, 0):max(end + 1, 0)] = True
    return is_promoted


def estimate_uplift(units: Floats, is_promoted: Flags, is_usual: Flags) -> Floats:
    """Give what promotions multiply demand by, as it is known on each day from the days up to it, (days,).

    What promoted items sold, over what was to be expected of them: the mean of their usual days before, times what the
    other items sold on that day over the same of theirs. One figure for all items, drawn towards 1 as if 20 promoted
    days had shown that.

    Args:
        units: without outliers, (products, days).
        is_usual: whether a day tells of the item's usual demand, on sale and in stock, promoted or not.
    """
    is_plain = is_usual & ~is_promoted
    usual, is_known = _usual_units(units * is_plain, is_plain)
    others, lifted = is_plain & is_known, is_promoted & is_usual & is_known
    expected = (usual * others).sum(axis=0)
    of_day = np.divide((units * others).sum(axis=0), expected, out=np.zeros(len(expected)), where=expected > 0)
    lifted &= of_day > 0
    sold = np.cumsum((units * lifted).sum(axis=0))
    expected = np.cumsum((usual * lifted).sum(axis=0) * of_day)
    seen = np.divide(sold, expected, out=np.ones(len(expected)), where=expected > 0)
    count = np.cumsum(lifted.sum(axis=0))
    return np.asarray(np.clip(1 + (seen - 1) * count / (count + PRIOR_DAYS), *UPLIFT_LIMITS), dtype=np.float64)


def _usual_units(units: Floats, is_plain: Flags) -> tuple[Floats, Flags]:
    """Give the mean of the plain days among the 56 before each day, and whether there are enough of them."""
    total, count = (_sum_before(grid) for grid in (units, is_plain))
    return total / np.maximum(count, 1), count >= LEAST_USUAL_DAYS


def _sum_before(grid: npt.NDArray[np.generic]) -> Floats:
    sums = np.cumsum(np.pad(grid.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    before = sums[:, :-1]
    return np.asarray(before - np.pad(before, ((0, 0), (USUAL_DAYS, 0)))[:, :before.shape[1]], dtype=np.float64)
