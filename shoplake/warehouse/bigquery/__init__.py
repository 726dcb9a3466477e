"""The cloud's warehouse, by Google's own client."""

import sys
from pathlib import Path

from shoplake.sections import ADMIN
from shoplake.settings import Settings
from shoplake.warehouse.bigquery.jobs import open_client
from shoplake.warehouse.bigquery.warehouse import BigQueryWarehouse

__all__ = ["BigQueryWarehouse", "open_bigquery"]


def open_bigquery(settings: Settings, role: str = ADMIN) -> BigQueryWarehouse:
    """Open the profile's BigQuery; its jobs are labelled with the name of the running command.

    Args:
        role: whose views are asked; an admin asks the tables.

    Raises:
        ConfigError: this machine has no Google credentials.
    """
    return BigQueryWarehouse(open_client(settings), settings, Path(sys.argv[0]).stem or "python", role)
