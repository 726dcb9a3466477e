"""What BigQuery holds and how it gets there: datasets, tables and MERGE statements, from the contract."""

import json
from collections.abc import Sequence
from datetime import date

import sqlglot
from sqlglot import exp

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_ddl, bigquery_schema
from shoplake.contract.tables import Table, View
from shoplake.sections import ADMIN, GcpSettings
from shoplake.warehouse.googlesql import DIALECT
from shoplake.warehouse.protocol import RELATIONS

STAGING_PREFIX = "staging_"
# Stands for the random part of a staging table's name where a statement is only looked at.
ANY_PUBLICATION = "0"
# More changed days than this are published as the whole table: a statement stays short.
MAX_LISTED_DAYS = 400


def resolve_dataset(layer: str, gcp: GcpSettings, role: str = ADMIN) -> str:
    """Give a layer's dataset as `project.dataset`; gold's is named by gcp.dataset_id, the others by their layer.

    Args:
        role: whose views of the layer are meant, `<dataset>_<role>`; an admin reads the tables themselves.
    """
    dataset = gcp.dataset_id if layer == "gold" else layer
    if role != ADMIN:
        dataset = f"{dataset}_{role}"
    return f"{gcp.project_id}.{dataset}" if gcp.project_id else dataset


def resolve_relation(name: str, gcp: GcpSettings, role: str = ADMIN) -> str:
    """Give the full name in BigQuery under which a role reads a served table or view."""
    layer, _, short = name.partition(".")
    return f"{resolve_dataset(layer, gcp, role)}.{short}"


def staging_name(table: Table, gcp: GcpSettings, publication: str) -> str:
    """Give the full name of the table that a load job fills before its rows are merged.

    Args:
        publication: what no other publication has, so that none takes another's rows away.
    """
    dataset, _, short = resolve_relation(table.name, gcp).rpartition(".")
    return f"{dataset}.{STAGING_PREFIX}{short}_{publication}"


def resolve_names(sql: str, gcp: GcpSettings, role: str = ADMIN) -> str:
    """Put the full names under which a role reads them in place of the tables' names, and change nothing else."""
    known = {relation.name for relation in RELATIONS}
    found = {}
    for table in sqlglot.parse_one(sql, dialect=DIALECT).find_all(exp.Table):
        name = ".".join(part.name for part in table.parts)
        if name in known:
            found[table.parts[0].meta["start"]] = (table.parts[-1].meta["end"] + 1, resolve_relation(name, gcp, role))
    for start in sorted(found, reverse=True):
        end, name = found[start]
        sql = f"{sql[:start]}`{name}`{sql[end:]}"
    return sql


def drop_header(sql: str) -> str:
    """Take away the comments that a text opens with: they are for people, and bqemulator counts the @names in them."""
    lines = sql.splitlines()
    while lines and (not lines[0].strip() or lines[0].startswith("--")):
        del lines[0]
    return "\n".join(lines)


def find_published_table(relation: Table | View) -> Table:
    """Give the BigQuery table that holds the relation's rows.

    A view is computed from the lake and published as a table of its name: in BigQuery it would read all of its tables
    at each question, to find the newest rows or to count them, and what it reads may not be published.
    """
    if isinstance(relation, Table):
        return relation
    return Table(relation.name, relation.description, relation.grain, relation.key, relation.columns, served=True)


def published_tables() -> tuple[Table, ...]:
    """Give every table of BigQuery."""
    return tuple(find_published_table(relation) for relation in RELATIONS)


def plan_bigquery(gcp: GcpSettings) -> tuple[str, ...]:
    """Give the statements that make every dataset, then every table; run again they change nothing."""
    tables = published_tables()
    datasets = dict.fromkeys(resolve_dataset(table.layer, gcp) for table in tables)
    return (
        *(f"CREATE SCHEMA IF NOT EXISTS `{dataset}`\nOPTIONS(location='{gcp.location}')" for dataset in datasets),
        *(bigquery_ddl(table, resolve_dataset(table.layer, gcp)) for table in tables),
    )


def days_condition(column: str, days: Sequence[date] | None) -> str:
    """Give the constant condition that picks the partitions of `days`; None picks every partition.

    The days of the condition stand in the text, because BigQuery leaves out partitions by constants only.
    """
    if days is None:
        return f"{column} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'"
    listed = ", ".join(f"DATE '{day.isoformat()}'" for day in sorted(days))
    return f"{column} IN ({listed})"


def merge_statement(table: Table, gcp: GcpSettings, days: Sequence[date] | None, staging: str) -> str:
    """Give the one statement that makes the partitions of `days` what the staging table holds.

    Rows that are equal stay untouched, so a second one changes nothing. Rows that are gone are found by a join inside
    the source and not by WHEN NOT MATCHED BY SOURCE: with that clause BigQuery may read every partition of the
    target, whatever the conditions say (docs/adr/0015).

    Args:
        days: None for the whole table. The staging table holds rows of these days only.
        staging: the staging table's full name.
    """
    if table.partition_by is None:
        raise ValueError(f"{table.name} has no partitions: it is loaded whole")
    target = resolve_relation(table.name, gcp)
    # The partition is a function of the key; joining on both costs nothing and lets the engine see it.
    keys = tuple(dict.fromkeys((*table.key, table.partition_by)))
    values = [name for name in table.column_names if name not in keys]
    matches = " AND ".join(f"target.{_quoted(name)} = source.{_quoted(name)}" for name in keys)
    differs = " OR ".join(_differs(column) for column in table.columns if column.name in values)
    held = days_condition(_quoted(table.partition_by), days)
    condition = days_condition(f"target.{_quoted(table.partition_by)}", days)
    return f"""MERGE `{target}` AS target
USING (
  SELECT
    {_listed(keys)},
    {_listed(values, "staged.")},
    staged.{_quoted(keys[0])} IS NULL AS is_gone
  FROM `{staging}` AS staged
  FULL JOIN (
    SELECT {_listed(keys)}
    FROM `{target}`
    WHERE {held}
  ) AS held USING ({_listed(keys)})
) AS source
ON {matches}
  AND {condition}
WHEN MATCHED AND source.is_gone THEN DELETE
WHEN MATCHED AND ({differs}) THEN UPDATE SET
  {", ".join(f"{_quoted(name)} = source.{_quoted(name)}" for name in values)}
WHEN NOT MATCHED THEN INSERT ({_listed(table.column_names)})
  VALUES ({_listed(table.column_names, "source.")})"""  # noqa: S608 - names of the contract, and dates


def plan_publication(gcp: GcpSettings, day: date) -> dict[str, str]:
    """Say for each table how the rows of a changed day get there: by a MERGE, or by a load job alone."""
    return {
        table.name: f"{merge_statement(table, gcp, [day], staging_name(table, gcp, ANY_PUBLICATION))};"
        if table.partition_by else
        f"-- `{resolve_relation(table.name, gcp)}` has no partitions: a load job replaces its rows"
        for table in published_tables()
    }


def _differs(column: Column) -> str:
    target, source = f"target.{_quoted(column.name)}", f"source.{_quoted(column.name)}"
    if column.type == "DOUBLE":  # IS DISTINCT FROM is for types that can be grouped by
        return f"{target} != {source} OR ({target} IS NULL) != ({source} IS NULL)"
    return f"{target} IS DISTINCT FROM {source}"


def _listed(names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{_quoted(name)}" for name in names)


def _quoted(name: str) -> str:
    return f"`{name}`"


def plan_terraform() -> str:
    """Give gcp/terraform/tables.json: every served table with its BigQuery schema, whatever its dataset is named."""
    return json.dumps([
        {
            "layer": table.layer, "name": table.name.split(".")[1], "description": table.description,
            "partition_by": table.partition_by, "requires_partition_filter": table.requires_partition_filter,
            "clustering": list(table.cluster_by),
            "schema": bigquery_schema(table),
        }
        for table in published_tables()
    ], indent=2, ensure_ascii=False) + "\n"
