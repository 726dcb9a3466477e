"""The cloud's warehouse: BigQuery, asked the same questions, and filled from the lake's changed partitions."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Self

import pyarrow as pa
from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import Table, View
from shoplake.errors import WarehouseError
from shoplake.lake.addresses import locate_lake
from shoplake.sections import ADMIN
from shoplake.settings import Settings
from shoplake.warehouse.bigquery.drift import find_drift
from shoplake.warehouse.bigquery.errors import explained
from shoplake.warehouse.bigquery.jobs import RETRY, Jobs
from shoplake.warehouse.bigquery.publishing import NEWEST_LABEL, STATE_LABEL, publish
from shoplake.warehouse.bigquery.roles import create_roles, label_views
from shoplake.warehouse.cost import describe_bytes
from shoplake.warehouse.googlesql import Query, Value, read_query
from shoplake.warehouse.partition_filters import refuse_unfiltered
from shoplake.warehouse.plan import (
    drop_header,
    find_published_table,
    plan_bigquery,
    published_tables,
    resolve_names,
    resolve_relation,
)
from shoplake.warehouse.protocol import RELATIONS, Publication, find_relation
from shoplake.warehouse.role_plan import find_roles

log = logging.getLogger("shoplake.warehouse")


class BigQueryWarehouse:
    """A Warehouse over the datasets of one Google project; who is no admin asks the views of a role."""

    def __init__(self, client: bigquery.Client, settings: Settings, command: str, role: str = ADMIN) -> None:
        """Open it; `command` is who asks, for the bill."""
        self._role = role
        self._client = client
        self._settings = settings
        self._jobs = Jobs(client, settings, command)

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the client's connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None, limit: int | None = None) -> pa.Table:
        """See Warehouse.query; a scan without a filter on its partitions is refused, because it would cost."""
        query = _read(sql, parameters or {})
        with self._explained("the query failed"):
            rows, _ = self._jobs.run(self._write(sql), query.parameters, limit)
            answer: pa.Table = rows.to_arrow(create_bqstorage_client=False)
            return answer

    def explain(self, sql: str, parameters: Mapping[str, Value] | None = None) -> str:
        """See Warehouse.explain; a dry run, which costs nothing, says how much would be read."""
        query = _read(sql, parameters or {})
        text = self._write(sql)
        with self._explained("the dry run failed"):
            size = self._jobs.estimate(text, query.parameters)
        lines = [f"-- BigQuery would read {describe_bytes(size)}"]
        lines += [f"-- @{name} is {value!s}" for name, value in query.parameters.items()]
        return "\n".join([*lines, text.rstrip()])

    def create(self) -> tuple[str, ...]:
        """Make the datasets and tables that are missing, and set policy tags; give the names of the tables.

        A table that exists stays as it is, but for its policy tags. What roles see is brought up to date.

        Raises:
            ConfigError: a role is to have views, and the lake's key for its hashes is missing.
            WarehouseError: a table that exists is not what the contract says, or a right is missing.
        """
        for statement in plan_bigquery(self._settings.gcp):
            name = statement.split("`")[1]
            with self._explained(f"{name} cannot be made"):
                self._jobs.run(statement, {}, fills=name)
        for table in published_tables():
            self._tag(table, self._check_table(table))
        create_roles(self._jobs)
        if find_roles(self._settings.governance):  # a view that was made anew has lost its labels
            for table in published_tables():
                known = {label: text for label, text in self._get_table(table).labels.items()
                         if label in (STATE_LABEL, NEWEST_LABEL)}
                with self._explained(f"the views of {table.name} cannot be labelled"):
                    label_views(self._jobs, table, known)
        return tuple(resolve_relation(table.name, self._settings.gcp) for table in published_tables())

    def publish(self, relations: Sequence[Table | View]) -> tuple[Publication, ...]:
        """Make the tables of `relations` what the lake holds, each in one step; unchanged ones cost nothing.

        All tables are checked before the first is touched, so a wrong one leaves nothing half-published.

        Raises:
            LockError: another publisher is at work on a table; it was waited for lake.lock_timeout.
            WarehouseError: a table is missing or not what the contract says, or a right is missing.
        """
        lake = locate_lake(self._settings)
        for relation in relations:
            self._check_table(find_published_table(relation))
        published = []
        for relation in relations:
            with self._explained(f"{relation.name} cannot be published"):
                published.append(publish(self._jobs, lake, relation))
            log.info("%s: %s", relation.name, published[-1].message)
        return tuple(published)

    def changed_at(self, names: Sequence[str]) -> dict[str, datetime | None]:
        """See Warehouse.changed_at; a table that nothing was published to was not built yet."""
        return {name: self._changed_at(find_published_table(find_relation(name))) for name in names}

    def newest_day(self, name: str, column: str) -> date | None:
        """See Warehouse.newest_day; publishing wrote it down, so no partition is read for it."""
        table = find_published_table(find_relation(name))
        if column == table.partition_by:
            day = self._get_table(table).labels.get(NEWEST_LABEL)
            return date.fromisoformat(day) if day else None
        newest: date | None = self.query(f"SELECT MAX({column}) AS newest FROM {name}")["newest"][0].as_py()  # noqa: S608
        return newest

    def _write(self, sql: str) -> str:
        return drop_header(resolve_names(sql, self._settings.gcp, self._role))

    def _changed_at(self, table: Table) -> datetime | None:
        found = self._get_table(table)
        return found.modified if STATE_LABEL in found.labels else None

    def _get_table(self, table: Table) -> bigquery.Table:
        with self._explained(f"{table.name} cannot be looked at"):
            return self._client.get_table(resolve_relation(table.name, self._settings.gcp, self._role), retry=RETRY)

    def _check_table(self, table: Table) -> bigquery.Table:
        found = self._get_table(table)
        problems = find_drift(table, found)
        if problems:
            name = f"{found.project}:{found.dataset_id}.{found.table_id}"
            raise WarehouseError(
                f"{name} is not what the contract says: {'; '.join(problems)}. Nothing was loaded. The table is a copy "
                f"of the lake: remove it with `bq rm -f -t {name}`, make it again with `python gcp/bigquery_client.py "
                f"create --profile {self._settings.profile}`, and publish again.")
        return found

    def _tag(self, table: Table, found: bigquery.Table) -> None:
        schema = [bigquery.SchemaField.from_api_repr(field)
                  for field in bigquery_schema(table, self._settings.gcp.policy_tags)]
        tags = [(field.name, field.policy_tags) for field in schema if field.policy_tags]
        if tags and tags != [(field.name, field.policy_tags) for field in found.schema if field.policy_tags]:
            found.schema = schema
            with self._explained(f"the policy tags of {table.name} cannot be set"):
                self._client.update_table(found, ["schema"], retry=RETRY)

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(self._settings, self._jobs.identity, what)


def _read(sql: str, parameters: Mapping[str, Value]) -> Query:
    query = read_query(sql, parameters, RELATIONS)
    refuse_unfiltered(query.unfiltered)
    return query
