"""The warehouse: where the served tables are asked questions, in one dialect."""

from shoplake.errors import ConfigError
from shoplake.settings import Settings
from shoplake.warehouse.protocol import Warehouse

__all__ = ["Warehouse", "open_warehouse"]


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse that the profile names.

    Raises:
        ConfigError: the profile's warehouse is BigQuery.
    """
    if settings.warehouse.kind == "bigquery":
        raise ConfigError(
            f"the profile {settings.profile} names BigQuery as its warehouse, and this version has the embedded one "
            "only. Use --profile local; `python gcp/bigquery_client.py plan` prints what BigQuery would hold."
        )
    from shoplake.lake.addresses import locate_lake
    from shoplake.warehouse.duckdb import DuckDBWarehouse

    return DuckDBWarehouse(locate_lake(settings), settings.warehouse.query_timeout)
