"""Delta tables without Spark, by delta-rs: what forecasting, operators and the warehouse read and write."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from shoplake.contract.tables import Table
from shoplake.errors import ContractError
from shoplake.lake.addresses import Lake


def table_exists(lake: Lake, table: Table) -> bool:
    """Tell whether the table was ever written."""
    return DeltaTable.is_deltatable(lake.table(table))


def changed_at(lake: Lake, table: Table) -> datetime | None:
    """Give when the table's newest version was written, UTC; None if it never was."""
    if not table_exists(lake, table):
        return None
    return datetime.fromtimestamp(DeltaTable(lake.table(table)).history(1)[0]["timestamp"] / 1000, UTC)


def read_table(lake: Lake, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table's newest version whole.

    Raises:
        ContractError: the table was never written.
    """
    if not table_exists(lake, table):
        raise ContractError(f"the table {table.name} does not exist yet in {lake.root}")
    return DeltaTable(lake.table(table)).to_pyarrow_table(columns=list(columns) if columns else None)


def replace_rows(lake: Lake, table: Table, rows: pa.Table, predicate: str) -> None:
    """Replace the rows that match `predicate` (SQL over the table's columns) by `rows`, in one commit.

    Every row must match the predicate. The table is made on the first call. The caller holds the table's lock.

    Raises:
        ContractError: the columns are not those of the contract.
    """
    if tuple(rows.column_names) != table.column_names:
        raise ContractError(
            f"{table.name} has the columns {table.column_names}, but was given {tuple(rows.column_names)}")
    partitions = [table.partition_by] if table.partition_by else None
    exists = table_exists(lake, table)
    write_deltalake(
        lake.table(table), rows, mode="overwrite", partition_by=partitions, predicate=predicate if exists else None,
    )


def text_literal(value: str) -> str:
    """Write a text as an SQL literal for a predicate: delta-rs takes predicates as text only."""
    return "'" + value.replace("'", "''") + "'"
