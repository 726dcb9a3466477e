"""Every command that has to do with the warehouse, with --profile dev, over BigQuery's protocol."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shoplake.contract.tables import CATEGORY_REVENUE, DAILY_SALES, LEDGER, Table
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.bigquery import open_bigquery

pytestmark = [pytest.mark.cloud, pytest.mark.usefixtures("bigquery")]
Capture = pytest.CaptureFixture[str]
LAST = date(2026, 3, 10)
MEASURES = {"order_count": 2, "units": 3, "gross_amount": Decimal("10.5"), "cancelled_units": 0,
            "cancelled_amount": Decimal(0), "net_amount": Decimal("10.5")}


@pytest.fixture
def lake(write_table: Callable[[Lake, Table, list[dict[str, Any]]], None]) -> Lake:
    """Give a lake with six weeks of sales, published nowhere yet."""
    lake = locate_lake(load_settings())
    days = [LAST - timedelta(days=age) for age in range(42)]
    write_table(lake, DAILY_SALES, [
        {**MEASURES, "event_date": day, "product_id": product, "category": "c", "view_count": 1, "cart_count": 0}
        for day in days for product in ("a", "b")])
    write_table(lake, CATEGORY_REVENUE, [
        {**MEASURES, "event_date": day, "category": "c", "net_amount_week_before": None, "net_growth_week": None}
        for day in days])
    write_table(lake, LEDGER, [{
        "query_id": "stream", "batch_id": 0, "origin": "topic-id", "topic": "ecommerce_events", "bronze_count": 5,
        "ranges": [{"partition": 0, "from_offset": 0, "until_offset": 5}], "silver_count": 5, "duplicate_count": 0,
        "quarantine_count": 0, "late_count": 0, "rules": [], "event_dates": [LAST]}])
    return lake


def run(shell: str, *words: str) -> int:
    main: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / shell))["main"]
    return main([*words, "--profile", "dev"])


def answer(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_the_daily_runs_steps_go_through_bigquery(lake: Lake, capsys: Capture) -> None:
    assert run("gcp/bigquery_client.py", "create", "--json") == 0
    assert f"{load_settings().gcp.project_id}.gold.daily_sales" in answer(capsys)["tables"]
    assert run("gcp/bigquery_client.py", "publish", "--json") == 0
    rows = {one["table"]: one["row_count"] for one in answer(capsys)["published"]}
    assert (rows["gold.daily_sales"], rows["ops.ledger"], rows["gold.demand_predictions"]) == (84, 1, 0)

    assert run("ml/inference.py", "--model", "moving_average", "--horizon", "next_week", "--save-bq", "--json") == 0
    assert answer(capsys)["published"] == "14 rows of all partitions compared, 14 rows changed"
    assert run("ml/inference.py", "--model", "moving_average", "--horizon", "next_day", "--save-bq", "--json") == 0
    assert answer(capsys)["published"].endswith("rows changed")
    # A day that was forecast and is over.
    earlier = str(LAST - timedelta(days=3))
    assert run("ml/inference.py", "--model", "naive", "--as-of", earlier, "--save-bq", "--json") == 0
    assert answer(capsys)["published_totals"].endswith("rows changed")
    assert run("ml/accuracy.py", "--save-bq", "--json") == 0
    assert answer(capsys)["published"]
    record = ("utils/record_run.py", "--run-id", "r", "--dag-id", "d", "--day", str(LAST), "--json")
    assert run(*record) == 0
    assert run(*record) == 0
    capsys.readouterr()

    with open_bigquery(load_settings()) as warehouse:
        seen = warehouse.query("SELECT COUNT(*) AS n FROM gold.demand_predictions WHERE target_date >= '2026-01-01'")
        assert seen["n"].to_pylist() == [14 + 2]
        totals = "SELECT horizon_days, model, COUNT(*) AS n FROM gold.demand_totals WHERE as_of_date >= '2026-01-01'"
        assert warehouse.query(f"{totals} GROUP BY horizon_days, model ORDER BY model, horizon_days").to_pylist() == [
            {"horizon_days": days, "model": model, "n": 4}
            for days, model in ((1, "moving_average"), (7, "moving_average"), (1, "naive"))]
        scored = warehouse.query("SELECT target_date, model, horizon, product_count FROM gold.forecast_accuracy")
        assert scored.to_pylist() == [
            {"target_date": LAST - timedelta(days=2), "model": "naive", "horizon": 1, "product_count": 2}]
        assert warehouse.query("SELECT run_id, run_date FROM ops.runs").to_pylist() == [
            {"run_id": "r", "run_date": LAST}]

    assert run("sql/run_analytics.py", "--json") == 0
    results = {result["query"]: result for result in answer(capsys)["results"]}
    assert results["daily_revenue"]["rows"][-1][:3] == [str(LAST), 4, 6]
    assert results["daily_revenue"]["parameters"]["to_date"] == str(LAST)
    assert run("sql/run_analytics.py", "--query", "daily_revenue", "--explain") == 0
    explained = capsys.readouterr().out
    assert "-- BigQuery would read" in explained
    assert f"FROM `{load_settings().gcp.project_id}.gold.daily_sales`" in explained
    assert run("sql/run_analytics.py", "--sql", "SELECT COUNT(*) AS n FROM gold.daily_sales WHERE units > @u",
               "--param", "u=1") == 2
    assert "partition column event_date" in capsys.readouterr().err


def test_the_dashboard_is_filled_from_bigquery(lake: Lake, tmp_path: Any, capsys: Capture) -> None:
    assert run("gcp/bigquery_client.py", "create") == 0
    empty, full = tmp_path / "empty.html", tmp_path / "full.html"
    assert run("dashboard/report.py", "--out", str(empty)) == 0, "nothing is published yet"
    assert run("gcp/bigquery_client.py", "publish") == 0
    assert run("dashboard/report.py", "--out", str(full)) == 0
    assert "No event was taken into the lake yet." in empty.read_text()
    assert "No event was taken into the lake yet." not in full.read_text()
    assert "ecommerce_events" in full.read_text()


@pytest.mark.parametrize("words", [
    ("sql/run_analytics.py", "--query", "daily_revenue"), ("gcp/bigquery_client.py", "publish"),
    ("dashboard/report.py",), ("utils/record_run.py", "--run-id", "r", "--dag-id", "d", "--day", "2026-03-10"),
    ("ml/inference.py", "--model", "moving_average", "--save-bq"),
], ids=lambda words: words[0])
def test_a_missing_table_is_one_message_and_exit_1(words: tuple[str, ...], lake: Lake, capsys: Capture) -> None:
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert "python gcp/bigquery_client.py create --profile dev" in error
    assert "Traceback" not in error


def test_a_command_without_credentials_is_a_message_and_exit_2(lake: Lake) -> None:
    command = [sys.executable, str(PROJECT_ROOT / "sql" / "run_analytics.py"), "--profile", "prod"]
    environment = {name: value for name, value in os.environ.items() if "ENDPOINT" not in name}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the profile prod asks BigQuery")
