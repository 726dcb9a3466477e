"""Delta tables without Spark, by delta-rs: what forecasting, operators and the warehouse read and write."""

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from shoplake.contract.tables import Table
from shoplake.errors import ConfigError, ContractError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import check_access, check_credentials
from shoplake.lake.locks import HeldLock

_NEWEST = 5  # the commits among which ours is, under the table's lock: others can only have maintained the table
_NO_DAY = "__HIVE_DEFAULT_PARTITION__"  # Spark's folder of the rows without one
_REPAIR = "Whether a file of a table's log was cut short says: python utils/repair.py --table <layer.table>"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def storage_options(lake: Lake) -> dict[str, str] | None:
    """Give what delta-rs must know of the lake's storage; it takes the environment's credentials by itself.

    Raises:
        ConfigError: Google's own storage is asked for, and no credentials are here.
    """
    if lake.is_local:
        return None
    check_credentials(lake)
    patience = {"retry_timeout": f"{lake.timeout:g}s", "timeout": f"{lake.timeout:g}s"}
    if not lake.endpoint:
        return patience
    nobody = {"gcs_base_url": lake.endpoint, "disable_oauth": True,
              "client_email": "", "private_key": "", "private_key_id": ""}
    return {**patience, "google_service_account_key": json.dumps(nobody)}


@contextmanager
def delta_errors(lake: Lake) -> Iterator[None]:
    """Turn what delta-rs raises inside the block into one message; errors of the local disk itself stay.

    Raises:
        ConfigError: no such bucket, or a right is missing.
        StorageError: a table's log cannot be read, another writer's commit was in the way, or Cloud Storage does not
            answer as it should.
    """
    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        if not lake.is_local:
            check_access(lake)  # says better what is wrong
        elif isinstance(error, OSError):
            raise
        lines = [_ANSI.sub("", line).strip(" ↳") for line in str(error).splitlines()]
        advice = f". {_REPAIR}" if lake.is_local and not isinstance(error, CommitFailedError) else ""
        raise StorageError(f"{lake.root}: {'; '.join(filter(None, lines))[:500]}{advice}") from error


def open_table(lake: Lake, table: Table, version: int | None = None) -> DeltaTable:
    """Open a table that exists at its newest version, or at `version`."""
    with delta_errors(lake):
        return DeltaTable(lake.table(table), version=version, storage_options=storage_options(lake))


def find_version(lake: Lake, table: Table, version: int | None = None, moment: datetime | None = None) -> int:
    """Give the version of a table that is asked for, that was the newest at a moment, or that is the newest now.

    Raises:
        StorageError: the log does not know it (any more).
    """
    with delta_errors(lake):
        delta = open_table(lake, table)
        commits = delta.history()  # the newest first, without a gap
    known = {delta.version() - age: datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
             for age, commit in enumerate(commits)}
    asked = [one for one, written in known.items()
             if (version is None or one == version) and (moment is None or written <= moment)]
    if not asked:
        ends = " to ".join(f"{one} ({known[one]:%Y-%m-%dT%H:%M:%SZ})" for one in (min(known), max(known)))
        raise StorageError(f"{table.name} has no such version: its log knows {ends}")
    return max(asked)


def scan_table(lake: Lake, table: Table, version: int | None = None) -> ds.Dataset:
    """Open a table's rows as an Arrow dataset, which is read when it is asked."""
    with delta_errors(lake):
        return open_table(lake, table, version).to_pyarrow_dataset(filesystem=_local_files(lake, table))


def _local_files(lake: Lake, table: Table) -> fs.FileSystem | None:
    # delta-rs brings a file system that is written in Python: Arrow's threads call it even while the interpreter ends,
    # which aborts the process now and then. A local lake needs none.
    return fs.SubTreeFileSystem(lake.table(table), fs.LocalFileSystem()) if lake.is_local else None


def table_exists(lake: Lake, table: Table) -> bool:
    """Tell whether the table was ever written."""
    with delta_errors(lake):
        return DeltaTable.is_deltatable(lake.table(table), storage_options(lake))


def changed_at(lake: Lake, table: Table) -> datetime | None:
    """Give when the table's newest version was written, UTC; None if it never was."""
    if not table_exists(lake, table):
        return None
    with delta_errors(lake):
        return datetime.fromtimestamp(open_table(lake, table).history(1)[0]["timestamp"] / 1000, UTC)


def read_table(lake: Lake, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table's newest version whole.

    Raises:
        ContractError: the table was never written.
    """
    if not table_exists(lake, table):
        raise ContractError(f"the table {table.name} does not exist yet in {lake.root}")
    with delta_errors(lake):
        return scan_table(lake, table).to_table(columns=list(columns) if columns else None)


def replace_rows(
    lake: Lake, table: Table, rows: pa.Table | pa.RecordBatchReader, predicate: str | None, lock: HeldLock,
) -> None:
    """Replace the rows that match `predicate` (SQL over the table's columns) by `rows`, in one commit.

    Every row must match the predicate. The table is made on the first call; one of an older version gets new columns.

    Args:
        predicate: None replaces all.
        lock: the table's, which the caller holds.

    Raises:
        ContractError: the columns are not those of the contract.
        ConfigError: an older version's table lacks a column that no row may lack.
        LockError: the lock was lost; nothing is written.
    """
    if tuple(rows.schema.names) != table.column_names:
        raise ContractError(
            f"{table.name} has the columns {table.column_names}, but was given {tuple(rows.schema.names)}")
    partitions = [table.partition_by] if table.partition_by else None
    exists = table_exists(lake, table)
    mark = uuid.uuid4().hex
    lock.check()
    if exists:
        add_columns(lake, table, Schema.from_arrow(rows.schema))
    with delta_errors(lake):
        write_deltalake(
            lake.table(table), rows, mode="overwrite", partition_by=partitions, predicate=predicate if exists else None,
            storage_options=storage_options(lake), commit_properties=CommitProperties({"commit": mark}),
        )
    confirm_commit(lake, table, mark)


def add_columns(lake: Lake, table: Table, schema: Schema) -> None:
    """Give a table that an older version made the columns that the contract has gained; its rows have NULL there.

    Args:
        schema: of all its columns.

    Raises:
        ConfigError: a new column is one that no row may lack.
    """
    with delta_errors(lake):
        delta = open_table(lake, table)
        known = {field.name for field in delta.schema().fields}
        if strict := [column.name for column in table.columns if column.name not in known and not column.nullable]:
            raise ConfigError(
                f"{table.name} in {lake.root} lacks {', '.join(strict)}, which no row may lack: an older version made "
                "it. Build another lake: SHOPLAKE_LAKE__ROOT=<new folder>, with the stream and the "
                "historical files again")
        if missing := [field for field in schema.fields if field.name not in known]:
            delta.alter.add_columns(missing)  # a batch of another process that commits now fails, and is repeated


def open_unless_done(lake: Lake, table: Table, query_id: str, batch_id: int) -> DeltaTable | None:
    """Open a table for a batch's commit, before its rows are written; None where its log has that commit already.

    A commit on what was opened is refused when another one of the same batch, or of the same days, came in between.
    """
    delta = open_table(lake, table)
    done = delta.transaction_version(query_id)
    return None if done is not None and done >= batch_id else delta


def commit_files(
    lake: Lake, table: Table, delta: DeltaTable, folder: str, properties: CommitProperties, lock: HeldLock,
    days: Sequence[date] | None = None, row_count: int | None = None,
) -> None:
    """Make the Parquet files of `folder`, which lies in the table's, rows of the table, in one commit.

    Spark writes the files and not the log: to make a commit it starts half a dozen jobs and takes a second or more
    (docs/adr/0019). Each file tells in its footer what the log must know of it.

    Args:
        delta: the table as it was opened before the files were written.
        lock: the table's, which the caller holds.
        days: the partitions whose rows the files take the place of; none of a table without them, which is replaced
            whole. None adds to what is there.
        row_count: how many rows the files must have together, where the caller knows.

    Raises:
        ContractError: a file holds a NULL in a column that allows none, or a day that is not one of `days`.
        LockError: the lock was lost; nothing is committed.
        StorageError: the files have not `row_count` rows.
    """
    filters: Any = None if not days else [(table.partition_by, "in", [day.isoformat() for day in days])]
    with delta_errors(lake):
        files = _local_files(lake, table) or fs.PyFileSystem(
            DeltaStorageHandler.from_table(delta._table, storage_options(lake)))
        found = files.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        footers = [(file, pq.read_metadata(file.path, filesystem=files)) for file in found if _is_data(file)]
        added: list[Any] = [_describe_file(file, footer, table) for file, footer in footers]
        written = sum(footer.num_rows for _, footer in footers)
        if row_count is not None and written != row_count:
            raise StorageError(f"{written} of {row_count} rows stand in the files that were written to "
                               f"{lake.table(table)}/{folder}; nothing is committed. Run the command again")
        if days is not None:
            _check_days(added, table, days)
        lock.check()
        delta.create_write_transaction(
            added, "append" if days is None else "overwrite", delta.schema(), table.partition_by,
            partition_filters=filters, commit_properties=properties)


def _is_data(file: fs.FileInfo) -> bool:
    """Tell a file of an ended task from one that lies in a committer's own folder."""
    return file.path.endswith(".parquet") and not any(part.startswith(("_", ".")) for part in file.path.split("/"))


def _describe_file(file: fs.FileInfo, footer: pq.FileMetaData, table: Table) -> AddAction:
    _check_nulls(footer, table)
    # Spark puts the rows of a partition into a folder <column>=<value>.
    days = dict(part.split("=") for part in file.path.split("/") if "=" in part)
    if _NO_DAY in days.values():
        raise ContractError(f"{table.name} was given a NULL in {table.partition_by}, by which it is partitioned")
    return AddAction(
        path=file.path, size=file.size, partition_values=days, modification_time=file.mtime_ns // 1_000_000,
        data_change=True, stats=json.dumps({"numRecords": footer.num_rows}))


def _check_nulls(footer: pq.FileMetaData, table: Table) -> None:
    columns = {footer.schema.column(number).path: number for number in range(footer.num_columns)}
    for name in (column.name for column in table.columns if not column.nullable and column.name in columns):
        for group in range(footer.num_row_groups):
            statistics = footer.row_group(group).column(columns[name]).statistics
            if statistics is None or statistics.null_count is None:
                raise ContractError(f"the files written for {table.name} do not tell whether {name} is NULL somewhere, "
                                    "for which its contract has no place; nothing is committed")
            if statistics.null_count:
                raise ContractError(f"{table.name} was given a NULL in {name}, for which its contract has no place")


def _check_days(added: Sequence[AddAction], table: Table, days: Sequence[date]) -> None:
    given = {day for file in added for day in file.partition_values.values()}
    if strange := given - {day.isoformat() for day in days}:
        raise ContractError(f"{table.name} was given rows of {sorted(map(str, strange))}, which are none of the "
                            f"{len(days)} days to replace")


def append_row_once(row: dict[str, Any], lake: Lake, table: Table, query_id: str, batch_id: int) -> None:
    """Append a batch's one row, in a commit that is skipped when the same (query_id, batch_id) comes again."""
    target = open_unless_done(lake, table, query_id, batch_id)
    if target is not None:
        with delta_errors(lake):
            write_deltalake(
                target, pa.Table.from_pylist([row], schema=pa.schema(target.schema().to_arrow())), mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(query_id, batch_id)]),
            )
    confirm_transaction(lake, table, query_id, batch_id)


def confirm_commit(lake: Lake, table: Table, mark: str) -> None:
    """Read a commit back from a bucket: one of the table's newest must carry `mark` in its commitInfo.

    What a writer believes to have committed must be what any reader sees. On a local disk nothing
    is read.

    Raises:
        StorageError: none does; what was written is not committed.
    """
    if lake.is_local:
        return
    with delta_errors(lake):
        newest = open_table(lake, table).history(_NEWEST)
    if not any(mark in str(commit) for commit in newest):
        raise StorageError(
            f"the commit {mark} to {lake.table(table)} cannot be read back: the newest version in its log is "
            f"{newest[0]['version']}, of another. Run the command again: it replaces the same rows")


def confirm_transaction(lake: Lake, table: Table, query_id: str, batch_id: int) -> None:
    """Read a batch's commit back from a bucket: the log must hold the transaction (query_id, batch_id), or a later one.

    Raises:
        StorageError: it does not; what was written is not committed.
    """
    if lake.is_local:
        return
    with delta_errors(lake):
        seen = open_table(lake, table).transaction_version(query_id)
    if seen is None or seen < batch_id:
        raise StorageError(
            f"the commit of batch {batch_id} of {query_id} to {lake.table(table)} cannot be read back: the newest "
            f"batch of that query in its log is "
            f"{'none' if seen is None else seen}. Run the command again: it repeats the batch")


def text_literal(value: str) -> str:
    """Write a text as an SQL literal for a predicate: delta-rs takes predicates as text only."""
    return "'" + value.replace("'", "''") + "'"


def days_predicate(table: Table, days: Sequence[date]) -> str:
    """Give the SQL condition that picks the partitions of `days`."""
    listed = ", ".join(f"DATE'{day.isoformat()}'" for day in sorted(days))
    return f"{table.partition_by} IN ({listed})"
