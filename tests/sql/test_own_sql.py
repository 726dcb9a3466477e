"""The gate of utils/check_sql.py refuses planted mistakes, each with its file and line and with what is allowed."""

import json
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from shoplake.contract.tables import LATEST_WINDOW_PRODUCTS
from shoplake.errors import EXIT_OK, EXIT_REFUSED
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.google_analyzer import GoogleAnalyzer
from shoplake.warehouse.own_sql import check_query, check_statement, check_view
from shoplake.warehouse.plan import ANY_PUBLICATION, merge_statement, plan_bigquery, published_tables, staging_name

MAIN: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / "utils" / "check_sql.py"))["main"]
RIGHT = """-- Sales of products
-- Question: what did each product sell?
-- Grain: product_id
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 27 days before @to_date)
WITH days AS (
  SELECT event_date, product_id, category, units, net_amount
  FROM gold.daily_sales
  WHERE event_date BETWEEN @from_date AND @to_date
)
SELECT
  product_id,
  MAX(category) AS category,
  SUM(units) AS units,
  SUM(net_amount) AS net_amount
FROM days
GROUP BY product_id
ORDER BY product_id
"""
# Name -> what stands in the query, what takes its place, the line of the mistake, what is said, and what is allowed.
PLANTED = {
    "a column that is not there": (
        "units, net_amount\n", "units, net_amnt\n", 7, "Unrecognized name: net_amnt",
        "gold.daily_sales has event_date,"),
    "a table that is not there": (
        "FROM gold.daily_sales", "FROM gold.sales", 8, "Table not found: gold.sales",
        "gold.daily_sales, gold.category_revenue"),
    "a table that is not served": (
        "FROM gold.daily_sales", "FROM silver.events", 8, "Table not found: silver.events",
        "allowed are silver.product"),
    "types that cannot be compared": (
        "event_date BETWEEN @from_date AND @to_date", "event_date BETWEEN @from_date AND @to_date AND units = 'x'", 9,
        "No matching signature for operator = for argument types: INT64, STRING",
        "give both sides one type, with CAST"),
    "a parameter of the wrong type": (
        "-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)",
        "-- @to_date INT64: last day (default: 3)", 9,
        "No matching signature for operator BETWEEN", "give both sides one type, with CAST"),
    "no filter at all": (
        RIGHT[RIGHT.index("-- @to_date"):RIGHT.index(")\nSELECT")],
        "WITH days AS (\n  SELECT event_date, product_id, category, units, net_amount\n  FROM gold.daily_sales\n", 6,
        "gold.daily_sales is read without a filter on its partition column event_date",
        "ask for event_date BETWEEN @from_date AND @to_date"),
    "a filter on another column": (
        "WHERE event_date BETWEEN @from_date AND @to_date",
        "WHERE units BETWEEN 1 AND DATE_DIFF(@to_date, @from_date, DAY)", 8,
        "gold.daily_sales is read without a filter on its partition column event_date", "the bare column"),
    "a filter on a function of the column": (
        "  WHERE event_date BETWEEN @from_date AND @to_date\n",
        "  WHERE DATE_ADD(event_date, INTERVAL 0 DAY) BETWEEN @from_date AND @to_date\n", 8,
        "gold.daily_sales is read without a filter on its partition column event_date", "the bare column"),
    "a filter that OR defeats": (
        "BETWEEN @from_date AND @to_date\n", "BETWEEN @from_date AND @to_date OR units > 0\n", 8,
        "read without a filter on its partition column", "joined to the rest by AND"),
    "a filter after the scan": (
        "  WHERE event_date BETWEEN @from_date AND @to_date\n)",
        "  QUALIFY event_date BETWEEN @from_date AND @to_date AND ROW_NUMBER() OVER (ORDER BY units) > 0\n)", 8,
        "read without a filter", "in the WHERE of the SELECT that reads the table"),
    "a parameter that is not declared": (
        "GROUP BY product_id", "WHERE units > @least\nGROUP BY product_id", 17, "Query parameter 'least' not found",
        "declare it in the header: -- @name DATE"),
    "a parameter that is not used": (
        "WITH days", "-- @name STRING: whose (default: all)\nWITH days", 6, "does not use @name", "take it out"),
    "a default that is no value": (
        "(default: 27 days before @to_date)", "(default: soon)", 5, "seen: 'soon'", "as in from_date=2026-01-31"),
    "a default that counts from nothing": (
        "27 days before @to_date", "27 days before @until", 5, "counts from @until", "no DATE above it"),
    "a default that asks for no day": (
        "newest event_date of gold.daily_sales", "newest units of gold.daily_sales", 4, "newest units",
        "no DATE column"),
    "a default that reads every partition": (
        "newest event_date of gold.daily_sales", "newest as_of_date of gold.demand_predictions", 4,
        "would read all of gold.demand_predictions", "known of target_date"),
    "a header without a grain": (
        "-- Grain: product_id\n", "", 1, "must open with three comments", "`-- Grain: …`"),
    "a column that is not grouped": (
        "  MAX(category) AS category,", "  category,", 13, "neither grouped nor aggregated",
        "add the column to GROUP BY"),
    "two columns of one name": (
        "SUM(units) AS units", "SUM(units) AS category", 14, "2 columns named category", "a name of its own with AS"),
    "an aggregate in WHERE": (
        "FROM days\n", "FROM days\nWHERE SUM(units) > 0\n", 17, "Aggregate function SUM not allowed in WHERE",
        "compute it in a WITH query"),
    "FORMAT": ("MAX(category)", "MAX(FORMAT('%d', units))", 13, "FORMAT is not among", "CAST it AS STRING"),
    "APPROX_TOP_COUNT": (
        "MAX(category)", "APPROX_TOP_COUNT(category, 1)", 13, "APPROX_TOP_COUNT is not among",
        "write GROUP BY with ORDER BY COUNT(*) DESC LIMIT n"),
    "ANY_VALUE": ("MAX(category)", "ANY_VALUE(category)", 13, "ANY_VALUE is not among", "write MAX(…)"),
    "a literal beside NUMERIC in a UNION": (
        "SUM(net_amount) AS net_amount\nFROM days\nGROUP BY product_id\n",
        "SUM(net_amount) AS net_amount\nFROM days\nGROUP BY product_id\n"
        "UNION ALL\nSELECT 'none', 'none', 0, 1.5\n", 19,
        "1.5 stands in one branch of UNION and NUMERIC in another", "CAST(1.5 AS NUMERIC)"),
    "TIMESTAMP_DIFF": (
        "MAX(category)", "MAX(TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), TIMESTAMP '2026-01-01', DAY))", 13,
        "TIMESTAMP_DIFF is not among", "DATE_DIFF"),
    "a function of another database": (
        "MAX(category)", "ARG_MAX(category, units)", 13, "Function not found: ARG_MAX", "the usual aggregates"),
    "ROUND of a FLOAT64": (
        "SUM(units) AS units", "ROUND(SUM(units) / 3, 2) AS units", 14, "ROUND takes a NUMERIC", "CAST"),
    "a comma too many": ("AS net_amount\n", "AS net_amount,,\n", 15, "Syntax error", "docs/data_dictionary.md"),
    "a DELETE": (
        RIGHT[RIGHT.index("WITH days"):],
        "DELETE FROM gold.daily_sales WHERE event_date BETWEEN @from_date AND @to_date\n", 1,
        "seen: DELETE", "Allowed is one SELECT"),
    "a second statement": (
        "ORDER BY product_id\n", "ORDER BY product_id;\nSELECT 1 AS x\n", 19, "Expected end of input",
        "data_dictionary"),
}


def test_the_query_without_a_mistake_passes(google_analyzer: GoogleAnalyzer) -> None:
    assert check_query(google_analyzer, "x.sql", RIGHT) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_refused(google_analyzer: GoogleAnalyzer, name: str) -> None:
    right, wrong, line, said, allowed = PLANTED[name]
    assert RIGHT.count(right) == 1
    findings = check_query(google_analyzer, "sql/x.sql", RIGHT.replace(right, wrong))
    assert len(findings) == 1
    assert str(findings[0]).startswith(f"sql/x.sql:{line}: "), findings[0]
    assert said in findings[0].message
    assert allowed in findings[0].message


def test_there_are_twenty_planted_mistakes() -> None:
    assert len(PLANTED) >= 20


@pytest.mark.parametrize(("right", "wrong", "said"), [
    ("net_amount,\n", "net_amnt,\n", "Unrecognized name: net_amnt"),
    ("RANK() OVER (ORDER BY net_amount DESC) AS", "CAST(units AS FLOAT64) AS", "rank FLOAT64, but the contract"),
    ("AS revenue_rank", "AS place", "place INT64, but the contract promises .*revenue_rank INT64"),
    ("window_end, product_id", "window_start AS window_end, MAX(product_id) AS product_id", "window_start"),
])
def test_a_view_must_give_what_the_contract_promises(
    google_analyzer: GoogleAnalyzer, right: str, wrong: str, said: str,
) -> None:
    view = LATEST_WINDOW_PRODUCTS
    assert view.sql.count(right) == 1
    assert check_view(google_analyzer, view, "tables.py") == []
    (finding,) = check_view(google_analyzer, replace(view, sql=view.sql.replace(right, wrong)), "tables.py", 300)
    assert re.search(said, finding.message)
    assert finding.line > 300


@pytest.mark.parametrize(("kind", "right", "wrong", "line", "said"), [
    ("CREATE TABLE", "`units` INT64", "`units` INTEGERS", 6, "Type not found: INTEGERS"),
    ("CREATE TABLE", "PARTITION BY event_date", "PARTITION BY event_day", 16, "Unrecognized name: event_day"),
    ("CREATE TABLE", "require_partition_filter=TRUE", "require_partition_filters=TRUE", 18, "Unknown option"),
    ("CREATE TABLE", "require_partition_filter=TRUE", "require_partition_filter='yes'", 18, "BOOL"),
    ("MERGE", "target.`units` IS DISTINCT", "target.`unit` IS DISTINCT", 17, "unit"),
    ("MERGE", "AND target.`event_date` IN", "AND source.`event_date` IN", 1, "gold.daily_sales is read without"),
    ("MERGE", "    WHERE `event_date` IN (DATE '2026-01-31')\n", "", 10, "gold.daily_sales is read without"),
    ("MERGE", "`last_price`)\n  VALUES", "`last_prices`)\n  VALUES", 19, "last_prices"),
])
def test_a_mistake_in_a_statement_for_bigquery_is_refused(
    google_analyzer: GoogleAnalyzer, kind: str, right: str, wrong: str, line: int, said: str,
) -> None:
    gcp = load_settings("dev").gcp
    table = next(table for table in published_tables() if table.name == "gold.daily_sales")
    staging = staging_name(table, gcp, ANY_PUBLICATION)
    statements = [*plan_bigquery(gcp), merge_statement(table, gcp, [date(2026, 1, 31)], staging)]
    (sql,) = (sql for sql in statements if sql.startswith(kind) and "`shoplake-dev.gold.daily_sales`" in sql)
    assert check_statement(google_analyzer, "x", sql, gcp) == []
    assert sql.count(right) == 1, sql
    findings = check_statement(google_analyzer, "x", sql.replace(right, wrong), gcp)
    assert [said in str(finding) for finding in findings] == [True], findings
    assert findings[0].line == line


def test_the_command_names_every_mistake_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong, other = tmp_path / "right.sql", tmp_path / "wrong.sql", tmp_path / "other.sql"
    right.write_text(RIGHT)
    wrong.write_text(RIGHT.replace("FROM gold.daily_sales", "FROM gold.sales"))
    other.write_text(RIGHT.replace("@from_date AND @to_date\n", "@from_date AND @to_date OR TRUE\n"))
    assert MAIN([str(right), str(wrong), str(other)]) == EXIT_REFUSED
    output = capsys.readouterr()
    assert output.out == ""
    assert f"{wrong}:8: Table not found: gold.sales" in output.err
    assert f"{other}:8: gold.daily_sales is read without a filter" in output.err
    assert "right.sql" not in output.err
    assert MAIN([str(right), "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out) == {"statements": 1}


def test_every_statement_of_the_project_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert MAIN(["--profile", "dev", "--json"]) == EXIT_OK, capsys.readouterr().err
    queries = len(list((PROJECT_ROOT / "sql").rglob("*.sql")))
    assert json.loads(capsys.readouterr().out)["statements"] > queries + len(published_tables())
