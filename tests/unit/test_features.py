"""Features against a slow computation from the raw rows, and against leakage."""

import math
import random
from collections import defaultdict
from datetime import date, timedelta
from statistics import mean, median

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.features import build_features, feature_names, hash_features, tabulate_features
from shoplake.forecasting.history import build_history
from shoplake.forecasting.models import BASELINES, forecast_items
from shoplake.forecasting.training import build_training_rows, fit_models
from shoplake.settings import FeatureSettings, load_settings

FIRST = date(2026, 3, 1)
DAYS = 100
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
            units = 0 if when.weekday() == 6 or rng.random() < 0.1 else rng.randrange(1, 9)
            category = f"c{product % 3}" if day < 60 or product != 4 else "c0"
            rows.append((pd.Timestamp(when), f"P{product:02d}", category, units, units * (5.0 + product + day % 4)))
    return pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])


def slow_features(sales: pd.DataFrame, cutoff: date, spec: FeatureSettings) -> dict[tuple[str, int], dict[str, float]]:
    """Compute every feature from the rows up to the cutoff with loops over days."""
    units: dict[str, dict[date, int]] = defaultdict(dict)
    amounts: dict[str, dict[date, float]] = defaultdict(dict)
    category: dict[str, str] = {}
    for row in sales.sort_values("event_date").to_dict("records"):
        when = row["event_date"].date()
        if when <= cutoff:
            units[row["product_id"]][when] = row["units"]
            amounts[row["product_id"]][when] = row["gross_amount"]
            category[row["product_id"]] = row["category"]
    days = [FIRST + timedelta(days=n) for n in range((cutoff - FIRST).days + 1)]
    shop = {day: sum(own.get(day, 0) for own in units.values()) for day in days}
    first_sale = {product: min((day for day, sold in own.items() if sold), default=None)
                  for product, own in units.items()}

    def calendar_mean(product: str, window: int) -> float:
        start = first_sale[product]
        wanted = [day for day in days[-window:] if start and day >= start]
        return mean(units[product].get(day, 0) for day in wanted) if wanted else 0.0

    def known_units(product: str, day: date) -> float:
        start = first_sale[product]
        return units[product].get(day, 0) if start and start <= day <= cutoff else math.nan

    weeks = [days[-7 * n:][:7] for n in range(min(8, len(days) // 7), 0, -1)]
    relative = [[shop[day] / mean(shop[other] for other in week) for day in week] for week in weeks
                if sum(shop[day] for day in week)]
    profile = [median(column) for column in zip(*relative, strict=True)]
    index = [value / mean(profile) for value in profile]
    trend = sum(shop[day] for day in days[-14:]) / sum(shop[day] for day in days[-28:-14]) if len(days) >= 28 else 1.0
    result = {}
    for product, own in units.items():
        start = first_sale[product]
        sold_days = sorted(day for day, sold in own.items() if sold)
        level = mean(calendar_mean(product, window) for window in (14, 28, 56))
        peers = [other for other in units if category[other] == category[product]
                 and (first_sale[other] or cutoff) < cutoff]
        recent_price_days = [day for day in sold_days if day in days[-30:]]
        last_price = amounts[product][sold_days[-1]] / own[sold_days[-1]] if sold_days else math.nan
        recent_units = sum(own[day] for day in recent_price_days)
        recent_amount = sum(amounts[product][day] for day in recent_price_days)
        mean_price = recent_amount / recent_units if recent_units else math.nan
        active = sum(day in days[-28:] for day in sold_days)
        item = {
            **{f"lag_{lag}": known_units(product, cutoff + timedelta(days=1 - lag)) for lag in spec.lags},
            **{f"rolling_mean_{window}": calendar_mean(product, window) for window in spec.rolling_windows},
            "level": level,
            "active_share_28": active / min(28, (cutoff - start).days + 1) if start else 0,
            "units_per_active_day": mean(own[day] for day in sold_days) if sold_days else 0.0,
            "days_since_last_sale": (cutoff - sold_days[-1]).days if sold_days else math.nan,
            "days_since_first_sale": (cutoff - start).days if start else math.nan,
            "category_mean_28": mean(calendar_mean(peer, 28) for peer in peers) if peers else math.nan,
            "last_price": last_price, "price_ratio_30": last_price / mean_price,
            "shop_trend_14": min(max(trend, 0.5), 2.0),
        }
        for horizon in range(1, 8):
            target = cutoff + timedelta(days=horizon)
            same = [known_units(product, target - timedelta(days=7 * back)) for back in range(1, 5)]
            same = [value for value in same if not math.isnan(value)]
            result[product, horizon] = item | {
                "horizon": horizon, "target_weekday": target.weekday(), "target_month": target.month,
                "target_day_of_year": (target - date(target.year, 1, 1)).days + 1,
                "weekday_mean_4": mean(same) if same else math.nan,
                "shop_weekday_index": index[horizon - 1], "seasonal_level": level * index[horizon - 1],
            }
    return result


@pytest.mark.parametrize("day", [9, 27, 57, 58, 80, 99])
def test_features_equal_a_slow_computation_from_the_rows(day: int) -> None:
    sales = make_sales()
    cutoff = FIRST + timedelta(days=day)
    history = build_history(sales, cutoff)
    features = build_features(history, SPEC)
    expected = slow_features(sales, cutoff, SPEC)
    assert len(expected) == features.shape[0] * 7
    for row, product in enumerate(history.product_ids):
        for horizon in range(1, 8):
            for column, name in enumerate(feature_names(SPEC)):
                if name == "category_mean_28" and math.isnan(expected[product, horizon][name]):
                    continue  # no item of the category has a series: the shop's mean, tested below
                assert features[row, horizon - 1, column] == pytest.approx(
                    expected[product, horizon][name], rel=1e-6, abs=1e-9, nan_ok=True), (product, horizon, name)


def test_known_answers_by_hand() -> None:
    # One product: 2 units on day 0, then 4 on days 7 and 8 at half the price; the cutoff is day 8, a Monday.
    rows = [(0, 2, 20.0), (7, 4, 20.0), (8, 4, 20.0)]
    sales = pd.DataFrame(
        [(pd.Timestamp(FIRST + timedelta(days=day)), "A", "c", units, amount) for day, units, amount in rows],
        columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, FIRST + timedelta(days=8))
    first = dict(zip(feature_names(SPEC), build_features(history, SPEC)[0, 0], strict=True))
    assert (first["lag_1"], first["lag_7"]) == (4, 0)
    assert math.isnan(first["lag_14"])
    assert first["rolling_mean_7"] == pytest.approx(8 / 7)
    assert first["rolling_mean_30"] == pytest.approx(10 / 9)
    assert first["active_share_28"] == pytest.approx(3 / 9)
    assert first["last_price"] == 5
    assert first["price_ratio_30"] == pytest.approx(5 / 6)
    assert (first["target_weekday"], first["target_month"], first["target_day_of_year"]) == (1, 3, 69)


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
            tuple(history.product_ids), tuple(history.categories), build_features(history, settings.features).tobytes(),
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
    settings = load_settings("local").ml
    sales = make_sales()
    rows = build_training_rows(build_history(sales, FIRST + timedelta(days=DAYS - 1)), settings)
    served, sold = [], []
    for days in range(14, DAYS - 7 + 1):  # days known at each cutoff
        cutoff = FIRST + timedelta(days=days - 1)
        history = build_history(sales[sales["event_date"] <= pd.Timestamp(cutoff)], cutoff)
        features = build_features(history, settings.features)[history.has_series]
        served.append(features.reshape(-1, features.shape[2]))
        by_day = sales.set_index(["product_id", "event_date"])["units"]
        sold += [by_day.get((product, pd.Timestamp(cutoff + timedelta(days=horizon))), 0)
                 for product in history.product_ids[history.has_series] for horizon in range(1, 8)]
    np.testing.assert_array_equal(rows.features, np.concatenate(served))
    assert rows.units.tolist() == sold


def test_more_rows_than_the_limit_are_a_seeded_share() -> None:
    settings = load_settings("local").ml
    history = build_history(make_sales(), FIRST + timedelta(days=DAYS - 1))
    everything = build_training_rows(history, settings)
    limited = settings.model_copy(update={"max_training_rows": len(everything.units) // 4})
    one, other = build_training_rows(history, limited), build_training_rows(history, limited)
    np.testing.assert_array_equal(one.features, other.features)
    assert len(one.units) == pytest.approx(len(everything.units) / 4, rel=0.15)


def test_the_table_for_people_has_keys_and_every_feature() -> None:
    history = build_history(make_sales(), FIRST + timedelta(days=50))
    table = tabulate_features(history, SPEC)
    assert list(table.columns) == ["as_of_date", "target_date", "product_id", "category", *feature_names(SPEC)]
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
    many = pd.DataFrame({"event_date": pd.Timestamp(FIRST), "product_id": [f"P{n}" for n in range(2000)],
                         "category": "c", "units": 1, "gross_amount": 1.0})
    with pytest.raises(ForecastError, match="date far in the past"):
        build_history(pd.concat([stray, many]), FIRST)
