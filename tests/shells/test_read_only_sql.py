"""run_analytics --sql runs one SELECT over the served tables and nothing else, in both warehouses."""

import json
import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shoplake.contract.tables import RUNS
from shoplake.errors import QueryRefusedError
from shoplake.lake.addresses import Lake
from shoplake.lake.sql import connect_duckdb
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse import Warehouse, open_warehouse
from shoplake.warehouse.duckdb import DuckDBWarehouse

MAIN: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / "sql" / "run_analytics.py"))["main"]
# Nothing listens there: a statement that reached BigQuery would fail in other words.
NOWHERE = "http://127.0.0.1:9"
REFUSED = {
    # DDL
    "CREATE TABLE gold.x (a INT64)": "seen: CREATE",
    "CREATE OR REPLACE TABLE gold.daily_sales AS SELECT 1 AS a": "seen:",
    "CREATE VIEW gold.v AS SELECT 1 AS a": "seen: CREATE", "DROP TABLE gold.daily_sales": "seen: DROP",
    "ALTER TABLE gold.daily_sales DROP COLUMN units": "seen: ALTER", "DROP SCHEMA gold": "seen: DROP",
    "CREATE FUNCTION f() AS (1)": "seen: CREATE", "CREATE MACRO f(a) AS a": "seen:",
    # DML
    "DELETE FROM gold.daily_sales WHERE TRUE": "seen: DELETE",
    "UPDATE gold.daily_sales SET units = 0 WHERE TRUE": "seen:",
    "INSERT INTO ops.runs (run_id) VALUES ('a')": "seen: INSERT", "TRUNCATE TABLE ops.runs": "seen: TRUNCATE",
    "MERGE ops.runs AS t USING ops.runs AS s ON FALSE WHEN NOT MATCHED THEN INSERT ROW": "seen: MERGE",
    # several statements, also where one hides
    "SELECT 1 AS a; SELECT 2 AS b": "2 statements", "SELECT 1 AS a; DROP TABLE ops.runs": "2 statements",
    "SELECT 1 AS a; -- and\nDELETE FROM ops.runs WHERE TRUE": "3 statements", "": "0 statements", ";": "0 statements",
    "BEGIN; SELECT 1 AS a; END": "statement", "EXECUTE IMMEDIATE 'DROP TABLE ops.runs'": "seen:",
    # files, networks, other databases
    "SELECT * FROM read_csv('/etc/passwd')": "table function",
    "SELECT * FROM read_text('/etc/passwd')": "table function",
    "SELECT * FROM '/etc/passwd'": "", "SELECT * FROM `/etc/passwd`": "seen: the table /etc/passwd",
    "SELECT * FROM read_parquet('https://example.org/x')": "table function",
    "SELECT * FROM glob('/*')": "no GoogleSQL",
    "SELECT * FROM delta_scan('/x')": "table function", "ATTACH '/tmp/x.db' AS x": "no GoogleSQL",
    "INSTALL httpfs": "seen:",
    "LOAD httpfs": "", "COPY ops.runs TO '/tmp/x.csv'": "seen:", "EXPORT DATABASE '/tmp/x'": "",
    "EXPORT DATA OPTIONS(uri='gs://b/*', format='CSV') AS SELECT 1 AS a": "seen:", "IMPORT DATABASE '/tmp/x'": "",
    "LOAD DATA INTO gold.x FROM FILES(format='CSV', uris=['gs://b/x'])": "",
    "SELECT * FROM EXTERNAL_QUERY('c', 'SELECT 1')": "table function", "SELECT getenv('HOME') AS h": "GETENV",
    "SELECT * FROM ML.PREDICT(MODEL gold.m, TABLE ops.runs)": "",
    # settings, procedures, system tables and variables
    "SET threads = 1": "seen: SET", "SET enable_external_access = true": "seen: SET", "RESET memory_limit": "",
    "PRAGMA database_list": "seen: PRAGMA", "CALL gold.p()": "", "DECLARE x INT64": "", "USE ops": "seen: USE",
    "SELECT @@version AS v": "system variable", "SELECT * FROM duckdb_settings()": "table function",
    "SELECT * FROM information_schema.tables": "seen: the table information_schema.tables",
    "SELECT * FROM gold.INFORMATION_SCHEMA.COLUMNS": "seen: the table gold.INFORMATION_SCHEMA",
    "SELECT * FROM sqlite_master": "seen: the table sqlite_master",
    "EXPLAIN SELECT 1 AS a": "",
    "DESCRIBE ops.runs": "",
    "SELECT current_setting('temp_directory') AS s": "CURRENT_SETTING",
    "SELECT s.sql FROM pragma_x AS s WHERE 1 IN (WITH pragma_x AS (SELECT 1 AS a) SELECT a FROM pragma_x)":
        "seen: the table pragma_x",
    "SELECT RIGHT(run_id, -2) AS a FROM ops.runs": "RIGHT without a literal length",
    "SELECT TO_HEX(run_id) AS a FROM ops.runs": "TO_HEX of something else",
    "SELECT SHA256(run_id) AS a FROM ops.runs": "SHA256 by itself",
    # tables that are not served, from anywhere in the text
    "SELECT * FROM bronze.events": "seen: the table bronze.events", "SELECT * FROM silver.events": "silver.events",
    "WITH a AS (SELECT value FROM silver.quarantine) SELECT value FROM a": "silver.quarantine",
    "SELECT run_id FROM ops.runs WHERE run_id IN (SELECT user_id FROM silver.events)": "silver.events",
    "SELECT * FROM `other-project.gold.daily_sales`": "seen: the table other-project.gold.daily_sales",
    "SELECT * FROM ops.runs FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()": "",
}


PROFILES = ("local", "dev")


@pytest.fixture(scope="module")
def warehouses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Warehouse]]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", NOWHERE)
        yield {profile: stack.enter_context(open_warehouse(load_settings(profile))) for profile in PROFILES}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sql", REFUSED)
def test_anything_but_one_select_over_served_tables_is_refused(
    warehouses: dict[str, Warehouse], sql: str, profile: str,
) -> None:
    for ask in (warehouses[profile].query, warehouses[profile].explain):
        with pytest.raises(QueryRefusedError) as caught:
            ask(sql)
        message = str(caught.value)
        assert REFUSED[sql] in message
        assert "Allowed is one SELECT" in message or "not among the constructs" in message
        assert "\n" not in message


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sql", ["DROP TABLE ops.runs", "CREATE MACRO f(a) AS a", "SELECT 1 AS a; SELECT 2 AS b"])
def test_the_command_says_so_in_one_line(
    sql: str, profile: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", NOWHERE)
    assert MAIN(["--profile", profile, "--sql", sql]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert output.err.startswith("error: seen: ")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_scan_of_all_partitions_is_a_warning_here_and_an_error_in_the_cloud(
    profile: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", NOWHERE)
    sql = "SELECT SUM(units) AS units FROM gold.daily_sales"
    code = MAIN(["--profile", profile, "--sql", sql, "--json"])
    output = capsys.readouterr()
    assert "gold.daily_sales is read without a filter on its partition column event_date" in output.err
    assert "ask for event_date BETWEEN @from_date AND @to_date" in output.err
    if profile == "local":
        assert (code, json.loads(output.out)["rows"]) == (0, [[None]])
        assert "WARNING" in output.err
    else:
        assert (code, output.out) == (2, "")
        assert output.err.startswith("error: ")


def test_a_filtered_scan_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT SUM(units) AS units FROM gold.daily_sales WHERE event_date >= '2026-01-01'"
    assert MAIN(["--sql", sql, "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("setting", "value"), [
    ("enable_external_access", False), ("lock_configuration", True), ("autoinstall_known_extensions", False),
    ("autoload_known_extensions", False),
])
def test_duckdb_is_closed_and_its_configuration_locked(tmp_path: Path, setting: str, value: bool) -> None:
    with connect_duckdb(Lake(str(tmp_path / "lake"))) as connection:
        assert connection.execute(f"SELECT current_setting('{setting}')").fetchone() == (value,)
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            connection.execute(f"SET {setting} = {not value}")
        assert connection.execute(f"SELECT current_setting('{setting}')").fetchone() == (value,)


def test_what_is_refused_has_left_the_lake_as_it_was(tmp_path: Path, write_table: Callable[..., None]) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    row: dict[str, Any] = {column.name: {"STRING": "a", "DATE": moment.date(), "TIMESTAMP": moment}.get(column.type, 1)
                           for column in RUNS.columns}
    lake = Lake(str(tmp_path / "lake"))
    write_table(lake, RUNS, [row])
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with DuckDBWarehouse(lake, 60) as warehouse:
        for sql in REFUSED:
            with pytest.raises(QueryRefusedError):
                warehouse.query(sql)
        assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
        assert warehouse.query("SELECT run_id FROM ops.runs")["run_id"].to_pylist() == ["a"]
