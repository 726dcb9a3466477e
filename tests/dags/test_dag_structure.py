"""The daily DAG imports, has its steps in the design's order, and runs shells that exist."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyspark
import pytest
from model_registry import make_linear

from shoplake.contract.tables import LEDGER
from shoplake.forecasting.artifact import save_artifact
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT, load_settings

DAG_FILE = PROJECT_ROOT / "airflow" / "dags" / "ecommerce_pipeline_dag.py"
ORDER = ["wait_for_turn", "is_history_due", "simulate_history", "simulate_day", "drain", "build_gold", "reconcile",
         "publish", "is_training_due", "train", "predict", "accuracy", "analytics", "record_run"]


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    return runpy.run_path(str(DAG_FILE))


def test_the_steps_stand_in_the_designs_order(module: dict[str, Any]) -> None:
    dag = module["dag"]
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    for before, after in pairwise(ORDER):
        assert after in dag.get_task(before).downstream_task_ids
    assert dag.get_task("is_training_due").downstream_task_ids == {"train", "predict"}, "a day without training"
    assert sum(len(task.downstream_task_ids) for task in dag.tasks) == len(ORDER), "no other way"


def test_every_command_runs_a_shell_that_exists(module: dict[str, Any]) -> None:
    paths = set()
    for task in module["dag"].tasks:
        for line in re.split(" && ", getattr(task, "bash_command", "")):
            words = shlex.split(re.sub(r"\{\{.*?\}\}", "x", line))
            paths |= {word for word in words if word.endswith(".py")}
    assert all((PROJECT_ROOT / path).is_file() for path in paths)
    assert {path.split("/")[0] for path in paths} == {"kafka", "spark", "utils", "gcp", "ml", "sql"}


@pytest.mark.usefixtures("google_provider")
def test_staging_and_prod_simulate_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_PROFILE", "prod")
    dag = runpy.run_path(str(DAG_FILE))["dag"]
    assert not any("simulate" in task.task_id for task in dag.tasks)
    assert not any("producer.py" in getattr(task, "bash_command", "") for task in dag.tasks)


def test_steps_run_this_environments_spark_whatever_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", "/opt/another-spark")
    monkeypatch.setenv("PATH", f"/opt/another-spark/bin:{os.environ['PATH']}")
    step = runpy.run_path(str(DAG_FILE))["dag"].get_task("drain")
    seen = subprocess.run(
        ["bash", "-c", 'echo "$SPARK_HOME"; command -v spark-submit python'], env={**os.environ, **step.env},
        capture_output=True, text=True, check=True).stdout.split()
    binaries = Path(sys.executable).parent
    assert seen == [str(Path(pyspark.__file__).parent), str(binaries / "spark-submit"), str(binaries / "python")]


@pytest.mark.parametrize("missing", ["linear", "xgboost", None])
def test_training_is_due_weekly_or_when_a_model_is_missing(
    module: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None,
) -> None:
    ml = load_settings().ml
    settings = SimpleNamespace(model_path=tmp_path, airflow=SimpleNamespace(train_weekday=6), ml=ml)
    monkeypatch.setitem(module["training_is_due"].__globals__, "SETTINGS", settings)
    saved = save_artifact(tmp_path / "saved", make_linear(1), date(2026, 11, 1), ml, {}).parent
    for model in {"linear", "xgboost"} - {missing}:
        shutil.copytree(saved, tmp_path / model / "2026-11-01")
    assert module["training_is_due"]("2026-11-20") is (missing is not None)
    assert module["training_is_due"]("2026-11-22") is True  # a Sunday
    assert module["training_is_due"]("2026-10-30") is True  # before the models' cutoff
    settings.ml = ml.model_copy(update={"features": ml.features.model_copy(update={"lags": (1, 2)})})
    assert module["training_is_due"]("2026-11-20") is True  # the models' features are others


@pytest.mark.parametrize(("logical", "run_after", "day"), [
    # scheduled: the run of an interval comes after its end
    ("2026-11-20T03:00", "2026-11-21T03:00", "2026-11-20"),
    # London is an hour ahead of UTC in summer: 23:30 UTC is the next shop day
    ("2026-07-01T23:30", "2026-07-09T03:00", "2026-07-02"),
    # triggered by hand for now: today is not complete
    ("2026-11-21T10:00", "2026-11-21T10:00", "2026-11-20"),
    (None, "2026-11-21T10:00", "2026-11-20"),
])
def test_run_day(module: dict[str, Any], logical: str | None, run_after: str, day: str) -> None:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    run = SimpleNamespace(logical_date=logical and moment(logical), run_after=moment(run_after))
    assert module["run_day"](run) == date.fromisoformat(day)


def test_a_day_gets_its_share_of_the_events(module: dict[str, Any]) -> None:
    share = module["share_of_days"]
    assert share(9100, 90, 90) == 9000
    assert share(9100, 1, 90) == 100
    assert share(100, 1, 3650) == 1


def test_the_dag_folder_is_no_package() -> None:
    assert not list(Path(DAG_FILE.parent).glob("__init__.py"))


@pytest.mark.parametrize(("known", "history_days", "due"), [
    ([], 40, True),
    ([date(2026, 6, 30), date(2026, 7, 1)], 40, True),  # the day itself and a later one are no history
    ([date(2026, 5, 20)], 40, True),  # before the window
    ([date(2026, 5, 21)], 40, False),
    ([date(2026, 6, 29)], 40, False),
    ([], 0, False),
])
def test_history_is_simulated_where_the_lake_has_none_of_it(
    data_dir: Path, write_table: Any, known: list[date], history_days: int, due: bool,
) -> None:
    counts = dict.fromkeys(("bronze_count", "silver_count", "duplicate_count", "quarantine_count", "late_count"), 0)
    # A running stream writes a row for an empty first batch.
    rows = [{"query_id": "q", "batch_id": batch_id, "origin": "o", "topic": "t", "ranges": [], "rules": [],
             "event_dates": dates, **counts} for batch_id, dates in enumerate([[], known])]
    write_table(Lake(str(data_dir / "lake")), LEDGER, rows)
    assert runpy.run_path(str(DAG_FILE))["history_is_due"]("2026-06-30", str(history_days)) is due
