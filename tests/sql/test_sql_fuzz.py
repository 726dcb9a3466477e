"""Thousands of made and mutated questions: none reads a file or a table that is not served, none breaks the gate.

The oracle is not the gate's: DuckDB's own parser tells what the translation reads, rows and files that no answer may
hold are planted beside the served tables, and the process's settings, extensions and files are compared at the end.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fuzz_bounds import fuzz
from hypothesis import given
from hypothesis import strategies as st

from shoplake.contract.tables import DAILY_SALES, RUNS, SILVER_QUARANTINE, Table
from shoplake.dashboards.adhoc import run_adhoc_query
from shoplake.errors import WarehouseError
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.protocol import RELATIONS

PLANTED = "pineapple"
TIMEOUT, PATIENCE = 3, 45  # seconds: of a query; and until it has been explained and asked, on a busy machine
_PARSER = duckdb.connect()
SERVED = {relation.name for relation in RELATIONS}
OWN = sorted(path.read_text() for path in (PROJECT_ROOT / "sql").rglob("*.sql"))
WORDS = re.compile(r"\s+|\w+|'[^'\n]*'|[^\w\s]")
WORD = re.compile("[^ \n]+")
EVIL = WORD.findall("""
read_csv read_csv_auto read_text read_blob read_parquet read_json glob delta_scan parquet_scan sniff_csv query
query_table duckdb_settings duckdb_secrets duckdb_extensions pragma_database_list getenv current_setting getvariable
which_secret error divide_float numeric_units nextval txid_current information_schema.tables sqlite_master
pg_catalog.pg_class main.x temp.x system.x whole_gold.daily_sales bronze.events silver.events silver.quarantine
memory.gold.daily_sales ATTACH DETACH COPY EXPORT IMPORT INSTALL LOAD PRAGMA SET RESET CALL USE CREATE DROP INSERT
UPDATE DELETE MERGE TRUNCATE CHECKPOINT VACUUM EXPLAIN DESCRIBE SUMMARIZE SHOW PIVOT UNPIVOT TABLESAMPLE VALUES TABLE
RECURSIVE LATERAL STRUCT COLUMNS EXCLUDE EXCEPT REPLACE ASOF POSITIONAL NATURAL USING INTO OUTFILE QUALIFY WINDOW
""")
PLAIN = WORD.findall("""
SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET UNION ALL DISTINCT INTERSECT WITH AS JOIN LEFT RIGHT FULL CROSS ON
AND OR NOT IN IS NULL LIKE BETWEEN EXISTS CASE WHEN THEN ELSE END CAST SAFE_CAST DATE TIMESTAMP INTERVAL DAY UNNEST
ARRAY OVER PARTITION ROWS PRECEDING SUM COUNT AVG MIN MAX ROW_NUMBER LAG ROUND SAFE_DIVIDE DIV MOD CONCAT LENGTH TO_HEX
SHA256 GENERATE_DATE_ARRAY CURRENT_DATE EXTRACT STARTS_WITH NUMERIC STRING INT64 FLOAT64 BOOL a b t x units event_date
run_id product_id gold.daily_sales ops.runs silver.quarantine_counts gold.category_revenue 0 1 1.5 1e400 -1
99999999999999999999 '2026-01-31' '%a_%' '' 'pine' "q" `a` `a b` @p @@v ? $1 :x ( ) [ ] { } < > = != , . ; * + - / % ||
:: -> => := ! ~ ^ & | # -- /* */ /*+ \\ ' " ` \n \t $$ r'x' b'x' \ud800 \x00 \u202e é 😀
""")


def place(relation: str) -> st.SearchStrategy[str]:
    return st.sampled_from([relation, f"`{relation}`", f"{relation} AS t"])


SOUPS = st.lists(st.sampled_from([*PLAIN, *EVIL, "'/etc/passwd'"]), max_size=40).map(
    lambda words: "SELECT " + " ".join(words))
VALUES = st.recursive(
    st.sampled_from(["units", "event_date", "product_id", "1", "1.5", "'a'", "NULL", "DATE '2026-01-31'", "TRUE", "t.x",
                     "net_amount", "CAST(2 AS NUMERIC)", "@p", "'%_x%'", *(f"{word}('/etc/passwd')" for word in EVIL)]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "||", "AND", "=", "<", "LIKE", "IS NOT", "IN", "->"]),
                  inner).map(" ".join),
        st.tuples(st.sampled_from(["SUM", "COUNT", "MAX", "LENGTH", "ROUND", "CONCAT", "ARRAY", "(SELECT", "ABS", "",
                                   "NOT", "error", "read_text", "STRUCT"]),
                                   inner).map(lambda two: f"{two[0]}({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"CASE WHEN {two[0]} THEN {two[1]} END"),
        inner.map(lambda one: f"CAST({one} AS STRING)"),
        inner.map(lambda one: f"(SELECT {one} FROM ops.runs LIMIT 1)"),
        inner.map(lambda one: f"SUM({one}) OVER (PARTITION BY product_id)")), max_leaves=8)
TABLES = st.one_of(
    place("gold.daily_sales"), place("ops.runs"), place("silver.quarantine_counts"),
    st.sampled_from(EVIL).map(lambda word: f"{word}('/etc/passwd')"), st.sampled_from(EVIL),
    st.just("UNNEST(GENERATE_DATE_ARRAY('2026-01-01', '2026-01-09')) AS x"))
SELECTS = st.builds(
    lambda values, table, where, tail: f"SELECT {', '.join(values)} FROM {table} WHERE {where} {tail}",
    st.lists(VALUES, min_size=1, max_size=4), TABLES, VALUES,
    st.sampled_from(["", "GROUP BY 1", "ORDER BY 1", "LIMIT 3", "GROUP BY ALL", "QUALIFY TRUE",
        "; DROP TABLE ops.runs"]))
NESTED = st.recursive(SELECTS, lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from(["UNION ALL", "EXCEPT DISTINCT", ";"]), inner).map(" ".join),
    st.tuples(inner, inner).map(lambda two: f"WITH a AS ({two[0]}) {two[1]}"),
    inner.map(lambda one: f"SELECT * FROM ({one}) AS t"),
    inner.map(lambda one: f"SELECT a.*, b.* FROM ({one}) AS a, ({one}) AS b")), max_leaves=4)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Give one of our own queries, with words taken out, doubled, moved, or put in the place of others."""
    words = WORDS.findall(draw(st.sampled_from(OWN)))
    for _ in range(draw(st.integers(1, 6))):
        at, length = draw(st.integers(0, len(words))), draw(st.integers(0, 4))
        piece = words[at:at + length]
        put = draw(st.one_of(st.sampled_from([*PLAIN, *EVIL]).map(lambda one: [one]), st.just(piece * 2), st.just([])))
        words[at:at + length] = put
    return "".join(words)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, write_table: Any) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("fuzz") / "lake"))
    for table in (DAILY_SALES, RUNS, SILVER_QUARANTINE):
        write_table(lake, table, [row_of(table, "pine" if table.served else PLANTED)])
    (Path(lake.root) / "planted.csv").write_text(f"x\n{PLANTED}\n")
    return lake


def row_of(table: Table, text: str) -> dict[str, Any]:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples = {"STRING": text, "DATE": noon.date(), "TIMESTAMP": noon, "BINARY": text.encode(), "BOOLEAN": True,
               "ARRAY<STRING>": ["pine"], "ARRAY<DATE>": [noon.date()]}
    return {column.name: samples.get(column.type,
        None if column.type.startswith("ARRAY") else 1) for column in table.columns}


@pytest.fixture(scope="module")
def warehouse(lake: Lake) -> Iterator[DuckDBWarehouse]:
    with DuckDBWarehouse(lake, TIMEOUT) as opened:
        for relation in RELATIONS:
            opened.query(f"SELECT * FROM {relation.name}")  # what a question's first reading makes is made
        before = state(opened, lake)
        yield opened
        assert state(opened, lake) == before


def state(warehouse: DuckDBWarehouse, lake: Lake) -> list[Any]:
    """Give what no question may change: settings, databases, extensions, relations, and every file of the folder."""
    asked = ("SELECT name, value FROM duckdb_settings()", "SELECT database_name, path FROM duckdb_databases()",
             "SELECT schema_name, table_name FROM duckdb_tables() UNION ALL SELECT schema_name, view_name "
             "FROM duckdb_views()",
             "SELECT function_name FROM duckdb_functions()")  # an extension that is loaded adds some
    files = [(path,
        path.stat().st_mtime_ns) for path in Path(lake.root).parent.rglob("*") if "_spill" not in path.parts]
    return [sorted(warehouse._connection.execute(one).fetchall()) for one in asked] + [sorted(files)]


def read_tables(text: str) -> set[str] | None:
    """Give the tables that a text reads, by DuckDB's own parser; None if it takes it for no query."""
    try:
        names = _PARSER.get_table_names(text, qualified=True)  # with their aliases, as it writes them
    except duckdb.Error:
        return None
    return {name.split(" ")[0].replace('"', "") for name in names}


def ask(warehouse: DuckDBWarehouse, sql: str) -> bool:
    """Ask a question as the page Ask does, and check what it must not do; give whether it was answered."""
    began = time.monotonic()
    try:
        text = warehouse.explain(sql, {"p": "pine"})
        names = read_tables(text)
        assert names is None or names <= SERVED, (sql, names)
        answer = run_adhoc_query(warehouse, sql, 100, "GBP")
    except WarehouseError as error:
        said = str(error)
        assert "\n" not in said or "more query" in said, (sql, said)
        assert PLANTED not in said
        return False
    finally:
        assert time.monotonic() - began < PATIENCE, sql[:300]
    assert names is not None, (sql, "DuckDB's parser refuses what it has answered")
    assert PLANTED not in answer.csv, sql
    return True


@fuzz(250)
@given(st.one_of(SOUPS, NESTED, NESTED, mutated()))
def test_no_question_does_more_than_read_what_is_served(warehouse: DuckDBWarehouse, sql: str) -> None:
    ask(warehouse, sql)


def doubled(first: str, again: str, count: int) -> str:
    """Give WITH queries, each made of the one before."""
    parts = [f"a0 AS ({first})", *(f"a{number} AS ({again.format(before=f'a{number - 1}')})"
                                   for number in range(1, count))]
    return f"WITH {', '.join(parts)} SELECT COUNT(*) AS n FROM a{count - 1} WHERE x IS NOT NULL"


DAYS = "UNNEST(GENERATE_DATE_ARRAY('0001-01-01', '9999-12-31'))"
# What the fuzzing and the hunt for it found: each of them crashed, took minutes, or could not be stopped.
FOUND = {
    "nothing": "SELECT ", "nothing from": "SELECT FROM ops.runs", "nested": f"SELECT {'(' * 3000}1{')' * 3000} AS a",
    "nots": f"SELECT {'NOT ' * 3000}TRUE AS a", "minus": f"SELECT {'- ' * 3000}1 AS a",
    "sub-queries": "SELECT * FROM " + "(SELECT * FROM " * 300 + "ops.runs" + ")" * 300,
    "cases": f"SELECT {'CASE WHEN TRUE THEN ' * 300}1{' END' * 300} AS a", "sums": f"SELECT {'1+' * 9000}1 AS a",
    "unions": " UNION ALL ".join(["SELECT 1 AS a"] * 800), "long": "SELECT " + "1 + " * 20_000 + "1 AS a",
    "names by names": "SELECT 1 AS a0" + "".join(f", a{n - 1} + a{n - 1} AS a{n}" for n in range(1, 30)),
    "a number of zeros": "SELECT CAST(1 AS NUMERIC) + 1e99999999 AS a", "half": "SELECT '\ud800' AS a",
    "NUL": "SELECT '\0' AS a", "divisions": f"SELECT {'CAST(1 AS NUMERIC) / (' * 9}1{')' * 9} AS a",
    "texts": doubled("SELECT 'xxxxxxxx' AS x", "SELECT x || x AS x FROM {before}", 40),
    "CONCAT": doubled("SELECT 'xxxxxxxx' AS x", "SELECT CONCAT(x, x, x) AS x FROM {before}", 30),
    "rows": doubled("SELECT 1 AS x", "SELECT p.x FROM {before} AS p CROSS JOIN {before} AS q", 9).replace(
        "SELECT 1 AS x", f"SELECT 1 AS x FROM {DAYS} AS d"),
    "arrays": f"SELECT GENERATE_DATE_ARRAY('0001-01-01', '9999-12-31') AS x FROM {DAYS} AS d",
    "LIKE of a column": "SELECT run_id LIKE run_id AS a FROM ops.runs",
    "LIKE of a value": "SELECT run_id LIKE @p AS a FROM ops.runs",
}


# Whether these are too deep, or take too long to read, is the interpreter's and the machine's.
MAY_BE_ANSWERED = ("nested", "nots", "minus", "sub-queries", "cases", "sums", "unions")


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused(warehouse: DuckDBWarehouse, name: str) -> None:
    assert not ask(warehouse, FOUND[name]) or name in MAY_BE_ANSWERED


def test_a_pattern_that_took_for_ever_is_answered(warehouse: DuckDBWarehouse) -> None:
    text = f"'{'a' * 400}' || CAST(d AS STRING)"
    sql = f"SELECT x LIKE '_{'%a' * 20}_%b' AS y FROM (SELECT {text} AS x FROM " \
        "UNNEST(GENERATE_DATE_ARRAY('2026-01-01', '2026-01-09')) AS d)"
    assert ask(warehouse, sql)
    assert warehouse.query(sql)["y"].to_pylist() == [False] * 9


def test_a_long_chain_of_texts_and_many_divisions_are_no_growth(warehouse: DuckDBWarehouse) -> None:
    sql = f"SELECT {' || '.join(['run_id'] * 60)} AS a, {', '.join(f'1 / 2 AS b{n}' for n in range(60))} FROM ops.runs"
    assert warehouse.query(sql)["a"].to_pylist() == ["pine" * 60]


def test_an_answer_has_a_bound(warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoplake.warehouse.duckdb.MAX_ANSWER_BYTES", 1_000_000)
    sql = "SELECT GENERATE_DATE_ARRAY('1900-01-01', '2099-12-31') AS x FROM " \
        "UNNEST(GENERATE_DATE_ARRAY('2026-01-01', '2026-01-09')) AS d"
    with pytest.raises(WarehouseError, match="the answer has more than 1,000,000 bytes"):
        warehouse.query(sql, {}, 100)
    assert warehouse.query(sql).num_rows == 9, "a program's answers have no such bound"


@pytest.mark.parametrize("value", ["\ud800", "\0", "x" * 20_001])
def test_a_value_that_is_no_text_is_refused(warehouse: DuckDBWarehouse, value: str) -> None:
    with pytest.raises(WarehouseError, match="the value of @p has"):
        warehouse.query("SELECT run_id FROM ops.runs WHERE run_id = @p", {"p": value})


@fuzz(40)
@given(st.lists(st.sampled_from("ab%_.\\+*?()[]{}|^$- é😀\n"), max_size=12).map("".join),
       st.lists(st.sampled_from("ab%_.+*?()[]{}|^$- é😀\n"), max_size=12).map("".join))
def test_a_pattern_means_what_duckdbs_own_like_means(warehouse: DuckDBWarehouse, text: str, pattern: str) -> None:
    """Patterns of % and _ are matched by a regular expression: the same texts match."""
    if "\\" in pattern:
        return
    (wanted,) = duckdb.execute("SELECT CAST($1 AS VARCHAR) LIKE CAST($2 AS VARCHAR)", [text, pattern]).fetchone() or ()
    sql = f"SELECT {literal('_%' + text)} LIKE {literal('_%' + pattern)} AS x, {literal(text)} LIKE " \
        f"{literal(pattern)} AS y"
    answer = warehouse.query(sql).to_pylist()[0]
    assert answer["y"] is wanted
    (wanted,) = duckdb.execute(
        "SELECT CAST($1 AS VARCHAR) LIKE CAST($2 AS VARCHAR)", ["_%" + text, "_%" + pattern]).fetchone() or ()
    assert answer["x"] is wanted


def literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
