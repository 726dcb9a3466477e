"""The warehouse: where the served tables are asked questions, in one dialect."""

from shoplake.errors import ConfigError
from shoplake.sections import ADMIN
from shoplake.settings import Settings
from shoplake.warehouse.protocol import Warehouse

__all__ = ["ADMIN", "Warehouse", "open_warehouse"]


def open_warehouse(settings: Settings, role: str = "", person: str = "") -> Warehouse:
    """Open the warehouse that the profile names; what it is asked stands in ops.audit.

    Args:
        role: what of the tables is seen, of configs/roles.yaml (default: governance.role).
        person: for whom this process asks, where that is not its own user.

    Raises:
        AuditError: ops.audit is not as it was written.
        ConfigError: no such role; or the profile's warehouse is BigQuery, and nobody has the role there, or this
            machine has no Google credentials.
    """
    from shoplake.governance.audit import check_end
    from shoplake.governance.roles import find_role
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.keys import purpose_key
    from shoplake.warehouse.audited import AuditedWarehouse
    from shoplake.warehouse.role_plan import find_roles

    name, lake = role or settings.governance.role, locate_lake(settings)
    seen = find_role(name)
    warehouse: Warehouse
    if settings.warehouse.kind == "bigquery":
        if name != ADMIN and name not in find_roles(settings.governance):
            raise ConfigError(
                f"in BigQuery nobody has the role {name}, so it has no views there. Name who has it in "
                "governance.role_members (SHOPLAKE_GOVERNANCE__ROLE_MEMBERS), then run: python gcp/bigquery_client.py "
                f"create --profile {settings.profile}")
        from shoplake.warehouse.bigquery import open_bigquery

        warehouse = open_bigquery(settings, name)
        check_end(lake, settings)
    else:
        from shoplake.warehouse.duckdb import DuckDBWarehouse

        check_end(lake, settings)  # before a key is used, and perhaps made
        salt = "" if name == ADMIN else purpose_key(settings, "mask").hex()
        warehouse = DuckDBWarehouse(lake, settings.warehouse.query_timeout, seen, salt)
    return AuditedWarehouse(warehouse, lake, settings, name, person) if lake.is_local else warehouse
