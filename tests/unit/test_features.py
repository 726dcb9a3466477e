"""Features against a slow computation from the raw rows, and against leakage."""

import math
import random
from collections import defaultdict
from datetime import date, timedelta
from itertools import pairwise
from statistics import mean, median

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.features import (
    build_features,
    feature_names,
    hash_features,
    item_names,
    tabulate_features,
)
from shoplake.forecasting.forecasters import forecast_items
from shoplake.forecasting.history import build_history
from shoplake.forecasting.training import build_training_rows, first_training_day, fit_models
from shoplake.sections import FeatureSettings
from shoplake.settings import load_settings

FIRST = date(2026, 3, 1)
DAYS = 120
SPEC = FeatureSettings(lags=(1, 7, 14, 28), rolling_windows=(7, 14, 30))


def make_sales(days: int = DAYS, products: int = 12, seed: int = 3) -> pd.DataFrame:
    """Make sales with gaps, late starters, closed Sundays, a category that changes, and views without sales."""
    rng = random.Random(seed)
    rows = []
    for product in range(products):
        for day in range(product * 5, days):
            when = FIRST + timedelta(days=day)
            if day and rng.random() < 0.3:  # the first day has a row, so that the grid starts on it
                continue
            units = 0 if when.weekday() == 6 or rng.random() < 0.1 else rng.choice([*range(1, 9), 90])
            category = f"c{product % 3}" if day < 60 or product != 4 else "c0"
            orders = min(units, 1 + (units + day) % 4)
            rows.append((
                pd.Timestamp(when), f"P{product:02d}", category, units, units * (5.0 + product + day % 4), orders))
    return pd.DataFrame(
        rows, columns=["event_date", "product_id", "category", "units", "gross_amount", "order_count"])


def slow_usual(units: list[int]) -> list[float]:
    """Cut outliers off with a loop: 5 times the mean of the active days before, never below 24, from the sixth on."""
    usual: list[float] = []
    for day, sold in enumerate(units):
        active = [before for before in units[:day] if before > 0]
        usual.append(min(sold, max(5 * mean(active), 24)) if len(active) >= 5 else sold)
    return usual


def slow_features(sales: pd.DataFrame, cutoff: date, spec: FeatureSettings) -> dict[tuple[str, int], dict[str, float]]:
    """Compute every feature from the rows up to the cutoff with loops over days."""
    units: dict[str, dict[date, int]] = defaultdict(dict)
    amounts: dict[str, dict[date, float]] = defaultdict(dict)
    orders: dict[str, dict[date, int]] = defaultdict(dict)
    category: dict[str, str] = {}
    for row in sales.sort_values("event_date").to_dict("records"):
        when = row["event_date"].date()
        if when <= cutoff:
            units[row["product_id"]][when] = row["units"]
            amounts[row["product_id"]][when] = row["gross_amount"]
            orders[row["product_id"]][when] = row["order_count"]
            category[row["product_id"]] = row["category"]
    days = [FIRST + timedelta(days=n) for n in range((cutoff - FIRST).days + 1)]
    usual = {product: dict(zip(days, slow_usual([own.get(day, 0) for day in days]), strict=True))
             for product, own in units.items()}
    shop = {day: sum(own[day] for own in usual.values()) for day in days}
    first_sale = {product: min((day for day, sold in own.items() if sold), default=None)
                  for product, own in units.items()}

    def since_sale(product: str, window: int) -> list[date]:
        start = first_sale[product]
        return [day for day in days[-window:] if start and day >= start]

    def usual_mean(product: str, window: int) -> float:
        wanted = since_sale(product, window)
        return mean(usual[product][day] for day in wanted) if wanted else 0.0

    def orders_mean(product: str, window: int) -> float:
        wanted = since_sale(product, window)
        return mean(orders[product].get(day, 0) for day in wanted) if wanted else 0.0

    def usual_per_order(product: str, window: int) -> float:
        count = sum(orders[product].get(day, 0) for day in days[-window:])
        return sum(usual[product][day] for day in days[-window:]) / max(count, 1)

    def usual_at(product: str, day: date) -> float:
        start = first_sale[product]
        return usual[product][day] if start and start <= day <= cutoff else math.nan

    def week_mean(product: str, back: int) -> float:
        week = days[-7 * back:][:7] if len(days) >= 7 * back else []
        start = first_sale[product]
        return mean(usual[product][day] for day in week) if week and start and start <= week[0] else math.nan

    def week_step(product: str) -> float:
        own = [sum(units[product].get(day, 0) for day in days[-7 * back:][:7])
               for back in range(1, len(since_sale(product, len(days))) // 7 + 1)]
        steps = [(one - other) ** 2 for one, other in pairwise(own)]
        return math.sqrt(mean(steps)) if sum(steps) else 1.0

    weeks = [days[-7 * n:][:7] for n in range(min(8, len(days) // 7), 0, -1)]
    relative = [[shop[day] / mean(shop[other] for other in week) for day in week] for week in weeks
                if sum(shop[day] for day in week)]
    profile = [median(column) for column in zip(*relative, strict=True)] or [1.0] * 7
    index = [value / mean(profile) for value in profile]
    trend = 1.0
    if len(days) >= 28:
        ratio = sum(shop[day] for day in days[-14:]) / sum(shop[day] for day in days[-28:-14])
        trend = min(max(math.sqrt(ratio), 0.8), 1.25)
    result = {}
    for product, own in units.items():
        start = first_sale[product]
        sold_days = sorted(day for day, sold in own.items() if sold)
        alive = since_sale(product, len(days))
        smoothed = usual[product][start] if start else 0.0
        for day in alive[1:]:
            smoothed += 0.03 * (usual[product][day] - smoothed)
        true_level = mean([*(usual_mean(product, window) for window in (14, 28, 56)), smoothed])
        level = max(true_level, 0.01)
        peers = [other for other in units if category[other] == category[product]
                 and (first_sale[other] or cutoff) < cutoff]
        recent_days = [day for day in sold_days if day in days[-56:]]
        has_price = bool(sold_days) and amounts[product][sold_days[-1]] > 0
        last_price = amounts[product][sold_days[-1]] / own[sold_days[-1]] if has_price else math.nan
        recent_units = sum(own[day] for day in recent_days)
        mean_price = sum(amounts[product][day] for day in recent_days) / recent_units if recent_units else math.nan
        month = since_sale(product, 28)
        category_month = mean(usual_mean(peer, 28) for peer in peers) if peers else math.nan
        category_week = mean(usual_mean(peer, 7) for peer in peers) if peers else math.nan
        old = [other for other in units if (first_sale[other] or cutoff) < cutoff]
        shop_week = sum(usual_mean(other, 7) for other in old) / sum(usual_mean(other, 28) for other in old)
        size = usual_per_order(product, len(days))
        item = {
            "log_level": math.log(level),
            **{f"lag_{lag}": usual_at(product, cutoff + timedelta(days=1 - lag)) / level for lag in spec.lags},
            **{f"rolling_mean_{window}": usual_mean(product, window) / level for window in spec.rolling_windows},
            "smoothed": smoothed / level,
            **{f"active_share_{window}": mean(own.get(day, 0) > 0 for day in since_sale(product, window))
               if alive else 0.0 for window in (7, 14, 28, 56)},
            "units_per_active_day": mean(own[day] for day in sold_days) / level if sold_days else 0.0,
            "days_between_sales": len(alive) / max(len(sold_days), 1),
            "days_since_last_sale": (cutoff - sold_days[-1]).days if sold_days else math.nan,
            "days_since_first_sale": (cutoff - start).days if start else math.nan,
            "variation_28": math.sqrt(mean(usual[product][day] ** 2 for day in month)) / level if month else 0.0,
            "peak_28": max(usual[product][day] for day in days[-28:]) / level,
            "outlier_share_28":
                mean(own.get(day, 0) - usual[product][day] for day in month) / level if month else 0.0,
            **{f"week_{back}": week_mean(product, back) / level for back in range(1, 5)},
            "week_step": week_step(product) / (7 * level),
            "log_price": math.log(last_price) if has_price else math.nan,
            "price_ratio_56": last_price / mean_price,
            "category_level": category_month / level, "category_trend": category_week / category_month / shop_week,
            **{f"ordered_level_{window}": orders_mean(product, window) * size / level
               for window in (7, 14, 28, 56, 112)},
            "order_trend_14_56": orders_mean(product, 14) / max(orders_mean(product, 56), 0.01),
            "order_trend_28_112": orders_mean(product, 28) / max(orders_mean(product, 112), 0.01),
            "units_per_order": size, "order_size_ratio_56": usual_per_order(product, 56) / size if size else math.nan,
            "log_order_mean_56": math.log(max(orders_mean(product, 56), 0.01)),
        }
        for horizon in range(1, 8):
            target = cutoff + timedelta(days=horizon)
            same = {weeks_back: [usual_at(product, target - timedelta(days=7 * back))
                                 for back in range(1, min(weeks_back, len(days) // 7) + 1)] for weeks_back in (4, 8)}
            known = {back: [value for value in values if not math.isnan(value)] for back, values in same.items()}
            result[product, horizon] = item | {
                "horizon": horizon, "target_weekday": target.weekday(), "week_profile": index[horizon - 1],
                **{f"weekday_mean_{back}": mean(values) / level if values else math.nan
                   for back, values in known.items()},
                "seasonal_level": true_level * index[horizon - 1] * trend,
            }
    return result


@pytest.mark.parametrize("day", [3, 5, 9, 27, 57, 58, 80, 99])
def test_features_equal_a_slow_computation_from_the_rows(day: int) -> None:
    sales = make_sales()
    cutoff = FIRST + timedelta(days=day)
    history = build_history(sales, cutoff)
    features = build_features(history, SPEC)
    expected = slow_features(sales, cutoff, SPEC)
    assert len(expected) == features.values.shape[0] * 7
    for row, product in enumerate(history.product_ids):
        for horizon in range(1, 8):
            slow = expected[product, horizon]
            assert features.base[row, horizon - 1] == pytest.approx(slow["seasonal_level"]), (product, horizon)
            for column, name in enumerate(feature_names(SPEC)):
                if name.startswith("category_") and math.isnan(slow[name]):
                    continue  # no item of the category has a series: the shop's mean, tested elsewhere
                assert features.values[row, horizon - 1, column] == pytest.approx(
                    slow[name], rel=1e-5, abs=1e-6, nan_ok=True), (product, horizon, name)


def test_in_a_shop_of_one_category_its_trend_is_1() -> None:
    rng = random.Random(1)
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{product}", "c", rng.randrange(9), 1.0)
            for product in range(5) for day in range(60)]
    rows.append((pd.Timestamp(FIRST + timedelta(days=59)), "new", "c", 500, 1.0))
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    features = build_features(build_history(sales, FIRST + timedelta(days=59)), SPEC)
    trend = features.items[:, item_names(SPEC).index("category_trend")]
    np.testing.assert_allclose(trend, 1.0, rtol=1e-6)


def test_a_category_that_comes_later_changes_no_stand_in_by_one_bit() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{product}", f"c{product}", rng.randrange(90), 1.0)
                for product in range(9) for day in range(60)]
        rows.append((pd.Timestamp(FIRST + timedelta(days=59)), "peerless", "own", 5, 1.0))
        later = (pd.Timestamp(FIRST + timedelta(days=65)), "later", "a category before all", 5, 1.0)
        columns = ["event_date", "product_id", "category", "units", "gross_amount"]
        now = build_history(pd.DataFrame(rows, columns=columns), FIRST + timedelta(days=59))
        then = build_history(pd.DataFrame([*rows, later], columns=columns), FIRST + timedelta(days=70)).until(60)
        seen = {forecast_items(BASELINES[0], history).units.tobytes() for history in (now, then)}
        assert len(seen) == 1, seed


def test_known_answers_by_hand() -> None:
    # One product: 2 units on day 0, then 4 on days 7 and 8 at half the price; the cutoff is day 8, a Monday.
    rows = [(0, 2, 20.0), (7, 4, 20.0), (8, 4, 20.0)]
    sales = pd.DataFrame(
        [(pd.Timestamp(FIRST + timedelta(days=day)), "A", "c", units, amount) for day, units, amount in rows],
        columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, FIRST + timedelta(days=8))
    features = build_features(history, SPEC)
    first = dict(zip(feature_names(SPEC), features.values[0, 0], strict=True))
    smoothed = 2 * 0.97**6
    for _ in range(2):
        smoothed += 0.03 * (4 - smoothed)
    level = (3 * 10 / 9 + smoothed) / 4
    assert first["log_level"] == pytest.approx(math.log(level))
    assert (first["lag_1"], first["lag_7"]) == (pytest.approx(4 / level), 0)
    assert math.isnan(first["lag_14"])
    assert first["rolling_mean_7"] == pytest.approx(8 / 7 / level)
    assert first["rolling_mean_30"] == pytest.approx(10 / 9 / level)
    assert first["active_share_28"] == pytest.approx(3 / 9)
    assert first["log_price"] == pytest.approx(math.log(5))
    assert first["price_ratio_56"] == pytest.approx(5 / 6)
    assert (first["horizon"], first["target_weekday"]) == (1, 1)
    # One whole week: 0 units on six days and 4 on the two last, of which the first is a Tuesday a week back … a Sunday.
    assert features.base[0].tolist() == pytest.approx([0, 0, 0, 0, 0, level * 3.5, level * 3.5])


def corrupted_after(sales: pd.DataFrame, cutoff: date) -> pd.DataFrame:
    """Change every row after the cutoff, and add products and categories that were never seen before."""
    after = sales[sales["event_date"] > pd.Timestamp(cutoff)]
    strange = after.assign(units=after["units"] * 1000 + 7, gross_amount=0.01, category="aaa")
    new = strange.assign(product_id="A-" + strange["product_id"])
    return pd.concat([new, strange, sales[sales["event_date"] <= pd.Timestamp(cutoff)]], ignore_index=True)


def test_nothing_after_the_cutoff_changes_a_feature_or_a_forecast_by_one_bit() -> None:
    settings = load_settings("local").ml
    sales, cutoff = make_sales(), FIRST + timedelta(days=70)
    known = sales[sales["event_date"] <= pd.Timestamp(cutoff)]
    full = build_history(sales, FIRST + timedelta(days=DAYS - 1)).until(71)
    histories = [full, build_history(sales, cutoff), build_history(known, cutoff),
                 build_history(corrupted_after(sales, cutoff), cutoff),
                 build_history(corrupted_after(sales, cutoff), FIRST + timedelta(days=DAYS - 1)).until(71)]
    seen = set()
    for history in histories:
        forecasters = (*fit_models(history, settings), *BASELINES)
        seen.add((
            tuple(history.product_ids), tuple(history.categories),
            build_features(history, settings.features).values.tobytes(),
            *(model.version for model in forecasters),
            *(forecast_items(model, history).units.tobytes() for model in forecasters),
        ))
    assert len(seen) == 1


@pytest.mark.parametrize("days", [1, 6, 30, 59, 100])
def test_a_history_cut_is_the_history_as_it_was(days: int) -> None:
    sales = make_sales()
    cut = build_history(sales, FIRST + timedelta(days=DAYS - 1)).until(days)
    then = build_history(sales, FIRST + timedelta(days=days - 1))
    for field in ("product_ids", "units", "amounts", "last_sale", "first_seen", "first_sale", "categories", "points"):
        np.testing.assert_array_equal(getattr(cut, field), getattr(then, field), err_msg=field)
    assert cut.cutoff == then.cutoff


def test_training_sees_of_each_cutoff_what_serving_would_have_seen() -> None:
    settings = load_settings("local").ml.model_copy(update={"train_every": 3})
    sales = make_sales()
    rows = build_training_rows(build_history(sales, FIRST + timedelta(days=DAYS - 1)), settings)
    served, base, sold = [], [], []
    for days in range(DAYS - 7, first_training_day(DAYS) - 1, -3):  # days known at each cutoff
        cutoff = FIRST + timedelta(days=days - 1)
        history = build_history(sales[sales["event_date"] <= pd.Timestamp(cutoff)], cutoff)
        features = build_features(history, settings.features)
        is_item = (history.points >= 14) & ((history.units > 0).sum(axis=1) >= 3)
        week = features.base.sum(axis=1)
        is_row = is_item & (week > 0)
        served.append(features.items[is_row])
        base.append(week[is_row])
        weeks = []
        by_day = sales.set_index(["product_id", "event_date"])["units"]
        for row, product in enumerate(history.product_ids):
            known = [int(by_day.get((product, pd.Timestamp(FIRST + timedelta(days=day))), 0))
                     for day in range(days + 7)]
            if is_row[row]:
                weeks.append(sum(slow_usual(known)[days:]))
        # What moved the whole shop is taken out.
        sold += [units * week[is_row].sum() / sum(weeks) for units in weeks]
    np.testing.assert_array_equal(rows.features, np.concatenate(served))
    np.testing.assert_array_equal(rows.base, np.concatenate(base))
    assert rows.units.tolist() == pytest.approx(sold)
    assert rows.weights.mean() == pytest.approx(1)


def test_more_rows_than_the_limit_are_a_seeded_share() -> None:
    settings = load_settings("local").ml
    history = build_history(make_sales(), FIRST + timedelta(days=DAYS - 1))
    everything = build_training_rows(history, settings)
    limited = settings.model_copy(update={"max_training_rows": len(everything.units) // 4})
    one, other = build_training_rows(history, limited), build_training_rows(history, limited)
    np.testing.assert_array_equal(one.features, other.features)
    assert len(one.units) == pytest.approx(len(everything.units) / 4, rel=0.25)


def test_the_table_for_people_has_keys_and_every_feature() -> None:
    history = build_history(make_sales(), FIRST + timedelta(days=50))
    table = tabulate_features(history, SPEC)
    assert list(table.columns) == [
        "as_of_date", "target_date", "product_id", "category", *feature_names(SPEC), "seasonal_level"]
    assert not table.duplicated(["product_id", "target_date"]).any()
    assert set(table["target_date"]) == {FIRST + timedelta(days=50 + horizon) for horizon in range(1, 8)}
    row = table[(table["product_id"] == "P03") & (table["horizon"] == 2)].iloc[0]
    expected = slow_features(make_sales(), FIRST + timedelta(days=50), SPEC)["P03", 2]
    assert row["rolling_mean_14"] == pytest.approx(expected["rolling_mean_14"])


def test_another_feature_list_is_another_hash() -> None:
    assert hash_features(SPEC) == hash_features(SPEC.model_copy())
    assert hash_features(SPEC) != hash_features(FeatureSettings(lags=(1, 7), rolling_windows=(7, 14, 30)))


def test_a_date_far_off_is_refused_before_it_fills_the_memory() -> None:
    stray = pd.DataFrame({"event_date": [pd.Timestamp("1700-01-01")], "product_id": "X", "category": "c", "units": 1,
                          "gross_amount": 1.0})
    many = pd.DataFrame({"event_date": pd.Timestamp(FIRST), "product_id": [f"P{n}" for n in range(1000)],
                         "category": "c", "units": 1, "gross_amount": 1.0})
    with pytest.raises(ForecastError, match="date far in the past"):
        build_history(pd.concat([stray, many]), FIRST)
