"""Makes what role_plan plans: the views of roles, the row policies behind them, and what their hashes are made with."""

import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import Table
from shoplake.lake.keys import purpose_key
from shoplake.warehouse.bigquery.errors import explained
from shoplake.warehouse.bigquery.jobs import RETRY, Jobs
from shoplake.warehouse.plan import resolve_dataset, resolve_relation
from shoplake.warehouse.role_plan import (
    POLICY_PREFIX,
    SALT,
    find_roles,
    plan_role_datasets,
    plan_role_views,
    plan_row_policies,
)

LOG = logging.getLogger("shoplake.warehouse")
_PROJECT_GROUPS = ("projectReaders", "projectWriters")  # whom BigQuery lets into every new dataset


def create_roles(jobs: Jobs) -> tuple[str, ...]:
    """Bring views, row policies and rights of the roles up to date; give the datasets of views.

    Each step leaves a role with no more than it had before or shall have: what lets its views read comes last.

    Raises:
        ConfigError: the lake's key is needed for hashes, and there is none; no such role in governance.role_members.
        WarehouseError: a right is missing.
    """
    gcp, governance = jobs.settings.gcp, jobs.settings.governance
    datasets = plan_role_datasets(gcp, governance)
    salt = purpose_key(jobs.settings, "mask").hex() if datasets else ""
    for statement in plan_role_views(gcp, governance):
        name = statement.split("`")[1]
        with explained(jobs.settings, jobs.identity, f"{name} cannot be made"):
            jobs.run(statement, {}, fills=name)
    if datasets:
        with explained(jobs.settings, jobs.identity, f"{SALT.name} cannot be filled"):
            _close_to_project(jobs, resolve_dataset(SALT.layer, gcp))
            _load_salt(jobs, salt)
    for table, policies in plan_row_policies(gcp, governance).items():
        with explained(jobs.settings, jobs.identity, f"the row policies of {table} cannot be set"):
            _set_policies(jobs, resolve_relation(table, gcp), policies)
    for dataset, views in datasets.items():
        with explained(jobs.settings, jobs.identity, f"{dataset} cannot be opened to the views of roles"):
            _authorise(jobs, dataset, views)
    return datasets.get(resolve_dataset(SALT.layer, gcp), ())


def label_views(jobs: Jobs, table: Table, labels: Mapping[str, str]) -> None:
    """Write on the views of a table what its own labels say: a role may not look at the table itself."""
    for role in find_roles(jobs.settings.governance) if labels else ():
        name = resolve_relation(table.name, jobs.settings.gcp, role)
        try:
            view = jobs.client.get_table(name, retry=RETRY)
        except NotFound:
            LOG.warning("%s is missing: the role %s cannot read it. Make it with: python gcp/bigquery_client.py create "
                        "--profile %s", name, role, jobs.settings.profile)
            continue
        view.labels = {**view.labels, **labels}
        jobs.client.update_table(view, ["labels"], retry=RETRY)


def _load_salt(jobs: Jobs, salt: str) -> None:
    """Load it as a file: no statement and no parameter of a job has it."""
    file = io.BytesIO()
    pq.write_table(pa.table({"salt": [salt]}, pa.schema([pa.field("salt", pa.string(), nullable=False)])), file)
    target = bigquery.TableReference.from_string(resolve_relation(SALT.name, jobs.settings.gcp))
    schema = [bigquery.SchemaField.from_api_repr(field) for field in bigquery_schema(SALT)]
    jobs.load(file, target, schema, SALT.name)


def _set_policies(jobs: Jobs, table: str, policies: Mapping[str, str]) -> None:
    for statement in policies.values():
        jobs.run(statement, {}, fills=table)
    project, dataset, short = table.split(".")
    path = f"/projects/{project}/datasets/{dataset}/tables/{short}/rowAccessPolicies"
    held = _call(jobs, "GET", path).get("rowAccessPolicies", ())
    names = [str(policy["rowAccessPolicyReference"]["policyId"]) for policy in held]
    stale = [name for name in names if name.startswith(POLICY_PREFIX) and name not in policies]
    if stale:  # Google asks to be sure before the last one goes: then everybody with a right to the table sees all
        _call(jobs, "POST", f"{path}:batchDelete", {"policyIds": stale, "force": not policies})


def _call(jobs: Jobs, method: str, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask the API for what Google's client has no method for."""
    answer: dict[str, Any] = jobs.client._call_api(RETRY, method=method, path=path, data=data) or {}
    return answer


def _close_to_project(jobs: Jobs, dataset: str) -> None:
    found = jobs.client.get_dataset(dataset, retry=RETRY)
    _let_in(jobs, found, [entry for entry in found.access_entries
                          if not (entry.entity_type == "specialGroup" and entry.entity_id in _PROJECT_GROUPS)])


def _authorise(jobs: Jobs, dataset: str, views: Sequence[str]) -> None:
    found = jobs.client.get_dataset(dataset, retry=RETRY)
    entries = list(found.access_entries)
    known = [entry.to_api_repr().get("dataset", {}).get("dataset") for entry in entries]
    for reference in map(bigquery.DatasetReference.from_string, views):
        wanted = reference.to_api_repr()
        if wanted not in known:
            entries.append(bigquery.AccessEntry(
                entity_type="dataset", entity_id={"dataset": wanted, "targetTypes": ["VIEWS"]}))
    _let_in(jobs, found, entries)


def _let_in(jobs: Jobs, dataset: bigquery.Dataset, entries: list[bigquery.AccessEntry]) -> None:
    if entries != list(dataset.access_entries):
        dataset.access_entries = entries
        jobs.client.update_dataset(dataset, ["access_entries"], retry=RETRY)
