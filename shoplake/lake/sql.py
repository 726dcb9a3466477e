"""The lake in SQL without Spark: an in-memory DuckDB that sees the Delta tables of one lake and nothing else."""

import os
import shutil
import tempfile
import weakref
from importlib.util import find_spec
from pathlib import Path

import duckdb

from shoplake.contract.columns import Column
from shoplake.contract.render import duckdb_columns
from shoplake.contract.tables import Table
from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, scan_table, table_exists, text_literal

MEMORY_LIMIT = "2GB"
_EXTENSION_PACKAGE = "duckdb_extension_delta"


def connect_duckdb(
    lake: Lake, memory_limit: str = MEMORY_LIMIT, spill_limit: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB in UTC whose configuration is locked and whose file access ends at the lake's root.

    For a lake in a bucket it has no file access at all: delta-rs reads for it. Joins larger than `memory_limit` spill
    to the lake's `_spill` folder, or to one of the connection's own that goes with it. The Delta extension comes from
    its wheel, so nothing is downloaded.

    Args:
        spill_limit: of that folder; DuckDB's own if not given, nine tenths of what is free on its disk.

    Raises:
        ConfigError: the extension's wheel for this DuckDB is not installed.
    """
    spill = f"{lake.root}/_spill/{os.getpid()}" if lake.is_local else tempfile.mkdtemp(prefix="shoplake-spill-")
    connection = duckdb.connect(":memory:", config={
        "autoinstall_known_extensions": False, "autoload_known_extensions": False,
        "memory_limit": memory_limit, "temp_directory": spill,
        **({"max_temp_directory_size": spill_limit} if spill_limit else {}),
    })
    if not lake.is_local:
        weakref.finalize(connection, shutil.rmtree, spill, ignore_errors=True)
    connection.execute("SET TimeZone = 'UTC'")
    if lake.is_local:
        connection.execute(f"LOAD {text_literal(str(find_delta_extension()))}")
        # The order matters: with external access off first, delta_scan itself would be refused.
        connection.execute(f"SET allowed_directories = [{text_literal(lake.root)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def select_table(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> str:
    """Give a SELECT of the contract's columns from the table's newest version; without rows if it was never written.

    A column that may be NULL is NULL where the table is older than it.

    It is for this connection, which is told where a bucket's table is: what was given before for the same table then
    reads the newest version too.
    """
    if not table_exists(lake, table):
        return select_nothing(table.columns)
    with delta_errors(lake):
        there = {field.name for field in open_table(lake, table).schema().fields}
    older = _nulls(tuple(column for column in table.columns if column.nullable and column.name not in there))
    names = ", ".join(older.get(name, f'"{name}"') for name in table.column_names)
    if lake.is_local:
        scan = f"delta_scan({text_literal(lake.table(table))})"
    else:
        scan = f'"lake.{table.name}"'
        connection.register(scan.strip('"'), scan_table(lake, table))
    return f"SELECT {names} FROM {scan}"  # noqa: S608 - names of the contract


def ask_number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Give the whole number that a query of one cell answers."""
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def select_nothing(columns: tuple[Column, ...]) -> str:
    """Give a SELECT with the columns and their types, and no row."""
    return f"SELECT {', '.join(_nulls(columns).values())} WHERE false"


def _nulls(columns: tuple[Column, ...]) -> dict[str, str]:
    return {name: f'CAST(NULL AS {type_}) AS "{name}"' for name, type_ in duckdb_columns(columns).items()}


def find_delta_extension() -> Path:
    """Give the file of DuckDB's Delta extension, which comes with a wheel.

    Raises:
        ConfigError: there is none for this DuckDB in this environment.
    """
    spec = find_spec(_EXTENSION_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
        if file.is_file():
            return file
    raise ConfigError(
        f"DuckDB {duckdb.__version__} finds no Delta extension: duckdb-extension-delta=={duckdb.__version__} "
        "is not installed in this environment. Install it with: make setup"
    )
