"""ml/inference.py writes totals: the sums of the rows that stand in gold.demand_predictions, whatever ran before."""

import json
import random
import runpy
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from shoplake.contract.tables import DEMAND_PREDICTIONS, DEMAND_TOTALS, Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

FIRST = date(2026, 1, 5)
DAYS = 130
AS_OF = FIRST + timedelta(days=DAYS - 2)


def run(*flags: str) -> None:
    assert runpy.run_path(str(PROJECT_ROOT / "ml" / "inference.py"))["main"]([*flags]) == 0


def write_sales(file: Path, days: int = DAYS, seed: int = 3) -> str:
    rng = random.Random(seed)
    pq.write_table(pa.Table.from_pylist([
        {"event_date": FIRST + timedelta(days=day), "product_id": f"P{product}",
         # P4 changes its category on the way; the totals go by the last one known.
         "category": "c0" if product == 4 and day > 100 else f"c{product % 3}",
         "units": rng.randrange(3 + product), "gross_amount": 2.0}
        for product in range(7) for day in range(days)]), file)
    return str(file)


def read(data_dir: Path, table: Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = DeltaTable(Lake(str(data_dir / "lake")).table(table)).to_pyarrow_table().to_pylist()
    assert len({tuple(row[name] for name in table.key) for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: [str(row[name]) for name in table.key])


def check_sums(data_dir: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Add gold.demand_predictions up in plain Python, and hold every total against that; give them by their key."""
    sums: dict[tuple[Any, ...], float] = defaultdict(float)
    members: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in read(data_dir, DEMAND_PREDICTIONS):
        for span in (1, 7):
            if row["horizon"] <= span:
                for level, name in (("product", row["product_id"]), ("category", row["category"]), ("shop", "all")):
                    key = (row["as_of_date"], span, level, name, row["model"])
                    sums[key] += row["predicted_units"]
                    members[key].add(row["product_id"])
    totals = {tuple(row[name] for name in DEMAND_TOTALS.key): row for row in read(data_dir, DEMAND_TOTALS)}
    for key, row in totals.items():
        assert row["predicted_units"] == pytest.approx(sums[key], abs=1e-6), key
        assert row["product_count"] == len(members[key])
        assert row["predicted_units"] >= 0
        assert row["last_target_date"] == row["as_of_date"] + timedelta(days=row["horizon_days"])
        for percent in (80, 95):
            if row[f"lower_{percent}"] is not None:
                assert 0 <= row[f"lower_{percent}"] <= row["predicted_units"] <= row[f"upper_{percent}"]
        if row["lower_95"] is not None:
            assert row["lower_95"] <= row["lower_80"]
            assert row["upper_80"] <= row["upper_95"]
    return totals


def test_every_total_is_the_sum_of_the_products_days(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_sales(tmp_path / "sales.parquet")
    for model in ("moving_average", "seasonal_naive"):
        run("--data", file, "--model", model, "--horizon", "next_week", "--json")
        said = json.loads(capsys.readouterr().out)["totals"]
    totals = check_sums(data_dir)
    assert len(totals) == 2 * 2 * (7 + 3 + 1), "two models, two horizons; 7 products, 3 categories, the shop"
    assert [(one["horizon_days"], one["predicted_units"]) for one in said] == [
        (days, totals[AS_OF, days, "shop", "all", "seasonal_naive"]["predicted_units"]) for days in (1, 7)]
    shop = totals[AS_OF, 7, "shop", "all", "moving_average"]
    assert (shop["band_source"], shop["band_count"]) == ("moving_average", 10), "129 days: 10 weeks after the first 8"
    assert shop["lower_80"] is not None
    assert shop["lower_95"] is None, "10 weeks are too few to say what one in 20 is"
    assert totals[AS_OF, 1, "shop", "all", "moving_average"]["upper_95"] is not None, "56 days are enough"
    assert totals[AS_OF, 7, "category", "c0", "moving_average"]["product_count"] == 4
    assert totals[AS_OF, 7, "product", "P1", "moving_average"]["lower_80"] is None, "no bands were fitted"


def test_a_forecast_again_gives_the_same_totals_and_never_leaves_stale_ones(data_dir: Path, tmp_path: Path) -> None:
    file = write_sales(tmp_path / "sales.parquet")
    run("--data", file, "--model", "naive", "--horizon", "next_week")
    before = read(data_dir, DEMAND_TOTALS)
    for horizon in ("next_day", "next_week", "next_day"):
        run("--data", file, "--model", "naive", "--horizon", horizon)
        assert read(data_dir, DEMAND_TOTALS) == before, "of the same history the week still stands"
    # The first day is forecast anew from other sales: what stands of the week is of two minds.
    other = write_sales(tmp_path / "other.parquet", seed=4)
    run("--data", other, "--model", "naive", "--horizon", "next_day")
    assert {key[1] for key in check_sums(data_dir)} == {1}
    run("--data", other, "--model", "naive", "--horizon", "next_week")
    assert {key[1] for key in check_sums(data_dir)} == {1, 7}
    # Another day and another model stand beside them.
    run("--data", file, "--model", "naive", "--as-of", str(AS_OF - timedelta(days=1)))
    run("--data", file, "--model", "moving_average", "--horizon-days", "3")
    assert {(key[0], key[4], key[1]) for key in check_sums(data_dir)} == {
        (AS_OF, "naive", 1), (AS_OF, "naive", 7), (AS_OF - timedelta(days=1), "naive", 1),
        (AS_OF, "moving_average", 1)}


def test_totals_do_not_know_the_days_after(data_dir: Path, tmp_path: Path) -> None:
    as_of = str(FIRST + timedelta(days=100))
    seen = []
    for days in (DAYS, 101):  # the same sales, but for what came later
        file = write_sales(tmp_path / "sales.parquet", DAYS)
        rows = pq.read_table(file).to_pylist()
        limit = FIRST + timedelta(days=days)
        kept = [row | ({} if str(row["event_date"]) <= as_of else {"units": 999, "category": "x"}) for row in rows
                if row["event_date"] < limit]
        pq.write_table(pa.Table.from_pylist(kept), file)
        run("--data", file, "--model", "wmixt", "--as-of", as_of, "--horizon", "next_week")
        seen.append(read(data_dir, DEMAND_TOTALS))
    assert seen[0] == seen[1]


def test_a_young_shop_has_totals_without_limits(data_dir: Path, tmp_path: Path) -> None:
    run("--data", write_sales(tmp_path / "sales.parquet", 40), "--model", "moving_average", "--horizon", "next_week")
    totals = check_sums(data_dir)
    assert len(totals) == 2 * (7 + 3 + 1)
    assert all(row["lower_80"] is row["upper_95"] is row["band_source"] is None for row in totals.values())
