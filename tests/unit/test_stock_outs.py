"""Days out of stock: found by a loop over days as the rule's words say, and left out of what is averaged."""

import math
import random
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import build_features, item_names
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.levels import item_level, rolling_mean
from shoplake.forecasting.stock_outs import NEVER, find_stock_outs
from shoplake.settings import load_settings

FIRST = date(2026, 3, 2)
SPEC = load_settings("local").ml.features

Days = list[tuple[int, int, int]]  # units, views, carts of each day


def history_of(items: dict[str, Days]) -> DemandHistory:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", *counts, float(counts[0]))
            for product, own in items.items() for day, counts in enumerate(own) if any(counts)]
    names = ["event_date", "product_id", "category", "units", "view_count", "cart_count", "gross_amount"]
    days = max(map(len, items.values()))
    return build_history(pd.DataFrame(rows, columns=names), FIRST + timedelta(days=days - 1))


def slow_out(items: dict[str, Days], cutoff: int) -> dict[str, set[int]]:
    """Find the days out of stock, as known after `cutoff` days, from the rule's words."""
    out: dict[str, set[int]] = {product: set() for product in items}
    runs: dict[str, list[int]] = {product: [] for product in items}  # its days, from the first look on
    views, carts = dict.fromkeys(items, 0), dict.fromkeys(items, 0)
    for day in range(cutoff):
        for product, own in items.items():
            units, seen, put = own[day]
            if units or put:
                views[product] += seen + (0 if out[product] & set(runs[product])
                                          else sum(own[other][1] for other in runs[product]))
                carts[product] += put
                runs[product] = []
            elif seen or runs[product]:
                runs[product].append(day)
        shop = sum(carts.values()) / max(sum(views.values()), 1)
        for product, own in items.items():
            rate = min((carts[product] + 20 * shop) / (views[product] + 20), 0.995)
            looks = sum(own[other][1] for other in runs[product])
            has_sold = any(units for units, _, _ in own[:day + 1])
            if has_sold and looks and looks * math.log(1 - rate) < math.log(0.005) and len(runs[product]) <= 28:
                out[product] |= set(runs[product])
    return out


def random_shop(seed: int, days: int = 70) -> dict[str, Days]:
    rng = random.Random(seed)
    items: dict[str, Days] = {}
    for number in range(12):
        own: Days = []
        left = 0  # days until it is in stock again
        for _ in range(days):
            left = rng.choice([1, 3, 9, 40]) if not left and rng.random() < 0.04 else max(left - 1, 0)
            seen = rng.randrange(2 + 3 * number)
            put = 0 if left else sum(rng.random() < 0.3 for _ in range(seen))
            own.append((2 * put, seen, put))
        items[f"P{number:02d}"] = own
    return items


@pytest.mark.parametrize("seed", range(3))
def test_days_out_of_stock_are_found_as_the_rule_says(seed: int) -> None:
    items = random_shop(seed)
    history = history_of(items)
    for days in (20, 45, 69, 70):
        known, expected = history.until(days), slow_out(items, days)
        for row, product in enumerate(known.product_ids):
            assert set(np.flatnonzero(known.is_censored[row])) == expected[product], (days, product)
    assert 30 < history.is_censored.sum() < 300


def test_a_run_is_known_from_the_look_on_that_makes_it_too_unlikely() -> None:
    usual: Days = [(1, 10, 5)] * 10
    # Half of the looks end in a cart: 8 without one have a chance of 1/256 < 1/200, and 7 have 1/128.
    items = {"A": [*usual, (0, 3, 0), (0, 0, 0), (0, 4, 0), (0, 1, 0), (0, 0, 0), (1, 2, 1), (0, 7, 0)]}
    history = history_of(items)
    assert not history.until(13).is_censored.any()
    assert np.flatnonzero(history.until(14).is_censored[0]).tolist() == [10, 11, 12, 13]
    assert np.flatnonzero(history.is_censored[0]).tolist() == [10, 11, 12, 13, 14]


def test_what_nobody_can_buy_for_more_than_four_weeks_is_gone() -> None:
    history = history_of({"A": [(1, 10, 5)] * 10 + [(0, 9, 0)] * 40})
    assert np.flatnonzero(history.is_censored[0]).tolist() == list(range(10, 38))


def test_nothing_is_out_of_stock_that_was_never_sold_or_where_no_looks_are_known() -> None:
    assert not history_of({"A": [(1, 10, 5)] * 30, "new": [(0, 50, 0)] * 30}).is_censored.any()
    assert not history_of({"A": [(1, 0, 0), (0, 0, 0)] * 20}).is_censored.any()
    assert not history_of({"A": [(1, 30, 0), (0, 90, 0)] * 20}).is_censored.any()  # a shop that tells no carts
    zeros = np.zeros((2, 5), dtype=np.int64)
    assert (find_stock_outs(zeros, zeros, zeros) == NEVER).all()


def test_levels_leave_the_days_out_of_stock_out() -> None:
    sold, out = (6, 20, 10), (0, 9, 0)
    steady = history_of({"A": [sold] * 60})
    gap = history_of({"A": [*[sold] * 50, *[out] * 5, *[sold] * 5]})
    still_out = history_of({"A": [*[sold] * 44, *[out] * 16]})
    for history in (gap, still_out):
        assert item_level(history).tolist() == item_level(steady).tolist() == [6]
        assert history.smoothed[0, -1] == 6
    assert rolling_mean(gap, gap.units, 14).tolist() == [6]
    # Counted as zero demand, the same sales have a lower level.
    blind = history_of({"A": [(units, 0, 0) for units, _, _ in [*[sold] * 50, *[out] * 5, *[sold] * 5]]})
    assert item_level(blind)[0] < 5


def test_features_do_not_take_a_day_out_of_stock_for_one_without_demand() -> None:
    history = history_of({"A": [*[(6, 20, 10)] * 55, *[(0, 9, 0)] * 5]})
    item = dict(zip(item_names(SPEC), build_features(history, SPEC).items[0].tolist(), strict=True))
    assert math.isnan(item["lag_1"])
    assert item["lag_7"] == item["week_1"] == item["rolling_mean_7"] == item["active_share_14"] == 1
    weekday = build_features(history, SPEC).days[0, :, -2:]
    assert (weekday == 1).all()


def test_a_day_that_becomes_known_later_leaves_no_trace_before() -> None:
    items = random_shop(7)
    whole = history_of(items)
    for days in (30, 51, 66):
        cut, then = whole.until(days), history_of({product: own[:days] for product, own in items.items()})
        assert cut.is_censored.tolist() == then.is_censored.tolist()
        assert cut.smoothed.tobytes() == then.smoothed.tobytes()
        for baseline in BASELINES:
            assert baseline.forecast(cut).units.tobytes() == baseline.forecast(then).units.tobytes()
