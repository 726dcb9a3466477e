"""The rows of a lake's tables, to be compared with those of another."""

from collections.abc import Iterable

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, table_exists


def read_rows(lake: Lake, tables: Iterable[Table]) -> dict[str, list[str]]:
    """Read every row of the tables that there are, sorted, by delta-rs; but for how long a batch took."""
    columns = {table: [name for name in table.column_names if name != "batch_seconds"] for table in tables}
    return {table.name: sorted(map(repr, read_table(lake, table, names).to_pylist()))
            for table, names in columns.items() if table_exists(lake, table)}
