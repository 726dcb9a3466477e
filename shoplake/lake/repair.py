"""Broken log files of a Delta table, and what may be moved aside of them without losing a row.

A table is what its log says. A checkpoint and `_last_checkpoint` only make the log quicker to read; an entry that no
intact checkpoint covers is needed. The newest entry is one commit: without it the table is as before that commit.
"""
# ruff: noqa: S608 - every name that is put into a query stands in this file or the contract; no value is.

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shoplake.contract.measures import SALES
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import BrokenOff, find_broken_off
from shoplake.lake.sql import connect_duckdb, select_table

ASIDE = "_repair"  # the lake's folder of what was moved
POINTER = "_last_checkpoint"
_VERSION = re.compile(r"^(\d{20})\.(json$|checkpoint\..*)")
# Table -> its count in the ledger, and the name of the place that the tombstones of its erased rows have.
_COUNTED = {BRONZE_EVENTS: ("bronze_count", ""), SILVER_EVENTS: ("silver_count", "silver"),
            SILVER_DUPLICATES: ("duplicate_count", "duplicate"), SILVER_QUARANTINE: ("quarantine_count", "quarantine"),
            SILVER_ERASED: ("erased_count", "")}


@dataclass(frozen=True)
class LogState:
    """What lies in a table's log.

    Attributes:
        newest: the newest version that has an entry.
        broken: entries, checkpoints and the pointer that cannot be read.
        covered: the version of the newest intact checkpoint; -1 without one.
        missing: versions after it, up to the newest, whose entry is broken or not there.
    """

    newest: int
    broken: tuple[Path, ...]
    covered: int
    missing: tuple[int, ...]

    @property
    def optional(self) -> tuple[Path, ...]:
        """Broken files without which the log reads as it should: all but the entries."""
        return tuple(file for file in self.broken if file.suffix != ".json" or "checkpoint" in file.name)


def clear_aside(lake: Lake) -> None:
    """Remove what was moved aside: entries of logs and checkpoints may hold the least and greatest user of a file."""
    shutil.rmtree(Path(lake.root) / ASIDE, ignore_errors=True)


def log_folder(lake: Lake, table: Table) -> Path:
    """Give the folder of a table's log.

    Raises:
        ConfigError: it has none, so the table was never written.
    """
    folder = Path(lake.table(table)) / "_delta_log"
    if not folder.is_dir():
        raise ConfigError(f"{table.name} was never written in {lake.root}: there is no {folder}")
    return folder


def inspect_log(folder: Path) -> LogState:
    """Read every file of a table's log."""
    broken, checkpoints, entries = [], set(), {}
    for file in sorted(folder.iterdir()):
        match = _VERSION.match(file.name)
        if match is None:
            continue
        version, is_entry = int(match[1]), match[2] == "json"
        is_good = _is_whole(file)
        if is_entry:
            entries[version] = is_good
        elif is_good:
            checkpoints.add(version)
        if not is_good:
            broken.append(file)
    pointer = folder / POINTER
    if pointer.exists() and not _points_to(pointer, checkpoints):
        broken.append(pointer)
    newest = max([*entries, *checkpoints], default=-1)
    covered = max(checkpoints, default=-1)
    missing = tuple(version for version in range(covered + 1, newest + 1) if not entries.get(version))
    return LogState(newest, tuple(broken), covered, missing)


def find_cut_file(lake: Lake, tables: Iterable[Table]) -> tuple[Table, Path] | None:
    """Find a table whose newest log entry or checkpoint was cut short.

    Without the entry's end the table would lack that commit's rows; without the checkpoint nobody can open it. Of a
    local lake: an object of a bucket is there whole or not at all. Only the newest files are read, so it is cheap.
    """
    if not lake.is_local:
        return None
    for table in tables:
        log = Path(lake.table(table)) / "_delta_log"
        for kind in (".json", ".checkpoint*"):
            newest = max(log.glob(f"{'[0-9]' * 20}{kind}"), default=None)
            if newest is not None and not _is_whole(newest):
                return table, newest
    return None


def _is_whole(file: Path) -> bool:
    return _is_json_lines(file) if file.suffix == ".json" else _is_parquet(file)


def _is_json_lines(file: Path) -> bool:
    try:
        lines = file.read_text().splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _is_parquet(file: Path) -> bool:
    try:
        with pq.ParquetFile(file) as content:
            for _ in content.iter_batches():
                pass
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _points_to(pointer: Path, checkpoints: Iterable[int]) -> bool:
    try:
        return json.loads(pointer.read_text())["version"] in checkpoints
    except (ValueError, KeyError, TypeError):
        return False


def set_aside(files: Iterable[Path], folder: Path) -> list[Path]:
    """Move files of a log, each with the checksums that belong to it, into another folder; give where they are now."""
    folder.mkdir(parents=True, exist_ok=True)
    moved = []
    for file in files:
        stem = file.name.removesuffix(".json") if _VERSION.match(file.name) else file.name
        for name in (f".{file.name}.crc", f"{stem}.crc", f".{stem}.crc.crc"):
            checksum = file.with_name(name)
            if checksum.exists():
                shutil.move(checksum, folder / name)
        moved.append(Path(shutil.move(file, folder / file.name)))
    return moved


def put_back(moved: Iterable[Path], log: Path) -> None:
    """Undo set_aside."""
    for folder in {file.parent for file in moved}:
        for file in folder.iterdir():
            shutil.move(file, log / file.name)
        folder.rmdir()


def find_losses(lake: Lake, table: Table) -> str | None:
    """Say what an ingested table lacks of the batches that have their ledger row; None if nothing.

    The ledger itself lacks nothing by this measure: a batch without a row in it is repeated, or rebuilt.
    """
    with connect_duckdb(lake) as connection:
        for name, one in (("ledger", LEDGER), ("silver", SILVER_EVENTS), ("erased", SILVER_ERASED), ("mine", table)):
            connection.execute(f"CREATE TEMP VIEW {name} AS {select_table(connection, lake, one)}")
        if table in _COUNTED:
            column, place = _COUNTED[table]
            found = connection.execute(f"""
                SELECT query_id, batch_id, {column}, row_count FROM ledger LEFT JOIN (
                  SELECT query_id, batch_id, count(*) AS row_count FROM (
                    SELECT query_id, batch_id FROM mine{" WHERE place = 'erased'" if table is SILVER_ERASED else ""}
                    UNION ALL SELECT query_id, batch_id FROM erased WHERE place = '{place}'
                  ) GROUP BY ALL
                ) USING (query_id, batch_id) WHERE {column} > coalesce(row_count, 0) ORDER BY ALL LIMIT 1
                """).fetchone()
            return None if found is None else (
                f"batch {found[1]} of {found[0]} put {found[2]:,} rows there by the ledger, and {found[3] or 0:,} "
                "would be left")
        if table is LEDGER:
            return None
        sums = ", ".join(f"coalesce({sql}, 0)::DECIMAL(28,4)" for sql in SALES.values())
        expected = connection.execute(
            f"SELECT {sums} FROM silver SEMI JOIN ledger USING (query_id, batch_id)").fetchone()
        columns = ", ".join(f"coalesce(sum({name}), 0)::DECIMAL(28,4)" for name in SALES)
        left = connection.execute(f"SELECT {columns} FROM mine").fetchone()
        names = [name for name, one, other in zip(SALES, expected or (), left or (), strict=True) if one != other]
        return f"its sums of {', '.join(names)} would not be those of silver.events" if names else None


def find_unfinished(lake: Lake) -> list[BrokenOff]:
    """Find the stream's batches that broke off; a file's are repeated by its own command."""
    return [batch for batch in find_broken_off(lake) if batch.query_id != batch.origin]


def find_origins(lake: Lake, query_id: str) -> set[str]:
    """Give the origins of a query's records in bronze."""
    with connect_duckdb(lake) as connection:
        return {row[0] for row in connection.execute(
            f"SELECT DISTINCT origin FROM ({select_table(connection, lake, BRONZE_EVENTS)}) WHERE query_id = ?",
            [query_id]).fetchall()}


def find_broken_progress(checkpoint: Path) -> list[Path]:
    """Give the files of a streaming checkpoint that Spark could not read: empty, cut short, or the missing metadata."""
    files = [file for folder in ("offsets", "commits") for file in (checkpoint / folder).glob("[0-9]*")
             if file.name.isdecimal()]
    metadata = checkpoint / "metadata"
    broken = [file for file in files if not _is_progress(file)]
    # Without it the stream would begin under a new id in the middle of the old one's way.
    if not _is_json_lines(metadata) if metadata.exists() else files:
        broken.append(metadata)
    return sorted(broken)


def _is_progress(file: Path) -> bool:
    version, _, rest = file.read_text(errors="replace").partition("\n")
    try:
        return version.startswith("v") and bool(rest) and all(
            line == "-" or isinstance(json.loads(line), dict) for line in rest.splitlines())
    except ValueError:
        return False
