"""The daily DAG through Airflow: everything is there; and a second run of the same day changes no gold row."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import BACKTEST_METRICS, DAILY_SALES, FORECAST_ACCURACY, RUNS, TABLES, USER_SEGMENTS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT

EVENTS = 3000
HISTORY_DAYS = 40

# A daily run makes no backtest, after one day no day that was forecast is over, and no file of users came.
NOT_OF_A_RUN = (BACKTEST_METRICS, FORECAST_ACCURACY, USER_SEGMENTS)


def run_demo(data: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPLAKE_", "AIRFLOW"))}
    environment |= {"SHOPLAKE_DATA_DIR": str(data), "SHOPLAKE_KAFKA__PORT": "39092",
                    "SHOPLAKE_AIRFLOW__HISTORY_DAYS": str(HISTORY_DAYS)}
    done = subprocess.run(
        [sys.executable, "utils/demo.py", "--events", str(EVENTS), "--day", "2026-06-30", "--json"],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def gold(lake: Lake) -> dict[str, Counter[str]]:
    return {table.name: Counter(map(repr, read_table(lake, table).to_pylist()))
            for table in TABLES if table.layer == "gold" and table not in NOT_OF_A_RUN}


def run_first(data: Path) -> tuple[Lake, dict[str, Any]]:
    """Run the DAG into an empty data folder, and look at what it left."""
    first = run_demo(data)
    lake = Lake(str(data / "lake"))
    assert first["ledger"]["balanced"]
    assert first["ledger"]["offsets"] == EVENTS
    days = set(read_table(lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())
    assert len(days) == HISTORY_DAYS + 1, "the history and the day itself"
    assert all(gold(lake).values())
    assert read_table(lake, RUNS).num_rows == 1
    assert not (data / "kafka" / "broker.json").exists(), "the demo stops the broker that it started"
    return lake, first


@pytest.mark.timeout(1800)
def test_a_run_fills_every_table(tmp_path: Path) -> None:
    run_first(tmp_path / "data")


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_same_day_again_changes_no_gold_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lake, first = run_first(data)
    before = gold(lake)

    second = run_demo(data)
    assert gold(lake) == before
    assert second["ledger"]["balanced"]
    # the day's events were sent again, and each is a copy now or quarantined again
    assert second["ledger"]["silver"] == first["ledger"]["silver"]
    assert second["ledger"]["offsets"] > first["ledger"]["offsets"]
    assert read_table(lake, RUNS).num_rows == 2
