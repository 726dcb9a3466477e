"""Which partitions of a lake's table changed between two versions."""

from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from shoplake.contract.tables import Table
from shoplake.errors import StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table, table_exists


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
    files = list_files(delta, table)
    newest = max((file.day for file in files if file.day), default=None)
    return TableState(str(delta.metadata().id), delta.version(), sum(file.row_count for file in files), newest)


def find_changed_days(lake: Lake, table: Table, since: int, until: int) -> frozenset[date] | None:
    """Give the days whose files differ between two versions of a partitioned table.

    Files that were only rewritten count too. None if the older version is no longer there to compare with.
    """
    try:
        before = set(list_files(open_table(lake, table, since), table))
    except (DeltaError, OSError, StorageError):  # it was vacuumed away
        return None
    now = set(list_files(open_table(lake, table, until), table))
    return frozenset(file.day for file in before ^ now if file.day)


@dataclass(frozen=True)
class TableFile:
    """A data file of a table's version; `day` is its partition, None for a table without."""

    path: str
    row_count: int
    byte_count: int
    day: date | None


def list_files(delta: DeltaTable, table: Table) -> list[TableFile]:
    """Give the files of the version that was opened, from its log alone."""
    added = pa.table(delta.get_add_actions(flatten=True))
    days = added[f"partition.{table.partition_by}"].to_pylist() if table.partition_by else [None] * len(added)
    return [TableFile(path, count or 0, size, day) for path, count, size, day in
            zip(added["path"].to_pylist(), added["num_records"].to_pylist(), added["size_bytes"].to_pylist(), days,
                strict=True)]
