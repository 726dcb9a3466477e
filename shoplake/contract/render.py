"""Render the contract: Spark schemas, DuckDB and BigQuery DDL, and the data dictionary."""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import sqlglot.expressions as exp
from sqlglot import parse_one

from shoplake.contract.columns import AMOUNT, RATE, Column, Privacy
from shoplake.contract.events import FIELDS
from shoplake.contract.tables import TABLES, VIEWS, Table, View

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import StructType


# BigQuery's API answers with the older names: with the newer ones every plan of Terraform would show a change.
_API_TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}


@cache
def _type_in(spark_type: str, dialect: str) -> str:
    return exp.DataType.build(spark_type, dialect="spark").sql(dialect=dialect)


def spark_ddl(columns: tuple[Column, ...]) -> str:
    """Give the columns as Spark's schema text; all nullable, because a DataFrame's nullability is not a promise."""
    return ", ".join(f"`{column.name}` {column.type}" for column in columns)


def spark_schema(table: Table) -> "StructType":
    """Give the table's Spark schema (needs an active session)."""
    from pyspark.sql.types import StructType

    # fromDDL promises a DataType only; a list of columns is always a struct.
    return cast(StructType, StructType.fromDDL(spark_ddl(table.columns)))


def arrow_schema(table: Table) -> "pa.Schema":
    """Give the table's Arrow schema, for tables that delta-rs writes: without structs."""
    import pyarrow as pa

    types = {
        "STRING": pa.string(), "BOOLEAN": pa.bool_(), "INT": pa.int32(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(),
        "DATE": pa.date32(), "TIMESTAMP": pa.timestamp("us", "UTC"), "BINARY": pa.binary(), RATE: pa.decimal128(28, 6),
        AMOUNT: pa.decimal128(28, 4), "ARRAY<STRING>": pa.list_(pa.string()),
    }
    return pa.schema([(column.name, types[column.type]) for column in table.columns])


def duckdb_columns(columns: tuple[Column, ...]) -> dict[str, str]:
    """Map each column's name to its DuckDB type."""
    return {column.name: _type_in(column.type, "duckdb") for column in columns}


def duckdb_ddl(table: Table) -> str:
    """Give the table as a DuckDB CREATE TABLE statement."""
    lines = (f'  "{name}" {type_}{_not_null(column)}' for column, (name, type_) in
             zip(table.columns, duckdb_columns(table.columns).items(), strict=True))
    return f"CREATE TABLE {table.name} (\n" + ",\n".join(lines) + "\n)"


def bigquery_type(column: Column) -> str:
    """Give the column's BigQuery type."""
    return _type_in(column.type, "bigquery")


def bigquery_ddl(table: Table, dataset: str) -> str:
    """Give the table as a BigQuery CREATE TABLE statement.

    Args:
        dataset: the resolved dataset, `project.dataset` or `dataset`.
    """
    lines = (f"  `{column.name}` {bigquery_type(column)}{_not_null(column)} "
             f"OPTIONS(description={_text(column.description)})"
             for column in table.columns)
    parts = [f"CREATE TABLE IF NOT EXISTS `{dataset}.{table.name.split('.')[1]}` (\n" + ",\n".join(lines) + "\n)"]
    if table.partition_by:
        parts.append(f"PARTITION BY {table.partition_by}")
    if table.cluster_by:
        parts.append("CLUSTER BY " + ", ".join(table.cluster_by))
    options = [f"description={_text(table.description)}"]
    if table.requires_partition_filter:
        options.append("require_partition_filter=TRUE")
    options.append(f"labels=[('layer', {_text(table.layer)})]")
    parts.append(f"OPTIONS({', '.join(options)})")
    return "\n".join(parts)


def bigquery_schema(table: Table, policy_tags: Mapping[Privacy, str] | None = None) -> list[dict[str, Any]]:
    """Give the table's columns as BigQuery's own JSON schema, in the names that its API answers with.

    Args:
        policy_tags: by a column's class, the tag of Data Catalog that says who may read it.
    """
    fields = [_bigquery_field(column.name, exp.DataType.build(column.type, dialect="spark"),
                              not _not_null(column), description=column.description) for column in table.columns]
    for column, field in zip(table.columns, fields, strict=True):
        if policy_tags and column.privacy in policy_tags:
            field["policyTags"] = {"names": [policy_tags[column.privacy]]}
    return fields


def _bigquery_field(name: str, type_: exp.DataType, is_nullable: bool, **facts: str) -> dict[str, Any]:
    if type_.is_type(exp.DType.ARRAY):
        return {**_bigquery_field(name, type_.expressions[0], True, **facts), "mode": "REPEATED"}
    field: dict[str, Any] = {"name": name, "mode": "NULLABLE" if is_nullable else "REQUIRED", **facts}
    if type_.is_type(exp.DType.STRUCT):
        fields = [_bigquery_field(part.name, part.args["kind"], True) for part in type_.expressions]
        return {**field, "type": "RECORD", "fields": fields}
    standard, *sizes = re.findall(r"\w+", type_.sql(dialect="bigquery"))
    sized = dict(zip(("precision", "scale"), map(int, sizes), strict=False))
    return {**field, "type": _API_TYPES.get(standard, standard), **sized}


def _not_null(column: Column) -> str:
    # BigQuery's arrays are never NULL and take no constraint.
    return "" if column.nullable or column.type.startswith("ARRAY") else " NOT NULL"


def _text(value: str) -> str:
    return exp.Literal.string(value).sql(dialect="bigquery")


def data_dictionary(queries: Mapping[str, str]) -> str:
    """Give docs/data_dictionary.md: the event's fields, then every table and view with its inputs and readers.

    Args:
        queries: GoogleSQL texts by their files' paths.
    """
    lines = [
        "# Data dictionary", "",
        "Generated from `shoplake/contract/` by `make docs`; do not edit. Types are Spark's.", "",
        "## The event on the topic", "",
        "| field | type | since | required | privacy | meaning |", "|---|---|---|---|---|---|",
    ]
    lines += [f"| {field.name} | {field.type} | v{field.since} | {'yes' if _required_on_topic(field.name) else 'no'} | "
              f"{field.privacy} | {field.description} |" for field in FIELDS]
    for item in (*TABLES, *VIEWS):
        lines += ["", *_dictionary_entry(item, queries)]
    return "\n".join(lines) + "\n"


def _required_on_topic(name: str) -> bool:
    return next(field for field in FIELDS if field.name == name).since == 1


def _find_readers(item: Table | View, queries: Mapping[str, str]) -> list[str]:
    """Give what reads the table: tables and views made from it, commands, queries."""
    made = [table.name for table in TABLES if item.name in table.inputs] + [
        view.name for view in VIEWS if item.name in view.reads]
    asked = [path for path, sql in sorted(queries.items()) if item.name in _tables_of(sql)]
    commands = item.readers if isinstance(item, Table) else ()
    return [*made, *(f"`{path}`" for path in (*commands, *asked))]


@cache
def _tables_of(sql: str) -> frozenset[str]:
    return frozenset(f"{table.db}.{table.name}" for table in parse_one(sql, dialect="bigquery").find_all(exp.Table))


def _dictionary_entry(item: Table | View, queries: Mapping[str, str]) -> list[str]:
    facts = [f"Grain: {item.grain}.", f"Key: {', '.join(item.key)}."]
    if isinstance(item, Table):
        facts.append(f"Partition: {item.partition_by or 'none'}.")
        facts.append("Served in the warehouse." if item.served else "In the lake only.")
    else:
        facts.append(f"A served view over {', '.join(item.reads)}.")
    readers = ", ".join(_find_readers(item, queries)) or "people, with `sql/run_analytics.py --sql`"
    made = f"Made from {', '.join(item.inputs)} by `{item.writer}`. " if isinstance(item, Table) else ""
    return [
        f"## {item.name}", "", f"{item.description}. {' '.join(facts)}", "", f"{made}Read by {readers}.", "",
        "| column | type | null | privacy | meaning |", "|---|---|---|---|---|",
        *(f"| {column.name} | {column.type} | {'yes' if column.nullable else 'no'} | {column.privacy} | "
          f"{column.description} |" for column in item.columns),
    ]
