"""Checks of our own statements: each must be right in BigQuery, mean the same in DuckDB, and read few partitions.

A query of sql/ passes if its header is right, Google's analyzer accepts it against the contract's schemas, every
construct is among those proven in both warehouses, each scan names its partitions, and both sides tell one type for
each column. A statement that only BigQuery runs (DDL, MERGE) passes Google's analyzer and the rule for partitions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import duckdb
import sqlglot
from sqlglot import exp

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_type
from shoplake.contract.tables import TABLES, Table, View
from shoplake.errors import QueryRefusedError, ShoplakeError
from shoplake.lake.sql import select_nothing
from shoplake.sections import GcpSettings
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.google_analyzer import GoogleAnalyzer
from shoplake.warehouse.googlesql import DIALECT, Query, Value, read_query
from shoplake.warehouse.named_queries import NamedQuery, check_default, read_named_query
from shoplake.warehouse.partition_filters import find_unfiltered_merge
from shoplake.warehouse.plan import ANY_PUBLICATION, published_tables, resolve_relation, staging_name
from shoplake.warehouse.protocol import RELATIONS
from shoplake.warehouse.role_plan import SALT

_SAMPLES: dict[str, Value] = {"DATE": date(2026, 1, 31), "INT64": 1, "STRING": "a", "NUMERIC": Decimal("1.5")}
_GOOGLES_NAMES = {
    "BIGINT": "INT64", "INTEGER": "INT64", "DOUBLE": "FLOAT64", "DECIMAL": "NUMERIC", "VARCHAR": "STRING",
    "BOOLEAN": "BOOL", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
_DICTIONARY = "the tables and their columns stand in docs/data_dictionary.md"
# What to do instead, for what Google's analyzer says.
_ADVICE = (
    (r"Unrecognized name|not found inside|does not exist in", "{columns}"),
    (r"Table not found", "allowed are {tables}"),
    (r"Query parameter", "declare it in the header: -- @name DATE: what it is (default: 2026-01-31)"),
    (r"No matching signature|common supertype|Could not cast|cannot be coerced|type mismatch|Column \d+ in",
     "give both sides one type, with CAST(… AS …); {columns}"),
    (r"neither grouped nor aggregated|not grouped", "add the column to GROUP BY, or aggregate it"),
    (r"Function not found", "allowed are plain operators, CASE and the usual aggregates"),
    (r"unction .* not allowed in|Aggregate function", "compute it in a WITH query, and filter in the query after it"),
    (r"ambiguous", "write the table's alias before the column"),
)


@dataclass(frozen=True)
class Finding:
    """A mistake: where it stands, what it is, and what is allowed."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Write it as compilers do, so that editors find the place."""
        return f"{self.file}:{self.line}: {self.message}"


def check_query(analyzer: GoogleAnalyzer, file: str, text: str) -> list[Finding]:
    """Check one file of sql/."""
    return [Finding(file, line or 1, message) for line, message in _find_mistakes(analyzer, text)]


def check_view(analyzer: GoogleAnalyzer, view: View, file: str, line_before: int = 0) -> list[Finding]:
    """Check a view of the contract; it must give the columns and types that the contract promises.

    Args:
        line_before: the line of `file` before the first of the view's text.
    """
    def find() -> Iterator[tuple[int | None, str]]:
        seen = _analyze(analyzer, view.sql, _columns_of(TABLES), {})
        promised = [(column.name, _plain_type(bigquery_type(column))) for column in view.columns]
        if seen != promised:
            yield None, f"{view.name} gives {_list(seen)}, but the contract promises {_list(promised)}"
        yield from _check_meaning(read_query(view.sql, {}, TABLES), seen)

    return [Finding(file, line_before + (line or 1), f"{view.name}: {message}") for line, message in _caught(find())]


def check_statement(analyzer: GoogleAnalyzer, name: str, sql: str, gcp: GcpSettings) -> list[Finding]:
    """Check a statement that makes or fills BigQuery's tables; `name` says which one it is."""
    def find() -> Iterator[tuple[int | None, str]]:
        published = {resolve_relation(table.name, gcp): table for table in published_tables()}
        known = {name: table.columns for name, table in published.items()}
        known |= {staging_name(table, gcp, ANY_PUBLICATION): table.columns for table in published.values()}
        known[resolve_relation(SALT.name, gcp)] = SALT.columns
        _analyze(analyzer, sql, {name: columns for name, columns in known.items() if name in sql}, {})
        tree = sqlglot.parse_one(sql, dialect=DIALECT) if sql.startswith("MERGE") else None  # it knows no row policies
        if isinstance(tree, exp.Merge):
            target = ".".join(part.name for part in tree.this.parts)
            yield from ((scan.line, str(scan)) for scan in find_unfiltered_merge(tree, published[target]))

    return [Finding(name, line or 1, message) for line, message in _caught(find())]


def _find_mistakes(analyzer: GoogleAnalyzer, text: str) -> Iterator[tuple[int | None, str]]:
    def find() -> Iterator[tuple[int | None, str]]:
        query = read_named_query("query", text)
        types = {parameter.name: parameter.type for parameter in query.parameters}
        seen = _analyze(analyzer, text, _columns_of(RELATIONS), types)
        read = read_query(text, {name: _SAMPLES[type_] for name, type_ in types.items()}, RELATIONS)
        for parameter in query.parameters:
            if parameter.name not in read.parameters:
                yield query.line_of(parameter), f"the query does not use @{parameter.name}; take it out of the header"
        yield from _caught_default(query)
        yield from _check_meaning(read, seen)

    return _caught(find())


def _caught_default(query: NamedQuery) -> Iterator[tuple[int | None, str]]:
    for parameter in query.parameters:
        try:
            check_default(query, parameter)
        except ShoplakeError as error:
            yield query.line_of(parameter), str(error)


def _check_meaning(read: Query, seen: Sequence[tuple[str, str]]) -> Iterator[tuple[int | None, str]]:
    """Give what keeps a query that BigQuery can read from meaning the same here, or from reading few partitions."""
    yield from ((scan.line, str(scan)) for scan in read.unfiltered)
    answered = _describe_in_duckdb(read)
    selects = read.tree.selects if isinstance(read.tree, exp.Query) else []
    for node, duckdb_type, (name, type_) in zip(selects, answered, seen, strict=True):
        here = _plain_type(node.type.sql(DIALECT)) if node.type else "UNKNOWN"
        wrong = next((other for other in (here, duckdb_type) if other != type_), None)
        if wrong:
            yield None, f"{name} is {type_} in BigQuery, but {wrong} in the translation; write CAST(… AS {type_})"


def _describe_in_duckdb(read: Query) -> list[str]:
    """Give the types of the columns that DuckDB answers with, by their names in GoogleSQL."""
    columns = _columns_of((*TABLES, *RELATIONS))
    with duckdb.connect() as connection:
        for statement in ("SET TimeZone = 'UTC'", *MACROS):
            connection.execute(statement)
        for name in read.tables:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.')[0]}")
            connection.execute(f"CREATE VIEW {name} AS {select_nothing(tuple(columns[name]))}")
        answer = connection.execute(write_duckdb(read), dict(read.parameters))
        types = [str(column[1]).split("(")[0] for column in answer.description or ()]
    return [_GOOGLES_NAMES.get(type_, type_) for type_ in types]


def _analyze(
    analyzer: GoogleAnalyzer, sql: str, tables: Mapping[str, Sequence[Column]], parameters: Mapping[str, str],
) -> list[tuple[str, str]]:
    try:
        return analyzer.analyze(sql, tables, parameters)
    except QueryRefusedError as error:
        message = str(error)
        advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, message)), _DICTIONARY)
        read = {name: columns for name, columns in tables.items() if name in sql}
        columns = "; ".join(f"{name} has {', '.join(column.name for column in its)}" for name, its in read.items())
        filled = advice.format(columns=columns or _DICTIONARY, tables=", ".join(tables))
        raise QueryRefusedError(f"{message}; {filled}", error.line) from error


def _caught(mistakes: Iterator[tuple[int | None, str]]) -> Iterator[tuple[int | None, str]]:
    try:
        yield from mistakes
    except QueryRefusedError as error:
        yield error.line, str(error)
    except ShoplakeError as error:
        yield None, str(error)


def _columns_of(relations: Sequence[Table | View]) -> dict[str, Sequence[Column]]:
    return {relation.name: relation.columns for relation in relations}


def _plain_type(type_: str) -> str:
    return "ARRAY" if type_.startswith("ARRAY") else type_.split("(")[0]


def _list(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in columns)

