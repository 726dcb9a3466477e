"""Rows of a lake's table as one Parquet file, held to the contract: for BigQuery's load jobs, and for people."""

import shutil
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shoplake.contract.tables import Table
from shoplake.errors import ContractError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, scan_table
from shoplake.lake.buckets import delete_object, list_objects, upload_file


def export_table(lake: Lake, table: Table, path: Path) -> int:
    """Write a table's newest version to one Parquet file, which takes the place of one that is there; give the rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    count = export_days(lake, table, None, None, partial)
    partial.replace(path)
    return count


def export_days(
    lake: Lake, table: Table, version: int | None, days: Collection[date] | None, file: Path,
) -> int:
    """Write the rows of `days` (None: all) at a version (None: the newest) to one Parquet file; give how many they are.

    Only a batch of rows is in memory at a time.

    Raises:
        ContractError: the lake's table has not the contract's columns, or a NULL where the contract allows none.
    """
    rows = scan_table(lake, table, version)
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


def drop_exports(lake: Lake, table: Table) -> None:
    """Delete what `keep_export` has left of a table."""
    folder = _export_folder(lake, table)
    if lake.is_local:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for stored in list_objects(lake, f"{folder}/"):
            delete_object(lake, stored.address, stored.generation)


def keep_export(lake: Lake, table: Table, file: Path) -> str:
    """Put an exported file under the lake's gold_export, where a load job finds it; give its address there.

    On a local disk it takes the place of the table's last one; in a bucket they are deleted by their age.
    """
    folder = _export_folder(lake, table)
    address = f"{folder}/{file.name}"
    if lake.is_local:
        drop_exports(lake, table)
        Path(folder).mkdir(parents=True)
        shutil.copyfile(file, address)
    elif upload_file(lake, file, address) is None:
        raise StorageError(f"{address} is there already, with other bytes. Publish again: the file gets another name")
    return address


def _export_folder(lake: Lake, table: Table) -> str:
    return f"{lake.root}/gold_export/{table.name}"
