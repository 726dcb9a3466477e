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
TIMEOUT, PATIENCE = 3, 20  # seconds: of a query, and until it must have ended on a busy machine
SERVED = {relation.name for relation in RELATIONS}
OWN = sorted(path.read_text() for path in (PROJECT_ROOT / "sql").rglob("*.sql"))
WORDS = re.compile(r"\s+|\w+|'[^'\n]*'|[^\w\s]")
EVIL = """
read_csv read_csv_auto read_text read_blob read_parquet read_json glob delta_scan parquet_scan sniff_csv query
query_table duckdb_settings duckdb_secrets duckdb_extensions pragma_database_list getenv current_setting getvariable
which_secret error divide_float numeric_units nextval txid_current information_schema.tables sqlite_master
pg_catalog.pg_class main.x temp.x system.x whole_gold.daily_sales bronze.events silver.events silver.quarantine
memory.gold.daily_sales ATTACH DETACH COPY EXPORT IMPORT INSTALL LOAD PRAGMA SET RESET CALL USE CREATE DROP INSERT
UPDATE DELETE MERGE TRUNCATE CHECKPOINT VACUUM EXPLAIN DESCRIBE SUMMARIZE SHOW PIVOT UNPIVOT TABLESAMPLE VALUES TABLE
RECURSIVE LATERAL STRUCT COLUMNS EXCLUDE EXCEPT REPLACE ASOF POSITIONAL NATURAL USING INTO OUTFILE QUALIFY WINDOW
""".split()
PLAIN = """
SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET UNION ALL DISTINCT INTERSECT WITH AS JOIN LEFT RIGHT FULL CROSS ON
AND OR NOT IN IS NULL LIKE BETWEEN EXISTS CASE WHEN THEN ELSE END CAST SAFE_CAST DATE TIMESTAMP INTERVAL DAY UNNEST
ARRAY OVER PARTITION ROWS PRECEDING SUM COUNT AVG MIN MAX ROW_NUMBER LAG ROUND SAFE_DIVIDE DIV MOD CONCAT LENGTH TO_HEX
SHA256 GENERATE_DATE_ARRAY CURRENT_DATE EXTRACT STARTS_WITH NUMERIC STRING INT64 FLOAT64 BOOL a b t x units event_date
run_id product_id gold.daily_sales ops.runs silver.quarantine_counts gold.category_revenue 0 1 1.5 1e400 -1
99999999999999999999 '2026-01-31' '%a_%' '' 'pine' "q" `a` `a b` @p @@v ? $1 :x ( ) [ ] { } < > = != , . ; * + - / % ||
:: -> => := ! ~ ^ & | # -- /* */ /*+ \\ ' " ` \n \t $$ r'x' b'x' \ud800 \x00 \u202e é 😀
""".split(" ")
SIGNS = [word for line in PLAIN for word in line.split("\n") if word]


def place(relation: str) -> st.SearchStrategy[str]:
    return st.sampled_from([relation, f"`{relation}`", f"{relation} AS t"])


SOUPS = st.lists(st.sampled_from([*SIGNS, *EVIL, "'/etc/passwd'"]), max_size=40).map(
    lambda words: "SELECT " + " ".join(words))
VALUES = st.recursive(
    st.sampled_from(["units", "event_date", "product_id", "1", "1.5", "'a'", "NULL", "DATE '2026-01-31'", "TRUE", "t.x",
                     "net_amount", "CAST(2 AS NUMERIC)", "@p", "'%_x%'", *(f"{word}('/etc/passwd')" for word in EVIL)]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "||", "AND", "=", "<", "LIKE", "IS NOT", "IN", "->"]),
                  inner).map(" ".join),
        st.tuples(st.sampled_from(["SUM", "COUNT", "MAX", "LENGTH", "ROUND", "CONCAT", "ARRAY", "(SELECT", "ABS", "",
                                   "NOT", "error", "read_text", "STRUCT"]), inner).map(lambda two: f"{two[0]}({two[1]})"),
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
    st.sampled_from(["", "GROUP BY 1", "ORDER BY 1", "LIMIT 3", "GROUP BY ALL", "QUALIFY TRUE", "; DROP TABLE ops.runs"]))
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
        put = draw(st.one_of(st.sampled_from([*SIGNS, *EVIL]).map(lambda one: [one]), st.just(piece * 2), st.just([])))
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
    return {column.name: samples.get(column.type, None if column.type.startswith("ARRAY") else 1) for column in table.columns}


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
             "FROM duckdb_views()", "SELECT function_name FROM duckdb_functions()")  # an extension that is loaded adds some
    files = [(path, path.stat().st_mtime_ns) for path in Path(lake.root).parent.rglob("*") if "_spill" not in path.parts]
    return [sorted(warehouse._connection.execute(one).fetchall()) for one in asked] + [sorted(files)]


def ask(warehouse: DuckDBWarehouse, sql: str) -> bool:
    """Ask a question as the page Ask does, and check what it must not do; give whether it was answered."""
    began = time.monotonic()
    try:
        text = warehouse.explain(sql, {"p": "pine"})
        names = duckdb.connect().get_table_names(text, qualified=True)  # with their aliases, as it writes them
        assert {name.split(" ")[0].replace('"', "") for name in names} <= SERVED, (sql, names)
        answer = run_adhoc_query(warehouse, sql, 100, "GBP")
    except WarehouseError as error:
        said = str(error)
        assert "\n" not in said or "more query" in said, (sql, said)
        assert PLANTED not in said
        return False
    finally:
        assert time.monotonic() - began < PATIENCE, sql
    assert PLANTED not in answer.csv, sql
    return True


@fuzz(250)
@given(st.one_of(SOUPS, NESTED, NESTED, mutated()))
def test_no_question_does_more_than_read_what_is_served(warehouse: DuckDBWarehouse, sql: str) -> None:
    ask(warehouse, sql)


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
