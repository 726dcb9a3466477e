"""Promotions: what a file may say, what they are found to sell, and that a plan is all that is told of the future."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.levels import item_level, seasonal_level
from shoplake.forecasting.names import WMIXT
from shoplake.forecasting.promotions import lay_out_promotions, read_promotions

FIRST = date(2026, 3, 2)


def sales_of(series: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", sold, float(sold))
            for product, units in series.items() for day, sold in enumerate(units)]
    return pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])


def plan_of(*promotions: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame([(product, pd.Timestamp(FIRST + timedelta(days=int(begin))), pd.Timestamp(
        FIRST + timedelta(days=int(end)))) for product, begin, end in promotions],
        columns=["product_id", "from_date", "to_date"])


def history_of(series: dict[str, list[int]], plan: pd.DataFrame | None) -> DemandHistory:
    days = len(next(iter(series.values())))
    return build_history(sales_of(series), FIRST + timedelta(days=days - 1), plan)


# On the days 30 to 39 A is promoted and sells three times as much; on the day 39 the whole shop sells double.
SHOP = {
    "A": [10] * 30 + [30] * 9 + [60] + [10] * 20,
    "B": [20] * 39 + [40] + [20] * 20,
    "C": [5] * 39 + [10] + [5] * 20,
}
PLAN = plan_of(("A", 30, 39), ("B", 62, 70), ("C", 66, 66))


def test_the_uplift_is_what_promoted_items_sell_beyond_their_usual_days_and_the_shops_day() -> None:
    history = history_of(SHOP, PLAN)
    # 10 promoted days show 3, and 20 that nobody saw say 1.
    assert history.uplifts[-1] == pytest.approx(1 + 2 * 10 / 30)
    assert history.uplifts[29] == 1
    assert history.uplifts[32] == pytest.approx(1 + 2 * 3 / 23)  # three days of it


def test_much_evidence_shows_the_uplift_itself() -> None:
    rng = np.random.default_rng(2)
    days, items = 300, 30
    promoted = rng.random((items, days + 7)) < 0.1
    promoted[:, :20] = False
    means = np.exp(rng.normal(2, 1, (items, 1))) * (1 + 0.5 * np.sin(np.arange(days) / 9))
    units = rng.poisson(means * np.where(promoted[:, :days], 1.8, 1))
    plan = plan_of(*[(f"P{row:02d}", day, day) for row, day in zip(*np.nonzero(promoted), strict=True)])
    history = history_of({f"P{row:02d}": own.tolist() for row, own in enumerate(units)}, plan)
    assert history.uplifts[-1] == pytest.approx(1.8, rel=0.04)
    names = history.product_ids.tolist()
    factor = seasonal_level(history) / seasonal_level(history_of(
        {f"P{row:02d}": own.tolist() for row, own in enumerate(units)}, plan[plan["from_date"] < pd.Timestamp(
            FIRST + timedelta(days=days))]))
    planned = promoted[[int(name[1:]) for name in names], days:]
    np.testing.assert_allclose(factor, np.where(planned, history.uplifts[-1], 1))


def test_levels_are_clean_of_promotions_and_planned_days_are_lifted() -> None:
    history = history_of(SHOP, PLAN)
    level = {product: value for product, value in zip(history.product_ids, item_level(history), strict=True)}
    blind = dict(zip(history.product_ids, item_level(history_of(SHOP, None)), strict=True))
    assert level["A"] < blind["A"]
    assert level["B"] == blind["B"]
    wmixt = next(baseline for baseline in BASELINES if baseline.name == WMIXT).forecast(history).units
    plain = history_of(SHOP, plan_of(("A", 30, 39)))
    factor = wmixt / seasonal_level(plain)
    uplift = history.uplifts[-1]
    # Days 60 to 66 are forecast.
    np.testing.assert_allclose(factor, [[1] * 7, [1, 1, *[uplift] * 5], [*[1] * 6, uplift]])


def test_without_promotions_nothing_changes_by_one_bit() -> None:
    none, empty = history_of(SHOP, None), history_of(SHOP, plan_of(("unknown", 3, 9)))
    for baseline in BASELINES:
        assert baseline.forecast(none).units.tobytes() == baseline.forecast(empty).units.tobytes()


@pytest.mark.parametrize("days", [33, 45, 55])
def test_a_cut_history_knows_its_past_promotions_and_the_plan_of_seven_days(days: int) -> None:
    whole = history_of(SHOP, PLAN).until(days)
    then = history_of({product: units[:days] for product, units in SHOP.items()}, PLAN)
    # What was sold later, and what is planned for later than the seven days, is nothing to it.
    spoilt = {product: units[:days] + [999] * (60 - days) for product, units in SHOP.items()}
    near = PLAN[PLAN["from_date"] <= pd.Timestamp(FIRST + timedelta(days=days + 6))]
    spoilt_cut = history_of(spoilt, pd.concat([near, plan_of(("C", days + 7, days + 20))])).until(days)
    for other in (then, spoilt_cut):
        assert whole.uplifts.tobytes() == other.uplifts.tobytes()
        assert whole.promoted.tolist() == other.promoted.tolist()
        assert seasonal_level(whole).tobytes() == seasonal_level(other).tobytes()


def test_a_plan_is_laid_out_with_both_its_days_and_cut_at_the_ends() -> None:
    plan = plan_of(("A", -5, 1), ("B", 2, 2), ("B", 4, 90), ("C", -9, -3))
    grid = lay_out_promotions(plan, np.array(["A", "B", "C"], dtype=object), FIRST, 6)
    assert grid.astype(int).tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1], [0] * 6]


def test_an_unknown_product_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    grid = lay_out_promotions(plan_of(("A", 0, 0), ("X9", 0, 2)), np.array(["A"], dtype=object), FIRST, 3)
    assert grid.astype(int).tolist() == [[1, 0, 0]]
    assert "1 product(s) of the promotions have no row in the history" in caplog.text
    assert "X9" in caplog.text


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("to_date,product_id,from_date\n2026-03-09,00123,2026-03-08\n2026-04-01,NA,2026-04-01\n")
    plan = read_promotions(file)
    assert plan is not None
    assert plan.to_dict("list") == {
        "product_id": ["00123", "NA"], "from_date": [pd.Timestamp("2026-03-08"), pd.Timestamp("2026-04-01")],
        "to_date": [pd.Timestamp("2026-03-09"), pd.Timestamp("2026-04-01")]}
    file.write_text("product_id,from_date,to_date\n")
    assert len(read_promotions(file)) == 0  # type: ignore[arg-type]
    assert read_promotions(None) is None


@pytest.mark.parametrize(("text", "message"), [
    ("product_id,from_date,to_date\nA,2026-03-01,2026-03-02\nA,2026-03-09,2026-03-08\n",
     r"1 row\(s\) with a to_date before its from_date, the first in row 2 \(A, 2026-03-09, 2026-03-08\)"),
    ("product_id,from_date,to_date\nA,soon,2026-03-02\n", "a day that is not written YYYY-MM-DD.*row 1.*soon"),
    ("product_id,from_date,to_date\nA,2026-02-30,2026-03-02\n", "a day that is not written YYYY-MM-DD"),
    ("product_id,from_date,to_date\n,2026-03-01,2026-03-02\n", "an empty product_id"),
    ("product_id,from_date\nA,2026-03-01\n", "holds the column.s. product_id, from_date; needed are"),
    ("product_id,from_date,to_date,price\nA,2026-03-01,2026-03-02,3\n", "price; needed are .* and no other"),
    ("", "cannot read"),
])
def test_a_bad_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(text)
    with pytest.raises(ForecastError, match=message):
        read_promotions(tmp_path / "plan.csv")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match=r"no such file: .*absent.csv. It must hold the columns product_id"):
        read_promotions(tmp_path / "absent.csv")
