"""A backfill of three past days by Airflow's own command, with PostgreSQL under Airflow."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shoplake.airflow_environment import airflow_environment
from shoplake.contract.tables import DAILY_SALES, DEMAND_PREDICTIONS, RUNS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT, load_settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

DAYS = [date(2026, 6, day) for day in (1, 2, 3)]
HISTORY_DAYS = 40
BINARIES = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path, postgres: Any) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPLAKE_", "AIRFLOW"))}
    return {**kept, "SHOPLAKE_DATA_DIR": str(tmp_path / "data"), "SHOPLAKE_KAFKA__PORT": "47092",
            "SHOPLAKE_AIRFLOW__PORT": "47081", "SHOPLAKE_DASHBOARD__PORT": "47501",
            "SHOPLAKE_AIRFLOW__EVENTS": "1500", "SHOPLAKE_AIRFLOW__HISTORY_DAYS": str(HISTORY_DAYS),
            "SHOPLAKE_SPARK__TRIGGER_INTERVAL": "2", # No other day is due, so the backfill's runs are the only ones.
            "SHOPLAKE_AIRFLOW__SCHEDULE": "0 3 1-4 6 *",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.make_database("backfill")}


def run_stack(environment: dict[str, str], action: str) -> None:
    done = subprocess.run([sys.executable, "utils/stack.py", action, "--json"], cwd=PROJECT_ROOT, env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"


@pytest.fixture
def airflow(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Give the environment of the `airflow` command beside a running platform."""
    try:
        run_stack(environment, "up")
        monkeypatch.setenv("SHOPLAKE_DATA_DIR", environment["SHOPLAKE_DATA_DIR"])
        yield airflow_environment(environment, load_settings(), BINARIES, 47081)
    finally:
        run_stack(environment, "down")


def run_airflow(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run([str(BINARIES / "airflow"), *words], cwd=PROJECT_ROOT, env=environment, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
    return done.stdout


def test_three_past_days(airflow: dict[str, str]) -> None:
    run_airflow(airflow, "backfill", "create", "--dag-id", "ecommerce_pipeline",
                "--from-date", "2026-06-01", "--to-date", "2026-06-03T12:00:00")
    run_airflow(airflow, "dags", "unpause", "ecommerce_pipeline", "--yes")
    deadline = time.monotonic() + 700
    runs: list[dict[str, str]] = []
    while time.monotonic() < deadline:
        runs = [run for run in json.loads(run_airflow(airflow, "dags", "list-runs", "ecommerce_pipeline", "-o", "json"))
                if run["run_id"].startswith("backfill")]
        if len(runs) == len(DAYS) and all(run["state"] in ("success", "failed") for run in runs):
            break
        time.sleep(5)
    assert [run["state"] for run in runs] == ["success"] * len(DAYS), runs

    lake = Lake(str(load_settings().lake_root))
    done = {row["run_date"]: row for row in read_table(lake, RUNS).to_pylist() if row["run_id"].startswith("backfill")}
    assert sorted(done) == DAYS
    finished = [done[day]["finished_at"] for day in DAYS]
    assert finished == sorted(finished), "the days go in their order, or a forecast would not know the day before"
    built = set(read_table(lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())
    assert set(DAYS) <= built
    assert min(built) == date.fromordinal(DAYS[0].toordinal() - HISTORY_DAYS), "one history, of the first day"
    forecast = read_table(lake, DEMAND_PREDICTIONS, ["as_of_date", "target_date"]).to_pylist()
    assert {row["as_of_date"] for row in forecast} >= set(DAYS)
    assert subprocess.run([sys.executable, "utils/reconcile.py"], cwd=PROJECT_ROOT, env=airflow, check=False,
                          capture_output=True).returncode == 0
