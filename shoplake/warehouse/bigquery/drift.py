"""Whether a table in BigQuery is still what the contract says."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import Table

_TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def find_drift(table: Table, found: bigquery.Table) -> list[str]:
    """Say of each column, and of the partitions, what is not as the contract has it; nothing for a table that fits.

    Descriptions, clustering and policy tags do not count: rows fit whatever they are.
    """
    expected = {field["name"]: field for field in bigquery_schema(table)}
    seen = {field["name"]: field for field in (field.to_api_repr() for field in found.schema)}
    problems = [f"it lacks the column {name}" for name in expected if name not in seen]
    problems += [f"it has a column {name}, which is none of the contract's" for name in seen if name not in expected]
    for name, field in expected.items():
        if name in seen and _shape(seen[name]) != _shape(field):
            problems.append(f"its column {name} is {_describe(seen[name])}, not {_describe(field)}")
    partitioned_by = found.time_partitioning.field if found.time_partitioning else None
    if partitioned_by != table.partition_by:
        problems.append(f"it is partitioned by {partitioned_by or 'nothing'}, not by {table.partition_by or 'nothing'}")
    return problems


def _shape(field: Mapping[str, Any]) -> tuple[Any, ...]:
    mode = field.get("mode") or "NULLABLE"
    return (field["name"], _type(field), mode, tuple(map(_shape, _fields(field))))


def _type(field: Mapping[str, Any]) -> str:
    name = str(field["type"])
    return _TYPES.get(name, name)


def _fields(field: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return field.get("fields") or ()


def _describe(field: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{part['name']} {_describe(part)}" for part in _fields(field))
    inner = f"<{parts}>" if parts else ""
    return f"{field.get('mode') or 'NULLABLE'} {_type(field)}{inner}"
