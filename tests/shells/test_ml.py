"""The ml shells, run as a person runs them, on a small shop."""

import csv
import json
import random
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from model_registry import lay_database, open_own

from shoplake.contract.tables import DAILY_SALES, DEMAND_PREDICTIONS
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.history import build_history
from shoplake.forecasting.inputs import read_sales
from shoplake.forecasting.names import BASELINE_MODELS, LEARNED_MODELS
from shoplake.forecasting.training import fit_models
from shoplake.lake.addresses import Lake
from shoplake.registry.evaluation import evaluate_forecasters
from shoplake.registry.names import CHAMPION
from shoplake.registry.succession import PROMOTED, Word, record_event, tell_time
from shoplake.settings import PROJECT_ROOT, load_settings

FIRST = date(2026, 8, 1)
DAYS = 50
PRODUCTS = 6
NEWEST = FIRST + timedelta(days=DAYS - 1)
AS_OF = NEWEST - timedelta(days=1)


def run(shell: str, *flags: str) -> int:
    if shell == "train":
        lay_database(load_settings())
    code: int = runpy.run_path(str(PROJECT_ROOT / "ml" / f"{shell}.py"))["main"]([*map(str, flags)])
    return code


def sales_rows(days: int = DAYS) -> list[dict[str, Any]]:
    rng = random.Random(11)
    return [
        {"event_date": FIRST + timedelta(days=day), "product_id": f"P{product}", "category": f"c{product % 2}",
         "units": rng.randrange(0, 4 + product), "gross_amount": Decimal(rng.randrange(1, 90))}
        for product in range(PRODUCTS) for day in range(days)
    ]


@pytest.fixture
def sales_file(tmp_path: Path) -> str:
    pq.write_table(pa.Table.from_pylist(sales_rows()), tmp_path / "daily_sales.parquet")
    return str(tmp_path / "daily_sales.parquet")


def predictions(data_dir: Path) -> list[dict[str, Any]]:
    table = DeltaTable(Lake(str(data_dir / "lake")).table(DEMAND_PREDICTIONS)).to_pyarrow_table()
    assert [(name, str(type_)) for name, type_ in zip(table.column_names, table.schema.types, strict=True)] == [
        ("as_of_date", "date32[day]"), ("target_date", "date32[day]"), ("horizon", "int32"), ("product_id", "string"),
        ("category", "string"), ("model", "string"), ("model_version", "string"), ("predicted_units", "double"),
        ("lower_80", "double"), ("upper_80", "double"), ("lower_95", "double"), ("upper_95", "double"),
        ("is_fallback", "bool"), ("fallback_reason", "string")]
    return in_key_order(table.to_pylist())


def in_key_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [str(row[name]) for name in DEMAND_PREDICTIONS.key])


def test_train_then_predict_from_a_file(
    sales_file: str, data_dir: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--data", sales_file, "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["as_of_date"] == str(AS_OF)
    assert set(trained["metrics"]) == {"next_day", "next_week"}
    for models in trained["metrics"].values():
        assert set(models) == {*LEARNED_MODELS, *BASELINE_MODELS}
        assert all(set(scores) == {"wape", "rmsse", "bias", "wrmsse"} for scores in models.values())
    # Not the copy of gold that the data folder has, only a file of that name: its models lie apart.
    folder = data_dir / "models" / "files" / "daily_sales.parquet"
    manifest = json.loads((folder / "xgboost" / "manifest.json").read_text())
    assert manifest["metrics"] == trained["metrics"]

    for model in ("xgboost", "linear", "seasonal_naive", "moving_average"):
        assert run("inference", "--data", sales_file, "--model", model, "--horizon", "next_week", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["rows"], result["products"]) == (7 * PRODUCTS, PRODUCTS)
    rows = predictions(data_dir)
    assert len(rows) == 4 * 7 * PRODUCTS
    assert len({tuple(row[name] for name in DEMAND_PREDICTIONS.key) for row in rows}) == len(rows)
    assert all(row["target_date"] == AS_OF + timedelta(days=row["horizon"]) for row in rows)
    assert {row["model_version"] for row in rows if row["model"] == "xgboost"} == {manifest["model_version"]}
    sold = {(row["product_id"], row["event_date"]): row["units"] for row in sales_rows()}
    for row in rows:
        assert row["predicted_units"] >= 0
        if row["model"] == "seasonal_naive":
            assert row["predicted_units"] == sold[row["product_id"], row["target_date"] - timedelta(days=7)]


def test_the_scored_models_were_fitted_on_days_up_to_the_first_validation_cutoff(
    sales_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--data", sales_file, "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    first = date.fromisoformat(trained["validation"]["first_cutoff"])
    settings = load_settings("local").ml
    sales = read_sales(Path(sales_file), load_settings()).rows
    # All that the models may know is what a file ending on that day holds.
    known = sales[sales["event_date"] <= str(first)]
    models = fit_models(build_history(known, first), settings)
    days = (first - FIRST).days + 1
    last = (date.fromisoformat(trained["validation"]["last_cutoff"]) - FIRST).days + 1
    expected = evaluate_forecasters(
        build_history(sales, AS_OF), {one.name: one for one in (*models, *BASELINES)}, range(days, last + 1))
    assert trained["metrics"] == expected.metrics()


def test_predicting_again_replaces_its_own_rows_only(sales_file: str, data_dir: Path) -> None:
    assert run("train", "--data", sales_file) == 0
    for model in ("xgboost", "linear"):
        assert run("inference", "--data", sales_file, "--model", model, "--horizon", "next_week") == 0
    assert run("inference", "--data", sales_file, "--as-of", str(NEWEST), "--model", "moving_average") == 0
    before = predictions(data_dir)
    assert len(before) == (7 + 7 + 1) * PRODUCTS
    for model, horizon in (("xgboost", "next_week"), ("linear", "next_day"), ("xgboost", "next_day")):
        assert run("inference", "--data", sales_file, "--model", model, "--horizon", horizon) == 0
        assert predictions(data_dir) == before
    assert run("train", "--data", sales_file) == 0
    assert run("inference", "--data", sales_file, "--model", "xgboost", "--horizon", "next_week") == 0
    assert predictions(data_dir) == before


def test_gold_is_the_default_history(
    data_dir: Path, write_table: Callable[..., None], capsys: pytest.CaptureFixture[str],
) -> None:
    nothing = dict.fromkeys(DAILY_SALES.column_names[3:-2], 0)
    write_table(Lake(str(data_dir / "lake")), DAILY_SALES, [nothing | row for row in sales_rows()])
    assert run("train", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["rows"] == PRODUCTS * (DAYS - 1)
    assert run("inference", "--model", "linear", "--save-bq") == 0
    assert "the DuckDB views already serve it" in capsys.readouterr().out
    assert len(predictions(data_dir)) == PRODUCTS


def test_a_forecast_does_not_know_the_days_after_it(sales_file: str, tmp_path: Path, data_dir: Path) -> None:
    as_of = str(FIRST + timedelta(days=40))
    spoilt = [row | {"units": 1000, "category": "x"} if str(row["event_date"]) > as_of else row for row in sales_rows()]
    pq.write_table(pa.Table.from_pylist(spoilt), tmp_path / "spoilt.parquet")
    seen = []
    for file in (sales_file, str(tmp_path / "spoilt.parquet")):
        assert run("train", "--data", file, "--as-of", as_of) == 0
        for model in ("linear", "xgboost"):
            flags = ("--model", model, "--horizon", "next_week")
            assert run("inference", "--data", file, "--as-of", as_of, *flags) == 0
        seen.append(predictions(data_dir))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export(kind: str, sales_file: str, data_dir: Path, tmp_path: Path) -> None:
    flags = ("--data", sales_file, "--model", "moving_average", "--horizon", "next_week", "--export", kind)
    chosen = tmp_path / "out" / f"chosen.{kind}"
    assert run("inference", *flags) == 0
    assert run("inference", *flags, str(chosen)) == 0
    default = data_dir / f"demand_predictions_{AS_OF}_moving_average_next_week.{kind}"
    assert default.read_bytes() == chosen.read_bytes()
    if kind == "parquet":
        assert in_key_order(pq.read_table(chosen).to_pylist()) == predictions(data_dir)
    else:
        assert len(chosen.read_text().splitlines()) == 1 + 7 * PRODUCTS


def test_the_first_products_by_days_with_a_sale(
    sales_file: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = tmp_path / "top.csv"
    flags = ("--data", sales_file, "--model", "moving_average", "--horizon-days", "3", "--top", "2")
    assert run("inference", *flags, "--by", "active_days", "--export", "csv", str(chosen), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    known = [row for row in sales_rows() if row["event_date"] <= AS_OF and row["units"]]
    counts = Counter(row["product_id"] for row in known)
    first = sorted(counts, key=lambda product: (-counts[product], product))[:2]
    assert [one["product_id"] for one in result["top"]] == first
    assert [one["active_days"] for one in result["top"]] == [counts[name] for name in first]
    for one in result["top"]:
        recent = [row["units"] for row in known if row["product_id"] == one["product_id"]
                  and row["event_date"] > AS_OF - timedelta(days=28)]
        assert one["active_day_average"] == pytest.approx(3 * sum(recent) / len(recent))
    exported = list(csv.DictReader(chosen.open()))
    assert {row["product_id"] for row in exported} == set(first)
    assert len(exported) == 2 * 3
    averages = {one["product_id"]: one["active_day_average"] / 3 for one in result["top"]}
    for row in exported:
        assert float(row["active_day_average"]) == pytest.approx(averages[row["product_id"]])
    assert sum(float(row["predicted_units"]) for row in exported if row["product_id"] == first[0]) == pytest.approx(
        result["top"][0]["predicted_units"])
    assert len(predictions(data_dir)) == 3 * PRODUCTS, "gold has all products"


def test_feature_table(sales_file: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "features.parquet"
    assert run("feature_engineering", "--data", sales_file, "--out", str(out), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    table = pq.read_table(out)
    assert table.column_names == result["columns"]
    assert table.num_rows == result["rows"] == 7 * PRODUCTS
    assert {"rolling_mean_7", "rolling_mean_14", "rolling_mean_30", "target_weekday"} <= set(table.column_names)
    assert not data_dir.exists(), "only the file asked for is written"


def test_a_table_of_an_older_version_gets_the_new_columns(sales_file: str, data_dir: Path) -> None:
    flags = ("--data", sales_file, "--model", "naive", "--horizon", "next_week")
    assert run("inference", *flags) == 0
    address = Lake(str(data_dir / "lake")).table(DEMAND_PREDICTIONS)
    new = ("lower_80", "upper_80", "lower_95", "upper_95", "fallback_reason")
    old = DeltaTable(address).to_pyarrow_table().drop_columns(list(new))
    write_deltalake(address, old, mode="overwrite", schema_mode="overwrite", partition_by=["target_date"])
    assert run("inference", "--data", sales_file, "--model", "moving_average", "--horizon", "next_week") == 0
    rows = DeltaTable(address).to_pyarrow_table().to_pylist()
    assert {row["model"] for row in rows} == {"naive", "moving_average"}
    assert all(row[name] is None for row in rows if row["model"] == "naive" for name in new)


def test_forecasts_have_limits_where_bands_were_fitted(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    young = {"event_date": FIRST + timedelta(days=129), "product_id": "new", "category": "c0", "units": 5,
             "gross_amount": Decimal(9)}
    month = [young | {"event_date": FIRST + timedelta(days=day), "product_id": "young"} for day in range(115, 131)]
    file = str(tmp_path / "long.parquet")
    pq.write_table(pa.Table.from_pylist([*sales_rows(131), young, *month]), file)
    assert run("train", "--data", file) == 0
    assert run("inference", "--data", file, "--model", "xgboost", "--horizon", "next_week") == 0
    rows = predictions(data_dir)
    assert {row["product_id"] for row in rows if row["lower_80"] is None} == {"new", "young"}
    assert {row["product_id"] for row in rows if row["is_fallback"]} == {"new"}
    assert {row["product_id"] for row in rows if row["fallback_reason"]} == {"new"}
    for row in rows:
        if row["lower_80"] is not None:
            assert 0 <= row["lower_95"] <= row["lower_80"] <= row["predicted_units"]
            assert row["predicted_units"] <= row["upper_80"] <= row["upper_95"]
    (bands,) = (data_dir / "models" / "files" / "long.parquet" / "bands").glob("2*/model-*")
    bands.write_bytes(bands.read_bytes()[:-1])
    capsys.readouterr()
    assert run("inference", "--data", file, "--model", "xgboost", "--horizon", "next_week") == 1
    assert "is not the file that was saved" in failure(capsys)
    assert predictions(data_dir) == rows
    # A champion brings its own: those of the folder, spoilt now, are not asked.
    registry = open_own()
    version = registry.find_version("xgboost", 1)
    record_event(registry, version, None, PROMOTED, Word("test", ""), tell_time())
    registry.move_alias(version, CHAMPION)
    assert run("inference", "--data", file, "--model", "xgboost", "--horizon", "next_week") == 0
    assert predictions(data_dir) == rows


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_nothing_to_train_on(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train") == 1
    assert "no history to train on: the table gold.daily_sales does not exist yet" in failure(capsys)
    pq.write_table(pa.Table.from_pylist(sales_rows(20)), tmp_path / "short.parquet")
    assert run("train", "--data", str(tmp_path / "short.parquet")) == 1
    assert "no history to train on: 19 shop day(s)" in failure(capsys)
    assert not (data_dir / "models").exists()


def test_no_model_yet(sales_file: str, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inference", "--data", sales_file, "--model", "xgboost") == 1
    assert f"python ml/train.py --data {sales_file} --as-of {AS_OF}" in failure(capsys)
    assert not (data_dir / "lake").exists()


def test_a_model_of_other_features_is_refused_and_writes_nothing(
    sales_file: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--data", sales_file) == 0
    assert run("inference", "--data", sales_file, "--model", "linear") == 0
    before = predictions(data_dir)
    capsys.readouterr()
    monkeypatch.setenv("SHOPLAKE_ML__FEATURES__LAGS", "[1, 2]")
    assert run("inference", "--data", sales_file, "--model", "linear") == 1
    assert "was trained with other features" in failure(capsys)
    assert predictions(data_dir) == before


@pytest.mark.parametrize(("flags", "code", "message"), [
    (["--horizon", "next_month"], 2, "invalid choice: 'next_month'"),
    (["--model", "oracle"], 2, "invalid choice: 'oracle'"),
    (["--export", "xlsx"], 2, "--export"),
    (["--top", "0"], 2, "--top: 0 is no number above 0"),
    (["--horizon-days", "8"], 2, "invalid choice: 8"),
    (["--model", "linear", "--as-of", "2030-01-01"], 1, f"there is {FIRST} to {NEWEST}"),
    (["--model", "linear", "--as-of", "tomorrow"], 2, "no date"),
])
def test_wrong_flags(
    flags: list[str], code: int, message: str, sales_file: str, capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        seen = run("inference", "--data", sales_file, *flags)
    except SystemExit as error:
        seen = int(error.code or 0)
    assert seen == code
    assert message in failure(capsys)


def test_without_an_account_nothing_is_forecast_for_bigquery(
    sales_file: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__KIND", "bigquery")
    monkeypatch.setenv("SHOPLAKE_GCP__PROJECT_ID", "shop")
    assert run("inference", "--data", sales_file, "--model", "moving_average", "--save-bq") == 2
    assert "gcloud auth application-default login" in failure(capsys)
    assert not data_dir.exists()


@pytest.mark.parametrize("shell", ["train", "inference", "feature_engineering", "backtest"])
def test_help_loads_no_heavy_package(shell: str) -> None:
    code = (f"import runpy, sys\ntry:\n    runpy.run_path('ml/{shell}.py')['main'](['--help'])\n"
            "except SystemExit: pass\n"
            "print(sorted({'pandas', 'numpy', 'xgboost', 'sklearn', 'pyarrow', 'deltalake'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage:")
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_planned_promotion_lifts_its_days_and_a_bad_plan_overwrites_nothing(
    sales_file: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = tmp_path / "plan.csv"
    past = [f"P1,{FIRST + timedelta(days=20)},{FIRST + timedelta(days=29)}"]  # evidence, whatever it shows
    plan.write_text("\n".join(["product_id,from_date,to_date", *past, f"P5,{AS_OF + timedelta(days=2)},2027-01-01",
                               "absent,2026-08-01,2026-08-09"]))
    flags = ("--data", sales_file, "--model", "wmixt", "--horizon", "next_week")
    assert run("inference", *flags) == 0
    before = {(row["product_id"], row["horizon"]): row["predicted_units"] for row in predictions(data_dir)}
    assert run("inference", *flags, "--promotions", str(plan)) == 0
    lifted = {(row["product_id"], row["horizon"]): row["predicted_units"] for row in predictions(data_dir)}
    others = [key for key in before if key[0] not in ("P1", "P5")]
    ratios = {horizon: lifted["P5", horizon] / before["P5", horizon] for horizon in range(1, 8)}
    # The first day is not planned: cleaning P1's past moves the shop's profile and trend, and so all items alike.
    plain = {horizon: lifted["P4", horizon] / before["P4", horizon] for horizon in range(1, 8)}
    assert ratios[1] == pytest.approx(plain[1])
    steps = {round(ratios[horizon] / plain[horizon], 6) for horizon in range(2, 8)}
    assert len(steps) == 1
    assert steps != {1.0}
    assert others
    capsys.readouterr()

    plan.write_text("product_id,from_date,to_date\nP5,2026-09-20,2026-09-19\n")
    monkeypatch.setenv("SHOPLAKE_ML__PROMOTIONS_FILE", str(plan))
    for shell in ("inference", "train"):
        assert run(shell, "--data", sales_file, *(flags[2:] if shell == "inference" else ())) == 1
        assert "a to_date before its from_date" in capsys.readouterr().err
    assert {(row["product_id"], row["horizon"]): row["predicted_units"] for row in predictions(data_dir)} == lifted
    assert not (data_dir / "models").exists()


def test_the_commands_know_the_days_on_which_the_shop_is_closed(
    sales_file: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past, planned = FIRST + timedelta(days=30), AS_OF + timedelta(days=3)
    monkeypatch.setenv("SHOPLAKE_ML__CLOSED_DAYS", json.dumps([str(past), str(planned)]))
    assert run("inference", "--data", sales_file, "--model", "naive", "--horizon", "next_week") == 0
    assert {row["predicted_units"] for row in predictions(data_dir) if row["target_date"] == planned} == {0}
    assert any(row["predicted_units"] for row in predictions(data_dir))
    out = tmp_path / "features.parquet"
    assert run("feature_engineering", "--data", sales_file, "--out", str(out)) == 0
    levels = {row["target_date"]: row["seasonal_level"] for row in pq.read_table(out).to_pylist()}
    assert {day for day, level in levels.items() if not level} == {planned}
    capsys.readouterr()
    assert run("train", "--data", sales_file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["closed_days"] == str(past)
    monkeypatch.setenv("SHOPLAKE_ML__CLOSED_DAYS", '["Christmas"]')
    assert run("inference", "--data", sales_file, "--model", "naive", "--horizon", "next_week") == 2
    assert "ml.closed_days.0" in capsys.readouterr().err
