"""The warehouse: where the served tables are asked questions, in one dialect."""

from shoplake.settings import Settings
from shoplake.warehouse.protocol import Warehouse

__all__ = ["Warehouse", "open_warehouse"]


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse that the profile names; what the embedded one is asked stands in ops.audit.

    Raises:
        ConfigError: the profile's warehouse is BigQuery, and this machine has no Google credentials.
    """
    if settings.warehouse.kind == "bigquery":
        from shoplake.warehouse.bigquery import open_bigquery

        return open_bigquery(settings)
    from shoplake.lake.addresses import locate_lake
    from shoplake.warehouse.audited import AuditedWarehouse
    from shoplake.warehouse.duckdb import DuckDBWarehouse

    lake = locate_lake(settings)
    return AuditedWarehouse(DuckDBWarehouse(lake, settings.warehouse.query_timeout), lake, settings)
