"""ml/backtest.py as a person runs it, on a small shop."""

import json
import random
import runpy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoplake.contract.tables import BACKTEST_METRICS
from shoplake.forecasting.inputs import hash_file
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT

FIRST = date(2026, 1, 5)
DAYS = 170
AS_OF = FIRST + timedelta(days=DAYS - 2)
MODELS = ("seasonal_naive", "xgboost")


def write_sales(file: Path, days: int = DAYS) -> Path:
    rng = random.Random(4)
    pq.write_table(pa.Table.from_pylist([
        {"event_date": FIRST + timedelta(days=day), "product_id": f"P{product}", "category": f"c{product % 2}",
         "units": rng.randrange(0, 4 + product), "gross_amount": float(rng.randrange(1, 90))}
        for product in range(12) for day in range(days)]), file)
    return file


def backtest(file: Path, *flags: str) -> int:
    main = runpy.run_path(str(PROJECT_ROOT / "ml" / "backtest.py"))["main"]
    code: int = main(["--data", str(file), "--models", *MODELS, *flags])
    return code


def saved(data_dir: Path) -> list[dict[str, Any]]:
    return read_table(Lake(str(data_dir / "lake")), BACKTEST_METRICS).to_pylist()


def test_figures_are_told_and_kept(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write_sales(tmp_path / "sales.parquet"), tmp_path / "figures.json"
    assert backtest(file, "--json", "--out", str(out)) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert (result["data"], result["as_of_date"], result["items"]) == ("sales.parquet", str(AS_OF), 12)
    assert set(result["models"]) == {"wmixt", *MODELS, "ensemble"}
    assert {"week_wrmsse", "week_wape", "week_bias", "day_wrmsse", "next_day_wrmsse", "coverage_80"} <= set(
        result["models"]["xgboost"])
    assert len(result["models"]["xgboost"]["coverage_80_by_origin"]) == result["test_origins"] == 8
    assert "coverage_80" not in result["models"]["seasonal_naive"]
    for name, own in ((name, result["models"]["xgboost"]) for name in ("wrmsse", "wape", "bias")):
        assert own[f"day_{name}_by_horizon"][0] == own[f"next_day_{name}"]
    page = data_dir / "backtest" / "sales.parquet.html"
    assert result["page"] == str(page)
    html = page.read_text()
    assert html.count("<svg") == html.count('class="sl-caption"') == 12, "bands and trees are drawn"
    assert f"{result['models']['xgboost']['week_wrmsse']:.4f}" in html
    rows = saved(data_dir)
    assert {row["data_version"] for row in rows} == {hash_file(file)}
    for row in rows:
        assert row["as_of_date"] == AS_OF
        assert row["value"] == result["models"][row["model"]][row["metric"]]
        told = result["ratio_to_wmixt"][row["model"]].get(row["metric"], [None] * 3)
        assert [row["ratio"], row["ratio_low"], row["ratio_high"]] == told
    assert {(row["model"], row["metric"]) for row in rows} >= {
        (model, metric) for model in result["models"] for metric in ("week_wrmsse", "week_bias", "cpu_seconds")}


def test_the_same_data_replace_their_figures_and_others_stay(tmp_path: Path, data_dir: Path) -> None:
    file, other = write_sales(tmp_path / "sales.parquet"), write_sales(tmp_path / "o'ther.parquet")
    assert backtest(file) == backtest(other) == 0
    before = saved(data_dir)
    assert backtest(file) == 0
    again = saved(data_dir)
    assert len(again) == len(before)
    for rows in (before, again):
        for row in rows:
            if row["metric"] == "cpu_seconds":
                row["value"] = None
    assert sorted(again, key=str) == sorted(before, key=str), "the same data and seed give the same figures"


def test_days_after_the_last_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, told = write_sales(tmp_path / "sales.parquet"), []
    rows = pq.read_table(file).to_pylist()
    as_of = str(AS_OF - timedelta(days=7))
    spoilt = [row | {"units": 500, "category": "x"} if str(row["event_date"]) > as_of else row for row in rows]
    pq.write_table(pa.Table.from_pylist(spoilt), tmp_path / "spoilt.parquet")
    for one in (file, tmp_path / "spoilt.parquet"):
        assert backtest(one, "--as-of", as_of, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        for figures in result["models"].values():
            del figures["cpu_seconds"]
        told.append((result["models"], result["ratio_to_wmixt"]))
    assert told[0] == told[1]


def test_a_history_that_is_too_short_changes_nothing(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert backtest(write_sales(tmp_path / "sales.parquet", days=130)) == 1
    said = capsys.readouterr()
    assert "a backtest needs 140 days of history; there are 129" in said.err
    assert (said.out, "Traceback" in said.err) == ("", False)
    assert not (data_dir / "lake").exists()


@pytest.mark.parametrize(("flags", "message"), [
    (("--models", "oracle"), "invalid choice: 'oracle'"),
    (("--source", "online_retail"), "--source needs --data"),
])
def test_wrong_flags(flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(PROJECT_ROOT / "ml" / "backtest.py"))["main"]
    with pytest.raises(SystemExit, match="2"):
        main([*flags])
    assert message in capsys.readouterr().err
