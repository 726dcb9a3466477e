"""Which partitions of a lake's table changed between two versions, and their rows as a Parquet file."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from shoplake.contract.tables import Table
from shoplake.errors import ContractError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, table_exists
from shoplake.lake.buckets import upload_file


@dataclass(frozen=True)
class TableState:
    """One version of a Delta table; `identity` tells it from a table of the same name in another or rebuilt lake."""

    identity: str
    version: int
    row_count: int
    newest_day: date | None


def read_state(lake: Lake, table: Table) -> TableState | None:
    """Give the table's newest state without reading a row; None if it was never written."""
    if not table_exists(lake, table):
        return None
    delta = open_table(lake, table)
    files = _list_files(delta, table)
    newest = max((file.day for file in files if file.day), default=None)
    return TableState(str(delta.metadata().id), delta.version(), sum(file.row_count for file in files), newest)


def find_changed_days(lake: Lake, table: Table, since: int, until: int) -> frozenset[date] | None:
    """Give the days whose files differ between two versions of a partitioned table.

    Files that were only rewritten count too. None if the older version is no longer there to compare with.
    """
    try:
        before = set(_list_files(open_table(lake, table, since), table))
    except (DeltaError, OSError, StorageError):  # it was vacuumed away
        return None
    now = set(_list_files(open_table(lake, table, until), table))
    return frozenset(file.day for file in before ^ now if file.day)


@dataclass(frozen=True)
class _File:
    path: str
    row_count: int
    day: date | None


def _list_files(delta: DeltaTable, table: Table) -> list[_File]:
    added = pa.table(delta.get_add_actions(flatten=True))
    days = added[f"partition.{table.partition_by}"].to_pylist() if table.partition_by else [None] * len(added)
    return [_File(path, count or 0, day) for path, count, day in
            zip(added["path"].to_pylist(), added["num_records"].to_pylist(), days, strict=True)]


def export_days(lake: Lake, table: Table, version: int, days: Collection[date] | None, file: Path) -> int:
    """Write the rows of `days` (None: all) at a version to one Parquet file; give how many they are.

    Only a batch of rows is in memory at a time.

    Raises:
        ContractError: the lake's table has not the contract's columns, or a NULL where the contract allows none.
    """
    rows = open_table(lake, table, version).to_pyarrow_dataset()
    _check_columns(lake, table, rows.schema.names)
    wanted = None if days is None else pc.field(table.partition_by).isin(sorted(days))
    schema = _strict_schema(table, rows.schema)
    count = 0
    with delta_errors(lake), pq.ParquetWriter(file, schema) as writer:
        for batch in rows.scanner(columns=list(table.column_names), filter=wanted).to_batches():
            writer.write_table(_hold_to(table, schema, pa.Table.from_batches([batch])))
            count += batch.num_rows
    return count


def export_rows(table: Table, rows: pa.Table, file: Path) -> int:
    """Write rows that were computed to one Parquet file, in the contract's order; give how many they are."""
    pq.write_table(_hold_to(table, _strict_schema(table, rows.schema), rows.select(list(table.column_names))), file)
    return int(rows.num_rows)


def _check_columns(lake: Lake, table: Table, names: Sequence[str]) -> None:
    missing = [name for name in table.column_names if name not in names]
    if missing:
        raise ContractError(
            f"{table.name} in {lake.root} has no column {', '.join(missing)}: it was built by an older version. "
            "Build it again with: spark-submit spark/batch_processing.py --from … --to …"
        )


def _strict_schema(table: Table, schema: pa.Schema) -> pa.Schema:
    """Mark what the contract promises: BigQuery does not load an optional field into a REQUIRED column."""
    return pa.schema([
        pa.field(column.name, schema.field(column.name).type, nullable=column.nullable) for column in table.columns])


def _hold_to(table: Table, schema: pa.Schema, rows: pa.Table) -> pa.Table:
    for column in table.columns:
        if not column.nullable and rows[column.name].null_count:
            raise ContractError(f"{table.name} holds a NULL in {column.name}, for which its contract has no place")
    return rows.cast(schema)


def keep_export(lake: Lake, table: Table, file: Path) -> str:
    """Put an exported file under the lake's gold_export, where a load job finds it; give its address there.

    On a local disk it takes the place of the table's last one; in a bucket they are deleted by their age.
    """
    folder = f"{lake.root}/gold_export/{table.name}"
    address = f"{folder}/{file.name}"
    if lake.is_local:
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)
        shutil.copyfile(file, address)
    elif upload_file(lake, file, address) is None:
        raise StorageError(f"{address} is there already, with other bytes. Publish again: the file gets another name")
    return address
