"""Publishing: what a table of the lake holds becomes what its table in BigQuery holds.

A partitioned table: the rows of the changed partitions go into a staging table by a load job, which is free, and one
MERGE makes them the target's. A small table is loaded whole, in one step. What was published stands in the target's
labels, written last: a publisher that dies before is repeated, and finds nothing to change.
"""

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import Table, View, find_table
from shoplake.lake.addresses import Lake
from shoplake.lake.export import export_days, export_rows, keep_export
from shoplake.lake.locks import HeldLock, hold_lock
from shoplake.lake.partitions import find_changed_days, read_state
from shoplake.warehouse.bigquery.jobs import RETRY, Jobs
from shoplake.warehouse.bigquery.roles import label_views
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.plan import (
    MAX_LISTED_DAYS,
    find_published_table,
    merge_statement,
    resolve_relation,
    staging_name,
)
from shoplake.warehouse.protocol import Publication

STATE_LABEL = "lake_state"  # what of the lake the table holds: <identity of the Delta table>_<version>
NEWEST_LABEL = "newest_day"  # of its partitions, so that nobody reads them to find it
_STAGING_LIFE = timedelta(days=1)  # of a staging table whose publisher died


@dataclass(frozen=True)
class _Newest:
    """What the lake holds now of a relation."""

    label: str
    version: int
    row_count: int
    newest_day: date | None


def publish(jobs: Jobs, lake: Lake, relation: Table | View) -> Publication:
    """Make one relation's table hold what the lake holds, unless its label says that it does."""
    table = find_published_table(relation)
    with hold_lock(lake, f"publish-{table.name}", jobs.settings.lake.lock_timeout) as lock:
        newest = _look(lake, relation)
        if newest is None:
            return Publication(table.name, 0, "not built yet in the lake")
        target = jobs.client.get_table(resolve_relation(table.name, jobs.settings.gcp), retry=RETRY)
        known = target.labels.get(STATE_LABEL)
        if known == newest.label:
            count = newest.row_count if isinstance(relation, Table) else int(target.num_rows or 0)
            return Publication(table.name, count, "unchanged since it was published")
        if isinstance(relation, View):
            count, message = _load_view(jobs, lake, relation, table, target, lock)
        elif table.partition_by is None:
            count, message = _load_whole(jobs, lake, table, newest, target, lock)
        else:
            count, message = newest.row_count, _merge_days(jobs, lake, table, newest, known, lock)
        _note(jobs, table, target, newest)
        return Publication(table.name, count, message)


def _look(lake: Lake, relation: Table | View) -> _Newest | None:
    if isinstance(relation, Table):
        state = read_state(lake, relation)
        if state is None:
            return None
        return _Newest(f"{state.identity}_{state.version}", state.version, state.row_count, state.newest_day)
    states = [read_state(lake, find_table(name)) for name in relation.reads]
    if not any(states):
        return None
    text = " ".join([relation.sql, *(f"{state.identity}_{state.version}" if state else "none" for state in states)])
    return _Newest(hashlib.sha256(text.encode()).hexdigest()[:40], 0, 0, None)


def _merge_days(
    jobs: Jobs, lake: Lake, table: Table, newest: _Newest, known: str | None, lock: HeldLock,
) -> str:
    days = _find_days(lake, table, newest, known)
    if days is not None and not days:
        return "no partition changed"
    with _export() as file:
        count = export_days(lake, table, newest.version, days, file)
        lock.check()
        with _stage(jobs, table) as staging:
            _load(jobs, lake, table, file, staging)
            lock.check()
            changed = merge(jobs, table, sorted(days) if days is not None else None, staging)
    which = "all partitions" if days is None else f"{len(days)} changed partitions"
    return f"{count:,} rows of {which} compared, {changed:,} rows changed"


def _find_days(lake: Lake, table: Table, newest: _Newest, known: str | None) -> frozenset[date] | None:
    """Give the partitions to publish; None for all, which also takes away what is in BigQuery alone."""
    identity, _, version = (known or "").rpartition("_")
    if identity != newest.label.rpartition("_")[0] or int(version) > newest.version:
        return None
    days = find_changed_days(lake, table, int(version), newest.version)
    return days if days is not None and len(days) <= MAX_LISTED_DAYS else None


def merge(jobs: Jobs, table: Table, days: list[date] | None, staging: bigquery.Table) -> int:
    """Make the staged rows those of the target's partitions; give how many rows were inserted, updated or deleted."""
    name = f"{staging.project}.{staging.dataset_id}.{staging.table_id}"
    _, job = jobs.run(merge_statement(table, jobs.settings.gcp, days, name), {}, fills=table.name)
    return int(job.num_dml_affected_rows or 0)


def _load_whole(
    jobs: Jobs, lake: Lake, table: Table, newest: _Newest, target: bigquery.Table, lock: HeldLock,
) -> tuple[int, str]:
    with _export() as file:
        export_days(lake, table, newest.version, None, file)
        lock.check()
        count = _load(jobs, lake, table, file, target)
    return count, f"{count:,} rows loaded"


def _load_view(
    jobs: Jobs, lake: Lake, view: View, table: Table, target: bigquery.Table, lock: HeldLock,
) -> tuple[int, str]:
    with DuckDBWarehouse(lake, jobs.settings.warehouse.query_timeout) as warehouse:
        rows = warehouse.query(f"SELECT * FROM {view.name}")  # noqa: S608 - a contract's
    with _export() as file:
        export_rows(table, rows, file)
        lock.check()
        count = _load(jobs, lake, table, file, target)
    return count, f"{count:,} rows computed and loaded"


@contextmanager
def _export() -> Iterator[Path]:
    """Give a file to write a publication's rows to."""
    with tempfile.TemporaryDirectory(prefix="shoplake-publish-") as folder:
        yield Path(folder) / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.parquet"


def _load(jobs: Jobs, lake: Lake, table: Table, file: Path, target: bigquery.Table) -> int:
    address = keep_export(lake, table, file)
    if not lake.is_local:
        return jobs.load(address, target.reference, target.schema, table.name)
    with open(address, "rb") as content:
        return jobs.load(content, target.reference, target.schema, table.name)


@contextmanager
def _stage(jobs: Jobs, table: Table) -> Iterator[bigquery.Table]:
    """Give an empty staging table of our own, which is gone afterwards, or within a day of its publisher's death.

    Its name is no other publication's: a publisher that lost its lock, or one of another lake, takes no rows away from
    under a MERGE, which would delete what it does not find.
    """
    schema = [bigquery.SchemaField.from_api_repr(field) for field in bigquery_schema(table)]
    staging = bigquery.Table(staging_name(table, jobs.settings.gcp, secrets.token_hex(8)), schema=schema)
    staging.expires = datetime.now(UTC) + _STAGING_LIFE
    try:
        yield jobs.client.create_table(staging, exists_ok=True, retry=RETRY)
    finally:
        jobs.client.delete_table(staging, not_found_ok=True, retry=RETRY)


def _note(jobs: Jobs, table: Table, target: bigquery.Table, newest: _Newest) -> None:
    target = jobs.client.get_table(target.reference, retry=RETRY)
    labels = {STATE_LABEL: newest.label}
    if newest.newest_day:
        labels[NEWEST_LABEL] = newest.newest_day.isoformat()
    label_views(jobs, table, labels)
    target.labels = {**target.labels, **labels}
    jobs.client.update_table(target, ["labels"], retry=RETRY)
