"""What BigQuery holds for roles: datasets of views, which carry the promise, and behind them row policies and tags.

configs/roles.yaml says who sees what, governance.role_members who has which role; docs/adr/0028 says why so.
"""

import json
from collections.abc import Mapping, Sequence

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_ddl
from shoplake.contract.tables import Table
from shoplake.governance.roles import (
    Role,
    find_members,
    load_roles,
    write_role_query,
    write_row_filter,
    write_text,
)
from shoplake.sections import ADMIN, GcpSettings, GovernanceSettings
from shoplake.warehouse.plan import published_tables, resolve_dataset, resolve_relation

# One row, which no role's member may read: it stands in no view's text, and a view without it gives NULL for a hash.
SALT = Table(
    "private.mask_salt", "What the masks of roles hash values with", "the lake", (),
    (Column("salt", "STRING", "Of the lake's key; loaded by gcp/bigquery_client.py create", privacy="secret"),))
# The accounts of gcp/terraform/identities.tf that read or write served tables.
PIPELINE_ACCOUNTS = ("airflow", "dashboard", "ml")
POLICY_PREFIX = "shoplake_"
_WHOLE = f"{POLICY_PREFIX}whole"


def find_roles(governance: GovernanceSettings) -> Mapping[str, Role]:
    """Give the roles that BigQuery has views for: those that somebody has, without admin, who reads the tables.

    Raises:
        ConfigError: governance.role_members names a role that configs/roles.yaml does not have.
    """
    roles = load_roles()
    return {name: roles[name] for name in find_members(governance, roles) if name != ADMIN}


def plan_role_datasets(gcp: GcpSettings, governance: GovernanceSettings) -> Mapping[str, tuple[str, ...]]:
    """Give each dataset that views of roles read, with the datasets of these views, which it must authorise."""
    roles = find_roles(governance)
    layers = dict.fromkeys(table.layer for table in published_tables())
    views = {layer: tuple(resolve_dataset(layer, gcp, role) for role in roles) for layer in layers}
    every = tuple(dataset for datasets in views.values() for dataset in datasets)
    named = {resolve_dataset(layer, gcp): datasets for layer, datasets in {**views, SALT.layer: every}.items()}
    return named if roles else {}


def plan_role_views(gcp: GcpSettings, governance: GovernanceSettings) -> tuple[str, ...]:
    """Give the statements that make the datasets and views of each role; run again they bring the views up to date."""
    roles = find_roles(governance)
    if not roles:
        return ()
    datasets = plan_role_datasets(gcp, governance)
    private = resolve_dataset(SALT.layer, gcp)
    return (
        *(f"CREATE SCHEMA IF NOT EXISTS `{dataset}`\nOPTIONS(location='{gcp.location}')"
          for dataset in (private, *datasets[private])),
        bigquery_ddl(SALT, private),
        *(_create_view(table, name, role, gcp) for name, role in roles.items() for table in published_tables()),
    )


def plan_row_policies(gcp: GcpSettings, governance: GovernanceSettings) -> Mapping[str, Mapping[str, str]]:
    """Give for every table the row policies that it must have, and no other: name -> statement, in their order.

    The first one gives all rows to the pipeline's accounts, admins and roles that see all: as soon as a table has a
    policy, whom none names sees no row. Google asks for the rights of who queries, behind an authorised view too.
    """
    members, roles = find_members(governance, load_roles()), find_roles(governance)
    policies: dict[str, dict[str, str]] = {}
    for table in published_tables():
        filtering = {name: role for name, role in roles.items() if role.rows(table)}
        whole = [*_pipeline_members(gcp), *(member for name in members if name not in filtering
                                           for member in members[name])]
        policies[table.name] = {} if not filtering else {
            _WHOLE: _create_policy(_WHOLE, table, whole, "TRUE", gcp),
            **{f"{POLICY_PREFIX}{name}": _create_policy(
                f"{POLICY_PREFIX}{name}", table, members[name], write_row_filter(table, role), gcp)
               for name, role in filtering.items()}}
    return policies


def plan_terraform_roles() -> str:
    """Give gcp/terraform/roles.json: the roles, and which columns they may read of the tables themselves.

    A column has the tag of those roles whose views are made of its values; one that every role's views show has none.
    Who is not among them gets NULL for it, as BigQuery's own mask gives and as the views do.
    """
    roles = {name: role for name, role in load_roles().items() if name != ADMIN}
    tags: dict[str, list[str]] = {}
    columns: dict[str, dict[str, str]] = {}
    for table in published_tables():
        for column in table.columns:
            readers = [name for name, role in roles.items() if role.reads(table, column)]
            if len(readers) < len(roles):
                tag = "_".join(readers) or "nobody"
                tags[tag] = readers
                columns.setdefault(table.name, {})[column.name] = tag
    return json.dumps({"roles": list(roles), "tags": tags, "columns": columns}, indent=2) + "\n"


def _create_view(table: Table, name: str, role: Role, gcp: GcpSettings) -> str:
    salt = f"(SELECT salt FROM `{resolve_relation(SALT.name, gcp)}`)"  # noqa: S608 - a name of the contract
    query = write_role_query(table, role, f"`{resolve_relation(table.name, gcp)}`", salt)
    description = write_text(f"{table.description}, as the role {name} may see it")
    return (f"CREATE OR REPLACE VIEW `{resolve_relation(table.name, gcp, name)}`\n"
            f"OPTIONS(description={description})\nAS\n{query}")


def _create_policy(name: str, table: Table, members: Sequence[str], rows: str, gcp: GcpSettings) -> str:
    granted = ", ".join(write_text(member) for member in dict.fromkeys(members))
    return (f"CREATE OR REPLACE ROW ACCESS POLICY {name}\nON `{resolve_relation(table.name, gcp)}`\n"
            f"GRANT TO ({granted})\nFILTER USING ({rows})")


def _pipeline_members(gcp: GcpSettings) -> list[str]:
    return [f"serviceAccount:shoplake-{work}@{gcp.project_id}.iam.gserviceaccount.com" for work in PIPELINE_ACCOUNTS]
