"""ml/promote.py as a person runs it, and what ml/train.py and ml/inference.py say of the registry."""

import json
import runpy
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_log import read_acts, read_details
from model_registry import draw_errors, enter_version, lay_database, open_own

from shoplake.lake.addresses import locate_lake
from shoplake.registry.evaluation import WeekErrors
from shoplake.registry.names import CHAMPION, MAX_REASON
from shoplake.settings import PROJECT_ROOT, load_settings

FIRST = date(2026, 8, 1)
DAYS = 60
AS_OF = FIRST + timedelta(days=DAYS - 2)
WHY = ("--reason", "lower error")


def run(shell: str, *flags: str) -> int:
    code: int = runpy.run_path(str(PROJECT_ROOT / "ml" / f"{shell}.py"))["main"]([*map(str, flags)])
    return code


def write_sales(file: Path) -> str:
    rng = np.random.default_rng(3)
    rows = [{"event_date": FIRST + timedelta(days=day), "product_id": f"P{product}", "category": f"c{product % 2}",
             "units": int(rng.poisson(2 + product)), "gross_amount": 9.5}
            for product in range(6) for day in range(DAYS)]
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    lay_database(load_settings())
    return str(file)


@pytest.fixture
def gold_file(data_dir: Path) -> str:
    """Write what spark/batch_processing.py writes beside the lake: a copy of gold."""
    return write_sales(data_dir / "daily_sales.parquet")


@pytest.fixture
def sales_file(tmp_path: Path) -> str:
    return write_sales(tmp_path / "sales.parquet")


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def good_errors(name: str) -> WeekErrors:
    return draw_errors(1, lambda rng, expected: expected * np.exp(rng.normal(0, 0.05, expected.shape)), name=name)


def test_a_training_is_one_run_and_its_models_are_challengers(
    gold_file: str, data_dir: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--data", gold_file, "--item-runs", "2", "--json") == 0
    trained = answer(capsys)
    registry = open_own()
    client = registry._client
    run_data = client.get_run(trained["run_id"]).data
    assert run_data.params["xgboost.max_depth"] == str(load_settings().ml.xgboost.max_depth)
    assert run_data.tags["data_name"] == "gold.daily_sales"
    assert len(run_data.tags["data_version"]) == 64
    assert (run_data.tags["first_day"], run_data.tags["last_day"]) == (str(FIRST), str(AS_OF))
    for horizon, models in trained["metrics"].items():
        for name, scores in models.items():
            assert run_data.metrics[f"{horizon}/{name}/wrmsse"] == pytest.approx(scores["wrmsse"])
    artifacts = data_dir / "mlflow" / "artifacts" / trained["run_id"] / "artifacts"
    for plot in ("errors_by_model", "feature_effects"):
        assert (artifacts / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    assert not [file for file in artifacts.rglob("*") if "pkl" in file.name or "pickle" in file.name]
    for name in ("linear", "xgboost"):
        version = registry.find_version(name, trained["models"][name]["version"])
        assert version.aliases == ("challenger",)
        assert version.tags["model_version"] == trained["models"][name]["model_version"]
        manifest = json.loads((artifacts / "models" / name / "manifest.json").read_bytes())
        (file,) = (artifacts / "models" / name).glob("model-*")
        assert manifest["files"] == {file.name: version.tags["model_version"]}
    below = client.search_runs([client.get_experiment_by_name("demand").experiment_id],
                               f"tags.mlflow.parentRunId = '{trained['run_id']}'")
    assert [one.info.run_name for one in below] == ["arima"]
    table = (data_dir / "mlflow" / "artifacts" / below[0].info.run_id / "artifacts" / "items.csv").read_text()
    assert len(table.splitlines()) == 1 + 6
    items = client.search_runs([client.get_experiment_by_name("demand").experiment_id],
                               f"tags.mlflow.parentRunId = '{below[0].info.run_id}'")
    assert {one.data.tags["product_id"] for one in items} == {"P5", "P4"}, "the two of most units"

    # The same data and seed again: a new run and new versions of the same bits.
    assert run("train", "--data", gold_file, "--json") == 0
    again = answer(capsys)
    for name in ("linear", "xgboost"):
        assert again["models"][name]["model_version"] == trained["models"][name]["model_version"]
        assert again["models"][name]["version"] == trained["models"][name]["version"] + 1
    assert again["metrics"] == trained["metrics"]


def test_a_file_has_models_of_its_own_and_a_champion_serves_its_own_data_alone(
    sales_file: str, gold_file: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "--data", sales_file) == 0
    told = capsys.readouterr().out
    assert "challenger" not in told
    assert "--version 1 --to champion" in told
    assert f"python ml/inference.py --data {sales_file} " in told
    models = data_dir / "models"
    assert [folder.name for folder in models.iterdir()] == ["files"]
    registry = open_own()
    assert registry.find_version("xgboost", 1).aliases == ()
    assert run("promote", "--model", "xgboost", "--dry-run") == 1
    assert "has no challenger" in capsys.readouterr().err
    assert run("promote", "--model", "xgboost", "--version", "1", "--to", "challenger", *WHY) == 0
    assert registry.find_version("xgboost", 1).aliases == ("challenger",)
    assert run("inference", "--data", gold_file) == 1
    assert f"python ml/train.py --data {gold_file} --as-of {AS_OF}" in capsys.readouterr().err

    (saved,) = (models / "files" / "sales.parquet" / "xgboost").glob("2*")
    entered = enter_version(registry, tmp_path, good_errors("xgboost"), 1, "xgboost", saved=saved)
    assert run("promote", "--model", "xgboost", "--version", "2", *WHY) == 0
    capsys.readouterr()
    for file, served in ((sales_file, "newest"), (gold_file, f"champion v{entered.number}")):
        assert run("inference", "--data", file, "--json") == 0
        assert answer(capsys)["served"] == served
    assert run("promote", "--model", "xgboost", "--version", "1", *WHY) == 3
    refused = capsys.readouterr().err
    assert "xgboost v1 was trained on sales.parquet, the champion xgboost v2 on gold.daily_sales" in refused
    assert run("promote", "--model", "xgboost", "--history") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in shown[:3]] == ["data", "gold.daily_sales", "sales.parquet"]


def test_refused_then_promoted_served_and_rolled_back(
    gold_file: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = ["9f86d081" * 8, "https://hook.test/Zq7xW2kP9vT4"]
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", secrets[0])
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", secrets[1])
    assert run("train", "--data", gold_file) == 0
    kept = b"".join(file.read_bytes() for file in data_dir.rglob("*") if file.is_file())
    assert b"learning_rate" in kept, "MLflow's parameters are among it"
    assert [secret for secret in secrets if secret.encode() in kept] == []
    forecast = ("--data", gold_file, "--model", "xgboost", "--horizon", "next_week", "--json")
    capsys.readouterr()
    assert run("inference", *forecast) == 0
    newest = answer(capsys)
    assert newest["served"] == "newest"
    # On six items of pure chance nobody beats the best average beyond doubt.
    for flags in (("--dry-run",), ("--reason", "why not")):
        assert run("promote", "--model", "xgboost", *flags) == 3
        told = capsys.readouterr()
        assert told.out == ""
        assert "not better beyond chance" in told.err
    registry = open_own()
    assert registry.find_alias("xgboost", CHAMPION) is None
    assert [event["action"] for event in registry.events("xgboost")] == ["refused"], "a look leaves no trace"

    saved = next((data_dir / "models" / "xgboost").glob("2*"))
    first = enter_version(registry, tmp_path, good_errors("xgboost"), 1, "xgboost", saved=saved)
    entered = {"champion_number": str(first.number), "champion_column": "xgboost_champion", "champion_note": "own file"}
    second = enter_version(registry, tmp_path, _better_than(good_errors("xgboost")), 2, "xgboost", data_version="2",
                           saved=saved, **entered)
    numbers = (first.number, second.number)
    assert run("promote", "--model", "xgboost", "--version", str(numbers[0]), "--by", "ann", *WHY, "--json") == 0
    assert answer(capsys)["verdict"]["is_passed"] is True
    assert run("inference", *forecast) == 0
    assert answer(capsys) == {**newest, "served": f"champion v{numbers[0]}"}, "the same bits, so the same forecast"
    before = str(AS_OF - timedelta(days=1))
    assert run("inference", *forecast, "--as-of", before) == 1, "neither champion nor newest may know a later day"
    assert run("promote", "--model", "xgboost", "--version", str(numbers[1]), *WHY) == 0
    assert run("promote", "--model", "xgboost", "--rollback", "--by", "bob", "--reason", "odd") == 0
    lake = locate_lake(load_settings())
    assert read_acts(lake) == [(action, "xgboost", outcome) for action, outcome in (
        ("promote", "begun"), ("promote", "failed"), *[("promote", "begun"), ("promote", "done")] * 2,
        ("rollback", "begun"), ("rollback", "done"))]
    assert read_details(lake) == {"to": "champion", "by": "bob", "reason": "odd", "version": numbers[0]}
    capsys.readouterr()
    assert run("promote", "--model", "xgboost", "--history", "--json") == 0
    history = answer(capsys)
    assert [(one["action"], one["version"], one["by"]) for one in history["events"]][-1] == (
        "rolled back", numbers[0], "bob")
    assert {one["version"]: one["aliases"] for one in history["versions"]}[numbers[0]] == ["champion"]
    assert run("promote", "--model", "xgboost", "--history") == 0
    assert "bob" in capsys.readouterr().out

    (model,) = (data_dir / "mlflow").glob(
        f"artifacts/{registry.find_version('xgboost', numbers[0]).run_id}/artifacts/models/xgboost/model-*")
    model.write_bytes(model.read_bytes()[:-1])
    table = data_dir / "lake"
    files = {file: file.stat().st_mtime_ns for file in table.rglob("*") if file.is_file()}
    assert run("inference", *forecast) == 1
    assert "is not the file that was saved" in capsys.readouterr().err
    assert files == {file: file.stat().st_mtime_ns for file in table.rglob("*") if file.is_file()}


def _better_than(errors: WeekErrors) -> WeekErrors:
    own = errors.forecasts["xgboost"]
    return replace(errors, forecasts={**errors.forecasts, "xgboost_champion": own, "xgboost": (own + errors.units) / 2})


@pytest.mark.parametrize(("flags", "message"), [
    (["--model", "oracle"], "invalid choice: 'oracle'"),
    (["--model", "linear", "--rollback", "--version", "2", *WHY], "--version"),
    (["--model", "linear", "--to", "challenger", "--dry-run"], "--dry-run"),
    *((["--model", "linear", *what, *why], f"--reason: {seen} characters; the history wants 1 to {MAX_REASON}")
      for what in ([], ["--rollback"], ["--to", "challenger"], ["--version", "2"])
      for why, seen in (((), 0), (("--reason", " \t"), 0), (("--reason", "x" * (MAX_REASON + 1)), MAX_REASON + 1))),
])
def test_wrong_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run("promote", *flags)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_without_a_registry_nothing_is_made(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("promote", "--model", "xgboost", *WHY) == 1
    assert "there is no model registry" in capsys.readouterr().err
    assert not data_dir.exists()


def test_an_empty_registry_says_what_is_next(capsys: pytest.CaptureFixture[str]) -> None:
    lay_database(load_settings())
    assert run("promote", "--model", "linear", *WHY) == 1
    assert "python ml/train.py" in capsys.readouterr().err
    assert run("promote", "--model", "linear", "--rollback", *WHY) == 1
    assert "no champion before" in capsys.readouterr().err
    assert run("promote", "--model", "linear", "--history") == 0
    assert "has no version yet" in capsys.readouterr().out
