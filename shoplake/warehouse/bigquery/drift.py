"""Whether a table in BigQuery is still what the contract says."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import Table

_TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def find_drift(table: Table, found: bigquery.Table) -> list[str]:
    """Say of each column, and of the partitions, what is not as the contract has it; nothing for a table that fits.

    Descriptions, clustering and policy tags do not count, nor does a number without limits: rows fit whatever they are.
    """
    expected = {field["name"]: field for field in bigquery_schema(table)}
    seen = {field["name"]: field for field in (field.to_api_repr() for field in found.schema)}
    problems = [f"it lacks the column {name}" for name in expected if name not in seen]
    problems += [f"it has a column {name}, which is none of the contract's" for name in seen if name not in expected]
    for name, field in expected.items():
        if name in seen and not _fits(seen[name], field):
            problems.append(f"its column {name} is {_describe(seen[name])}, not {_describe(field)}")
    partitioning = found.time_partitioning
    by_now = f"{partitioning.field} ({partitioning.type_})" if partitioning else "nothing"
    by_contract = f"{table.partition_by} (DAY)" if table.partition_by else "nothing"
    if by_now != by_contract:
        problems.append(f"it is partitioned by {by_now}, not by {by_contract}")
    return problems


def _fits(seen: Mapping[str, Any], field: Mapping[str, Any]) -> bool:
    parts, expected = _fields(seen), _fields(field)
    return ((seen["name"], _type(seen), _mode(seen)) == (field["name"], _type(field), _mode(field))
            and _limits(seen) in ([], _limits(field))
            and len(parts) == len(expected) and all(map(_fits, parts, expected)))


def _type(field: Mapping[str, Any]) -> str:
    name = str(field["type"])
    return _TYPES.get(name, name)


def _mode(field: Mapping[str, Any]) -> str:
    return str(field.get("mode") or "NULLABLE")


def _limits(field: Mapping[str, Any]) -> list[str]:
    # The API answers with texts, and leaves out a scale of 0.
    return [str(field[size]) for size in ("precision", "scale") if str(field.get(size) or 0) != "0"]


def _fields(field: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return field.get("fields") or ()


def _describe(field: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{part['name']} {_describe(part)}" for part in _fields(field))
    inner = f"<{parts}>" if parts else ""
    limits = f"({', '.join(_limits(field))})" if _limits(field) else ""
    return f"{_mode(field)} {_type(field)}{limits}{inner}"
