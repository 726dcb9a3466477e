"""sql/run_analytics.py: its forms, its limits, and what it refuses."""

import csv
import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import DAILY_SALES, Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

SHELL = PROJECT_ROOT / "sql" / "run_analytics.py"
MAIN: Callable[[list[str]], int] = runpy.run_path(str(SHELL))["main"]
NAMES = [
    "abc_xyz_classes", "basket_size", "cancellations_by_order_day", "category_growth", "category_growth_by_period",
    "cohort_retention", "conversion_funnel", "customer_rfm", "customer_segments", "customer_value", "daily_revenue",
    "demand_vs_actual", "forecast_accuracy", "late_and_rejected", "moving_averages", "price_change_effect",
    "price_changes", "product_performance", "product_recommendations", "segment_changes", "top_selling_products",
    "user_segments",
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def gold(data_dir: Path, write_table: Callable[[Lake, Table, list[dict[str, Any]]], None]) -> None:
    zeros = {column.name: Decimal(0) if column.type.startswith("DECIMAL") else 0 for column in DAILY_SALES.columns}
    write_table(Lake(str(data_dir / "lake")), DAILY_SALES, [
        {**zeros, "event_date": date(2026, 3, day), "product_id": product, "category": "c", "brand": None, "units": day,
         "gross_amount": Decimal(10 * day), "net_amount": Decimal(10 * day)}
        for day in (1, 2) for product in ("=1+1", "b")
    ])


def test_json_has_exactly_the_promised_form(gold: None, capsys: Capture) -> None:
    assert MAIN(["--query", "top_selling_products", "--json", "--param", "product_count=1"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "query": "top_selling_products",
        "parameters": {"to_date": "2026-03-02", "from_date": "2026-02-03", "product_count": 1},
        "columns": ["units_rank", "product_id", "category", "order_count", "units", "net_amount"],
        "rows": [[1, "=1+1", "c", 0, 3, "30.0000"]],
    }


def test_all_queries_run_without_flags_and_as_json(gold: None, capsys: Capture) -> None:
    assert MAIN([]) == 0
    tables = capsys.readouterr().out
    assert "Daily revenue and its growth" in tables
    assert "+100.0%" in tables
    assert MAIN(["--format", "json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["query"] for result in results] == NAMES
    assert len(results[NAMES.index("daily_revenue")]["rows"]) == 2


def test_an_empty_lake_exits_0_and_says_what_fills_it(data_dir: Path, capsys: Capture) -> None:
    assert MAIN([]) == 0
    output = capsys.readouterr()
    assert "no rows" in output.out
    assert "gold.daily_sales: spark-submit spark/batch_processing.py" in output.err
    assert "gold.demand_predictions: python ml/inference.py" in output.err


def test_a_free_select_takes_typed_parameters(gold: None, capsys: Capture) -> None:
    sql = ("SELECT product_id, SUM(units) AS n FROM gold.daily_sales "
           "WHERE event_date >= @day AND product_id = @p GROUP BY 1")
    assert MAIN(["--sql", sql, "--param", "day=2026-03-02", "--param", "p:STRING=b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["query"] == "sql"
    assert found["parameters"] == {"day": "2026-03-02", "p": "b"}
    assert found["rows"] == [["b", 2]]


def test_csv_disarms_formulas_in_texts_only(gold: None, capsys: Capture) -> None:
    sql = ("SELECT product_id, -units AS n, -net_amount AS amount, NULLIF(units, units) AS nothing "
           "FROM gold.daily_sales WHERE event_date = DATE '2026-03-01' ORDER BY product_id")
    assert MAIN(["--sql", sql, "--format", "csv"]) == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["product_id", "n", "amount", "nothing"], ["'=1+1", "-1", "-10.0000", ""], ["b", "-1", "-10.0000", ""],
    ]


def test_rows_are_cut_at_the_setting_and_it_says_so(
    gold: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__MAX_ROWS", "3")
    sql = "SELECT units FROM gold.daily_sales"
    assert MAIN(["--sql", sql, "--json", "--limit", "100"]) == 0
    output = capsys.readouterr()
    assert len(json.loads(output.out)["rows"]) == 3
    assert "cut after 3 rows" in output.err
    assert MAIN(["--sql", sql, "--json", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2


def test_explain_prints_the_translation_and_where_tables_lie(gold: None, data_dir: Path, capsys: Capture) -> None:
    assert MAIN(["--query", "daily_revenue", "--explain"]) == 0
    text = capsys.readouterr().out
    assert f"-- gold.daily_sales is {data_dir}/lake/gold/daily_sales" in text
    assert "-- $to_date is 2026-03-02" in text
    assert "CAST($from_date AS DATE)" in text
    assert "warning" not in text
    assert MAIN(["--sql", "SELECT MAX(units) AS units FROM gold.daily_sales", "--explain"]) == 0
    assert "-- warning: gold.daily_sales is read without a filter" in capsys.readouterr().out
    assert MAIN(["--explain", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["explain"]) == NAMES


@pytest.mark.parametrize(("argv", "message"), [
    (["--sql", "DROP TABLE gold.daily_sales"], "seen: DROP"),
    (["--sql", "SELECT units, units FROM gold.daily_sales"], "columns named units; give each a name of its own"),
    (["--sql", "SELECT * FROM bronze.events"], "bronze.events"),
    (["--sql", "SELECT * FROM read_csv('/etc/passwd')"], "table function"), (["--sql", ""], "0 statements"),
    (["--query", "nope"], "there are abc_xyz_classes"), (["--profile", "prod"], "--profile local"),
    (["--query", "daily_revenue", "--param", "from_date=yesterday"], "from_date=2026-01-31"),
    (["--query", "daily_revenue", "--param", "nope=1"], "it has to_date, from_date"),
    (["--query", "daily_revenue", "--param", "from_date"], "NAME=VALUE"),
    (["--sql", "SELECT @x AS v"], "--param x="),
])
def test_a_users_mistake_exits_2_in_words(argv: list[str], message: str, capsys: Capture) -> None:
    assert MAIN(argv) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ""


@pytest.mark.parametrize("argv", [
    ["--format", "csv"], ["--param", "a=1"], ["--limit", "0"], ["--query", "a", "--sql", "b"], ["--profile", "moon"],
])
def test_flags_that_do_not_fit_exit_2(argv: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        MAIN(argv)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_query_that_fails_exits_1(capsys: Capture) -> None:
    assert MAIN(["--sql", "SELECT 1 / (v - v) AS x FROM UNNEST([1]) AS v"]) == 1
    assert "division by zero" in capsys.readouterr().err


def test_it_runs_as_a_command_and_stdout_is_one_json_object(gold: None) -> None:
    command = [sys.executable, str(SHELL), "--query", "daily_revenue", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][1][-2] == "1.000000"
