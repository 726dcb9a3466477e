"""A backfill of three past days by Airflow's own command, with PostgreSQL under Airflow."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shoplake.airflow_environment import airflow_environment
from shoplake.contract.tables import DAILY_SALES, DEMAND_PREDICTIONS, RUNS
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT, load_settings

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

DAYS = [date(2026, 6, day) for day in (1, 2, 3)]


@pytest.fixture(scope="module")
def platform_settings(postgres: Any) -> dict[str, str]:
    return {
        "SHOPLAKE_KAFKA__PORT": "47092", "SHOPLAKE_AIRFLOW__PORT": "47081", "SHOPLAKE_DASHBOARD__PORT": "47501",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.make_database("backfill"),
        # No other day is due, so the backfill's runs are the only ones.
        "SHOPLAKE_AIRFLOW__SCHEDULE": "0 3 1-4 6 *", "SHOPLAKE_AIRFLOW__EVENTS": "1500",
    }


def test_three_past_days(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(platform.data))
    binaries = Path(sys.executable).parent
    environment = airflow_environment(platform.environment, load_settings(), binaries, 47081)

    def run_airflow(*words: str) -> None:
        done = subprocess.run([str(binaries / "airflow"), *words], cwd=PROJECT_ROOT, env=environment,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"

    def list_runs() -> list[dict[str, Any]]:
        return [run for run in platform.call("GET", "dags/ecommerce_pipeline/dagRuns")["dag_runs"]
                if run["run_type"] == "backfill"]

    run_airflow("backfill", "create", "--dag-id", "ecommerce_pipeline",
                "--from-date", "2026-06-01", "--to-date", "2026-06-03T12:00:00")
    run_airflow("dags", "unpause", "ecommerce_pipeline", "--yes")
    platform.wait_for(lambda: [run for run in list_runs() if run["state"] in ("success", "failed")][2:],
                      "three runs to end", 700)
    assert [run["state"] for run in list_runs()] == ["success"] * len(DAYS)

    done = {row["run_date"]: row for row in read_table(platform.lake, RUNS).to_pylist()}
    assert sorted(done) == DAYS
    finished = [done[day]["finished_at"] for day in DAYS]
    assert finished == sorted(finished), "the days go in their order, or a forecast would not know the day before"
    built = set(read_table(platform.lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())
    assert set(DAYS) <= built
    assert min(built) == date.fromordinal(DAYS[0].toordinal() - 40), "one history, of the first day"
    forecast = read_table(platform.lake, DEMAND_PREDICTIONS, ["as_of_date", "target_date"]).to_pylist()
    assert {row["as_of_date"] for row in forecast} >= set(DAYS)
    assert platform.run_json("utils/reconcile.py")["balanced"]
