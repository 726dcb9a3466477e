"""What BigQuery would hold: its datasets and tables as DDL and for Terraform, from the contract."""

import json

from shoplake.contract.render import bigquery_ddl, bigquery_schema
from shoplake.contract.tables import TABLES
from shoplake.settings import GcpSettings


def resolve_dataset(layer: str, gcp: GcpSettings) -> str:
    """Give a layer's dataset as `project.dataset`; gold's is named by gcp.dataset_id, the others by their layer."""
    dataset = gcp.dataset_id if layer == "gold" else layer
    return f"{gcp.project_id}.{dataset}" if gcp.project_id else dataset


def plan_bigquery(gcp: GcpSettings) -> tuple[str, ...]:
    """Give the statements that make every dataset, then every served table; run again they change nothing."""
    served = [table for table in TABLES if table.served]
    datasets = dict.fromkeys(resolve_dataset(table.layer, gcp) for table in served)
    return (
        *(f"CREATE SCHEMA IF NOT EXISTS `{dataset}`\nOPTIONS(location='{gcp.location}')" for dataset in datasets),
        *(bigquery_ddl(table, resolve_dataset(table.layer, gcp)) for table in served),
    )


def plan_terraform() -> str:
    """Give gcp/terraform/tables.json: every served table with its BigQuery schema, whatever its dataset is named."""
    return json.dumps([
        {
            "layer": table.layer, "name": table.name.split(".")[1], "description": table.description,
            "partition_by": table.partition_by, "requires_partition_filter": table.requires_partition_filter,
            "clustering": list(table.cluster_by),
            "schema": bigquery_schema(table),
        }
        for table in TABLES if table.served
    ], indent=2, ensure_ascii=False) + "\n"
