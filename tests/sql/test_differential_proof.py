"""Every query and view gives the same rows, names and types in DuckDB and in Google's engine, on random tables.

Twenty sets of tables for each of them in `make test`, always the same; 200 others in `make test-sql`.
"""

import math
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from shoplake.contract.columns import Column
from shoplake.contract.render import duckdb_ddl
from shoplake.contract.tables import TABLES, VIEWS, Table, View, find_table
from shoplake.lake.sql import select_nothing
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.googlesql import Value, read_query
from shoplake.warehouse.named_queries import NamedQuery, Parameter, read_named_query, resolve_parameters
from shoplake.warehouse.presentation import rows_of
from shoplake.warehouse.protocol import RELATIONS

Rows = list[dict[str, Any]]
Shop = Mapping[str, Rows]
Answer = tuple[list[str], list[str], list[tuple[Any, ...]]]
FILES = {str(file.relative_to(PROJECT_ROOT)): file for file in sorted((PROJECT_ROOT / "sql").rglob("*.sql"))}
VIEW_NAMES = {view.name: view for view in VIEWS}
KINDS = {"int64": "INT64", "int32": "INT64", "double": "FLOAT64", "string": "STRING", "date32[day]": "DATE",
         "bool": "BOOL", "timestamp[us, tz=UTC]": "TIMESTAMP"}
# Leap days, both changes of London's clocks, turns of the year, and a year with a 53rd week.
ANCHORS = [date(2024, 2, 29), date(2028, 2, 29), date(2026, 3, 29), date(2026, 10, 25), date(2025, 12, 31),
           date(2026, 1, 1), date(2021, 1, 3), date(2100, 2, 28)]
# Today and the days that queries look back to, so that bases are found as often as they are missing.
STEPS = [0, 0, -1, -2, -6, -7, -8, -13, -14, -27, -28, -30, -31, -56, -60, -90, -364, -365, 1, 3, 7]
AMOUNTS = [Decimal(text) for text in ("0", "200", "0.0003", "-3", "-0.0001", "19.99", "1234567.8901", "-250000.5", "1")]
COUNTS = [0, 0, 1, 1, 2, 3, 7, 40, 1000, -1]
TEXTS = ["a", "B", "ä", "äß", "e\u0301", "", "=1+1", "日本", "🛒", "a b", "all", "%", "Z"]
# Columns of these names meet in joins, so they take few values.
FEW = {"product_id": TEXTS[:4], "category": TEXTS[:3], "user_id": ["u1", "u2", "U1", "ü"], "model": ["m", "n"]}
TIMES = [time(0), time(0, 55), time(1), time(1, 30), time(12, 0, 0, 1), time(23, 59, 59, 999999)]


@st.composite
def shops(draw: st.DrawFn, tables: tuple[Table, ...], words: set[str]) -> tuple[Shop, list[date]]:
    """Draw rows for the tables: unique by their keys, with values from small pools, so that keys meet and rows tie.

    Columns whose names are not among `words`, those of the query, have one value.
    """
    anchor = draw(st.sampled_from(ANCHORS))
    some = st.lists(st.sampled_from(STEPS) | st.integers(-40, 10), min_size=1, max_size=8)
    steps = draw(some | st.just([*range(-9, 1)]))
    days = sorted({anchor + timedelta(days=step) for step in steps})
    pools = draw(st.fixed_dictionaries({
        "amounts": st.lists(st.sampled_from(AMOUNTS) | st.decimals(-10**9, 10**9, places=4), min_size=1, max_size=5),
        "counts": st.lists(st.sampled_from(COUNTS), min_size=1, max_size=5), "few": st.sampled_from([1, 2, 4, 4]),
        "least": st.sampled_from([0, 0, 1, 8, 12]),
    }))
    shop = {table.name: draw(_rows_of(table, words, days, pools)) for table in tables}
    return shop, days


def _rows_of(table: Table, words: set[str], days: list[date], pools: dict[str, Any]) -> st.SearchStrategy[Rows]:
    columns = {column.name: _values_of(column, days, pools, column.name in words or column.name in table.key)
               for column in table.columns}

    def keep_key(rows: Rows) -> Rows:
        for row in rows:
            if "window_end" in row:  # the one column that another decides, and queries rely on it
                row["window_end"] = row["window_start"] + timedelta(hours=1)
        return list({tuple(row[name] for name in table.key): row for row in rows}.values())

    return st.lists(st.fixed_dictionaries(columns), min_size=pools["least"], max_size=16).map(keep_key)


def _fitting(column: Column, amounts: list[Decimal]) -> list[Decimal]:
    """Give the amounts that the column's type holds, one at the least."""
    precision, scale = map(int, column.type.removeprefix("DECIMAL(").rstrip(")").split(","))
    return [amount for amount in amounts if abs(amount) < 10**(precision - scale)] or [Decimal(1)]


def _values_of(column: Column, days: list[date], pools: dict[str, Any], is_used: bool) -> st.SearchStrategy[Any]:
    by_type: dict[str, list[Any]] = {
        "DATE": days, "TIMESTAMP": [datetime.combine(day, at, UTC) for day in days for at in TIMES],
        "INT": pools["counts"], "BIGINT": pools["counts"], "BOOLEAN": [True, False],
        "DOUBLE": [0.0, 0.125, 1.0, 1.5, 7.25, 40.0],  # sums of these are exact in any order
        "STRING": FEW[column.name][:pools["few"]] if column.name in FEW else TEXTS, "BINARY": [b"", b"x\xff"],
        "ARRAY<STRING>": [[], ["r1"], ["r1", "r2"]],
    }
    is_decimal = column.type.startswith("DECIMAL")
    values = _fitting(column, pools["amounts"]) if is_decimal else by_type.get(column.type, [[]])
    if not is_used:
        return st.just(values[0])
    return st.sampled_from([None, *values, *values] if column.nullable else values)


def _parameters(query: NamedQuery, days: list[date]) -> st.SearchStrategy[dict[str, Value]]:
    around = [day + timedelta(days=step) for day in days for step in (-30, -7, -1, 0, 0, 0, 1)]
    words = [word for text in re.findall(r"= '(\w+)'", query.sql) for word in (text, text, "a", "p", "ä")] or TEXTS
    values: dict[str, st.SearchStrategy[Any]] = {
        "DATE": st.sampled_from(around), "INT64": st.sampled_from([0, 1, 1, 2, 3, 5, 12]),
        "STRING": st.sampled_from(words),
        "NUMERIC": st.sampled_from([Decimal(text) for text in ("0", "0", "0.05", "0.5", "0.8", "0.95", "1", "-1")]),
    }
    by_name = st.fixed_dictionaries({parameter.name: values[parameter.type] for parameter in query.parameters})
    # Headers declare the last day first: mostly the days go back, sometimes a period ends before it begins.
    names = [parameter.name for parameter in query.parameters if parameter.type == "DATE"]

    def sort_days(given: dict[str, Value]) -> dict[str, Value]:
        picked = sorted((given[name] for name in names), key=str, reverse=True)
        return {**given, **dict(zip(names, picked, strict=True))}

    def take_all(given: dict[str, Value]) -> dict[str, Value]:
        last = [days[-1], days[0], days[0] - timedelta(days=30)]
        return {**given, **dict(zip(names, last, strict=False))}

    return st.one_of(by_name, by_name.map(sort_days), by_name.map(take_all), by_name.map(take_all))


class Duck:
    """DuckDB with the shop's tables, and queries as the embedded warehouse writes and runs them."""

    def __init__(self, tables: tuple[Table, ...], views: tuple[View, ...]) -> None:
        self._connection = duckdb.connect()
        self._tables, self._texts = tables, dict[str, str]()
        for statement in ("SET TimeZone = 'UTC'", "CREATE SCHEMA silver", "CREATE SCHEMA gold", "CREATE SCHEMA ops",
                          *MACROS, *map(duckdb_ddl, tables)):
            self._connection.execute(statement)
        for view in views:
            text = write_duckdb(read_query(view.sql, {}, [find_table(name) for name in view.reads]))
            self._connection.execute(f"CREATE VIEW {view.name} AS {text}")
        self._schemas = {table.name: self._connection.execute(select_nothing(table.columns)).to_arrow_table().schema
                         for table in tables}

    def fill(self, shop: Shop) -> None:
        for table in self._tables:
            rows = pa.Table.from_pylist(shop[table.name], schema=self._schemas[table.name])  # noqa: F841 - DuckDB sees it
            self._connection.execute(f"DELETE FROM {table.name}")
            self._connection.execute(f"INSERT INTO {table.name} SELECT * FROM rows")

    def query(self, sql: str, parameters: Mapping[str, Value]) -> pa.Table:
        if sql not in self._texts:
            self._texts[sql] = write_duckdb(read_query(sql, parameters, (*RELATIONS, *TABLES)))
        return self._connection.execute(self._texts[sql], dict(parameters)).to_arrow_table()

    def newest_day(self, name: str, column: str) -> date | None:
        (newest,) = self._connection.execute(f"SELECT max({column}) FROM {name}").fetchone() or (None,)
        assert newest is None or isinstance(newest, date)
        return newest


def _find_relations(sql: str) -> tuple[tuple[Table, ...], tuple[View, ...]]:
    views = tuple(view for view in VIEWS if view.name in sql)
    names = [relation.name for relation in TABLES if re.search(rf"{re.escape(relation.name)}\b", sql)]
    names += [name for view in views for name in view.reads]
    return tuple(find_table(name) for name in dict.fromkeys(names)), views


@contextmanager
def _both_engines(
    prepare: Callable[..., Any], sql: str, parameters: tuple[Parameter, ...],
) -> Iterator[tuple[Duck, Callable[[Mapping[str, Value], Shop], Answer]]]:
    tables, views = _find_relations(sql)
    inlined = re.sub(r"^--.*", "", sql, flags=re.MULTILINE)
    for view in views:
        inlined = inlined.replace(view.name, f"({view.sql})")
    types = {parameter.name: parameter.type for parameter in parameters}
    with prepare(inlined, types, {table.name: table.columns for table in tables}) as evaluate:
        yield Duck(tables, views), lambda values, shop: evaluate(
            values, {table.name: [[row[name] for name in table.column_names] for row in shop[table.name]]
                     for table in tables})


def _assert_equal(answer: pa.Table, expected: Answer, is_ordered: bool) -> None:
    names, kinds, rows = expected
    assert answer.column_names == names
    assert ["NUMERIC" if pa.types.is_decimal(type_) else KINDS[str(type_)] for type_ in answer.schema.types] == kinds
    seen, wanted = [tuple(row) for row in rows_of(answer)], rows
    if not is_ordered:
        seen, wanted = sorted(seen, key=_sort_key), sorted(wanted, key=_sort_key)
    assert len(seen) == len(wanted)
    for here, there in zip(seen, wanted, strict=True):
        assert all(map(_is_same, here, there)), f"{here} in DuckDB, {there} in Google's engine"


def _sort_key(row: tuple[Any, ...]) -> list[str]:
    return [str(value.normalize() + 0) if isinstance(value, Decimal) else repr(value) for value in row]


def _is_same(here: Any, there: Any) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, rel_tol=1e-12) or (math.isnan(here) and math.isnan(there))
    return bool(here == there)


def _prove(prepare: Callable[..., Any], name: str, how_often: int, number: int) -> None:
    """Compare the engines on `how_often` sets of tables, each with the default parameters and with four random ones."""
    sql = VIEW_NAMES[name].sql if name in VIEW_NAMES else FILES[name].read_text()
    assert not re.search(r"SELECT \*|\.\*", sql), "name the columns: the proof draws those that the text names"
    query = NamedQuery(name, "", sql, ()) if name in VIEW_NAMES else read_named_query(name, sql)
    tables, views = _find_relations(sql)
    words = set(re.findall(r"\w+", " ".join([sql, *(view.sql for view in views)])))
    seen_rows = 0
    with _both_engines(prepare, sql, query.parameters) as (duck, evaluate):

        @seed(number)
        @settings(max_examples=how_often, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(st.data())
        def compare(data: st.DataObject) -> None:
            nonlocal seen_rows
            shop, days = data.draw(shops(tables, words), "tables")
            duck.fill(shop)
            defaults = resolve_parameters(query, {}, duck)
            drawn = data.draw(st.lists(_parameters(query, days), min_size=4, max_size=4), "parameters")
            for values in (defaults, *drawn) if defaults else ({},):
                answer = duck.query(sql, values)
                _assert_equal(answer, evaluate(values, shop), is_ordered=name not in VIEW_NAMES)
                seen_rows += answer.num_rows

        compare()
    assert seen_rows >= how_often // 4, "the random tables hardly reach this query: the proof proves little"


@pytest.mark.parametrize("name", [*FILES, *VIEW_NAMES])
def test_both_engines_agree(prepare_google_sql: Callable[..., Any], name: str) -> None:
    _prove(prepare_google_sql, name, 20, number=20261121)


@pytest.mark.sql_proof
@pytest.mark.parametrize("name", [*FILES, *VIEW_NAMES])
def test_both_engines_agree_on_200_sets_of_tables(prepare_google_sql: Callable[..., Any], name: str) -> None:
    number = int(os.environ.get("SQL_PROOF_SEED") or random.randrange(2**32))
    print(f"to repeat this: make test-sql SQL_PROOF_SEED={number}")  # shown if it fails
    _prove(prepare_google_sql, name, 200, number)
