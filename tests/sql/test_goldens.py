"""Each query of sql/ against rows that were worked out by hand: tests/sql/<query>/<case>/case.yaml says why."""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoplake.contract.columns import Column
from shoplake.contract.tables import Table, find_table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of
from shoplake.warehouse.protocol import RELATIONS

GoogleSql = Callable[..., tuple[list[str], list[str], list[tuple[Any, ...]]]]
WriteTable = Callable[[Lake, Table, list[dict[str, Any]]], None]
FOLDER = Path(__file__).parent
QUERIES = load_queries(PROJECT_ROOT / "sql") | load_queries(PROJECT_ROOT / "sql" / "dashboard")
CASES = sorted(FOLDER.glob("*/*/case.yaml"))
READERS: dict[str, Callable[[str], Any]] = {
    "STRING": str, "INT": int, "BIGINT": int, "DOUBLE": float, "DECIMAL": Decimal, "DATE": date.fromisoformat,
    "BOOLEAN": lambda text: text == "true", "TIMESTAMP": datetime.fromisoformat, "BINARY": str.encode,
    "ARRAY<STRING>": lambda text: text.split("|"),
}
# What a column holds that the case does not name: nothing that a query could take for a value.
DEFAULTS: dict[str, Any] = {
    "STRING": "", "INT": 0, "BIGINT": 0, "DOUBLE": 0.0, "DECIMAL": Decimal(0), "DATE": date(1970, 1, 1),
    "BOOLEAN": False, "TIMESTAMP": datetime(1970, 1, 1, tzinfo=UTC), "BINARY": b"",
}


def kind_of(column: Column) -> str:
    return column.type.split("(")[0]


def read_rows(table: Table, text: str) -> list[dict[str, Any]]:
    """Read the input of a table: CSV, where NULL is NULL and columns that are not there have their type's zero."""
    columns = {column.name: column for column in table.columns}
    defaults = {name: None if column.nullable else DEFAULTS.get(kind_of(column), [])
                for name, column in columns.items()}
    return [defaults | {name: None if cell == "NULL" else READERS[kind_of(columns[name])](cell)
                        for name, cell in row.items()} for row in csv.DictReader(io.StringIO(text))]


def read_cell(text: str, beside: Any) -> Any:
    """Read an expected cell as the type of the value that it is compared with."""
    if text == "NULL":
        return None
    if isinstance(beside, bool):
        return READERS["BOOLEAN"](text)
    if isinstance(beside, float):
        return pytest.approx(float(text), rel=1e-12)
    reader = {int: int, Decimal: Decimal, date: date.fromisoformat, datetime: datetime.fromisoformat}.get(type(beside))
    return reader(text) if reader else text


def assert_rows(query: str, columns: list[str], seen: list[list[Any]], expected: list[list[str]]) -> None:
    assert columns == expected[0], query
    assert len(seen) == len(expected) - 1, f"{query}: {seen}"
    for row, wanted in zip(seen, expected[1:], strict=True):
        assert row == [read_cell(text, value) for text, value in zip(wanted, row, strict=True)], query


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give a lake that each case fills anew."""
    return Lake(str(tmp_path_factory.mktemp("goldens") / "lake"))


@pytest.fixture(scope="module")
def warehouse(lake: Lake) -> Iterator[DuckDBWarehouse]:
    """Give one warehouse to all cases: opening one takes longer than a case."""
    with DuckDBWarehouse(lake, 60) as opened:
        yield opened


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_a_query_gives_the_rows_worked_out_by_hand(
    path: Path, lake: Lake, warehouse: DuckDBWarehouse, write_table: WriteTable, google_sql: GoogleSql,
) -> None:
    """In the embedded warehouse and in Google's own engine, where views are tables of their rows."""
    case, query = yaml.safe_load(path.read_text()), QUERIES[path.parts[-3]]
    assert set(case) <= {"why", "parameters", "input", "expected"}
    shutil.rmtree(lake.root, ignore_errors=True)
    for name, text in case["input"].items():
        write_table(lake, find_table(name), read_rows(find_table(name), text))
    expected = list(csv.reader(io.StringIO(case["expected"])))
    parameters = resolve_parameters(query, case.get("parameters", {}), warehouse)
    answer = warehouse.query(query.sql, parameters)
    assert_rows("DuckDB", answer.column_names, rows_of(answer), expected)
    tables = {}
    for relation in (relation for relation in RELATIONS if relation.name in query.sql):
        columns = [column for column in relation.columns if not column.type.startswith("ARRAY")]
        names = ", ".join(column.name for column in columns)
        tables[relation.name] = columns, rows_of(warehouse.query(f"SELECT {names} FROM {relation.name}"))
    names, _, rows = google_sql(query.sql, parameters, tables)
    assert_rows("Google's engine", names, [list(row) for row in rows], expected)


def test_every_query_has_cases_that_say_why() -> None:
    cases = [path.parts[-3] for path in CASES]
    assert set(cases) <= set(QUERIES)
    for name in QUERIES:
        assert cases.count(name) >= 2, name
    for path in CASES:
        assert len(yaml.safe_load(path.read_text())["why"]) > 30, path
