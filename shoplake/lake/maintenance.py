"""Fewer and larger files: compaction and vacuum of the lake's tables by delta-rs, beside a running stream.

Every step takes the table's own write lock for some seconds only, and lets waiting writers in between two steps.
Compaction rewrites files and changes no row; the transaction ids in a table's log stay, so a batch that is repeated
afterwards is still skipped.
"""

import json
import math
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path

from deltalake import CommitProperties
from deltalake.exceptions import DeltaError

from shoplake.contract.tables import BRONZE_USERS, INGEST_TABLES, LEDGER, TABLES, USERS_DIM, Table
from shoplake.errors import StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import confirm_commit, delta_errors, open_table, table_exists
from shoplake.lake.buckets import delete_object, list_objects
from shoplake.lake.changes import LEDGER_VERSION, built_ledger_version
from shoplake.lake.locks import INGEST, HeldLock, hold_lock
from shoplake.lake.partitions import TableFile, list_files

TARGET_BYTES = 512 * 2**20  # of one file: about 10 s of rewriting
_CHUNK_BYTES = 128 * 2**20  # days that are rewritten under one lock; a larger day is a chunk of its own
# Longer than a waiter sleeps between two tries: a lock taken again at once would never be his.
_PAUSE_SECONDS, _BUCKET_PAUSE_SECONDS = 0.2, 1.0


@dataclass(frozen=True)
class Compaction:
    """What was done to a table; `most_files` is the largest number of files of one day (of the table, without days)."""

    table: str
    files_before: int
    files_after: int
    most_files: int
    days: int
    deleted_files: int


def write_lock(table: Table) -> str:
    """Name the lock under which a table is written."""
    if table is BRONZE_USERS:
        return USERS_DIM.name
    return INGEST if table in INGEST_TABLES else table.name


def compact_table(
    lake: Lake, table: Table, retention_hours: int, timeout: float, held: Mapping[str, HeldLock] | None = None,
) -> Compaction:
    """Rewrite each day's small files into one, then delete files that no version of the retention's span needs.

    Versions of ops.ledger that a gold table has read are kept: without them its next build would build every day.

    Args:
        retention_hours: how long a replaced file is kept for those who still read it.
        timeout: seconds to wait for the table's lock, at each step.
        held: locks that the caller holds already, by name.

    Raises:
        LockError: another writer held the lock for `timeout` seconds; what was done so far stays.
    """
    before = _read_files(lake, table)
    chunks = plan_chunks(before)
    for chunk in chunks:
        with _locked(lake, table, timeout, held) as lock:
            _rewrite(lake, table, chunk, lock)
        _let_others_in(lake)
    with _locked(lake, table, timeout, held) as lock:
        deleted = _vacuum(lake, table, retention_hours, lock)
    _let_others_in(lake)
    after = _read_files(lake, table)
    return Compaction(
        table.name, len(before), len(after), max((len(day) for day in _by_day(after).values()), default=0),
        sum(map(len, chunks)), deleted)


def plan_chunks(files: Iterable[TableFile]) -> list[list[date | None]]:
    """Give the days to rewrite, several small ones together; None stands for a table without days."""
    chunks: list[list[date | None]] = []
    room = 0
    for day, of_day in _by_day(files).items():
        small = [file.byte_count for file in of_day if file.byte_count < TARGET_BYTES]
        if len(small) < 2:
            continue
        if sum(small) > room:
            chunks.append([])
            room = _CHUNK_BYTES
        chunks[-1].append(day)
        room -= sum(small)
    return chunks


def _by_day(files: Iterable[TableFile]) -> dict[date | None, list[TableFile]]:
    ordered = sorted(files, key=lambda file: file.day or date.min)
    return {day: list(of_day) for day, of_day in groupby(ordered, key=lambda file: file.day)}


def purge_history(lake: Lake, table: Table, lock: HeldLock) -> None:
    """Delete every file that the newest version does not need, and the log of all older versions.

    Readers that have an older version open lose it: this is for an erasure, after which nobody may read one.

    Args:
        lock: the table's, which the caller holds.
    """
    if not table_exists(lake, table):
        return
    lock.check()
    if lake.is_local:
        _refuse_links(Path(lake.table(table)))
    built = built_ledger_version(lake, table)
    # What the table has read stands in the log that goes: without it the next build would build every day.
    properties = None if built is None else CommitProperties({"userMetadata": json.dumps({LEDGER_VERSION: built})})
    with delta_errors(lake):
        delta = open_table(lake, table)
        # Where rows went it deletes files, and writes versions of its own: the newest one tells of no deletion.
        delta.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True, commit_properties=properties)
        delta = open_table(lake, table)
        delta.create_checkpoint()
        delete_log_before(lake, table, delta.version())
    if lake.is_local:
        _remove_empty_folders(Path(lake.table(table)))


def delete_log_before(lake: Lake, table: Table, version: int) -> None:
    """Delete what the table's log says of versions before one that has a checkpoint."""
    address = f"{lake.table(table)}/_delta_log"
    if lake.is_local:
        for file in Path(address).iterdir():
            if _version_of(file.name) < version:
                file.unlink()
    else:
        for stored in list_objects(lake, f"{address}/"):
            if _version_of(stored.address.rsplit("/", 1)[1]) < version:
                delete_object(lake, stored.address, stored.generation)


def _version_of(name: str) -> float:
    digits = name.removeprefix(".").split(".", 1)[0]  # .0000.json.crc is Hadoop's checksum of 0000.json
    return int(digits) if digits.isdecimal() else math.inf


def _read_files(lake: Lake, table: Table) -> list[TableFile]:
    with delta_errors(lake):
        return list_files(open_table(lake, table), table)


def _rewrite(lake: Lake, table: Table, days: list[date | None], lock: HeldLock) -> None:
    listed = [day.isoformat() for day in days if day]
    filters = [(table.partition_by, "in", listed)] if table.partition_by and listed else None
    mark = uuid.uuid4().hex
    lock.check()
    with delta_errors(lake):
        # One task: the other cores are the stream's.
        done = open_table(lake, table).optimize.compact(
            partition_filters=filters, target_size=TARGET_BYTES, max_concurrent_tasks=1,
            commit_properties=CommitProperties({"commit": mark}))
    if done["numFilesAdded"]:
        confirm_commit(lake, table, mark)


def _vacuum(lake: Lake, table: Table, retention_hours: int, lock: HeldLock) -> int:
    keep = _versions_to_keep(lake) if table is LEDGER else []
    lock.check()
    if lake.is_local:
        _refuse_links(Path(lake.table(table)))
    with delta_errors(lake):
        delta = open_table(lake, table)
        # Files that no log names, left by a killed writer, go too once they are older than the retention.
        vacuum = partial(
            delta.vacuum, retention_hours, enforce_retention_duration=False, full=True, keep_versions=keep or None)
        # Hadoop's checksums count as files that no log names: they go with the others, and are no reason to begin.
        useless = [path for path in vacuum(dry_run=True) if not path.rsplit("/", 1)[-1].startswith(".")]
        if useless:  # one that deletes nothing would still write two versions
            vacuum(dry_run=False)
    if lake.is_local:
        _remove_empty_folders(Path(lake.table(table)))
    return len(useless)


def _refuse_links(folder: Path) -> None:
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (link := Path(path) / name).is_symlink():  # what lies behind it would count as files that no log names
                raise StorageError(f"{link} is a link to {link.resolve()}, and a table has none: nothing was deleted. "
                                   "Remove the link")


def _remove_empty_folders(folder: Path) -> None:
    """Each write has a folder of its own; a bucket has none."""
    for path, _, _ in sorted(os.walk(folder), reverse=True):  # what lies deeper comes first
        if path != str(folder) and not os.listdir(path):
            os.rmdir(path)


def _versions_to_keep(lake: Lake) -> list[int]:
    built = {built_ledger_version(lake, table) for table in TABLES if table.layer == "gold"} - {None}
    return sorted(version for version in built if version is not None and _is_readable(lake, version))


def _is_readable(lake: Lake, version: int) -> bool:
    try:
        with delta_errors(lake):
            open_table(lake, LEDGER, version)
    except (DeltaError, OSError, StorageError):  # its log is gone already: the next build takes every day anyway
        return False
    return True


def _locked(
    lake: Lake, table: Table, timeout: float, held: Mapping[str, HeldLock] | None,
) -> AbstractContextManager[HeldLock]:
    name = write_lock(table)
    return nullcontext(held[name]) if held and name in held else hold_lock(lake, name, timeout)


def _let_others_in(lake: Lake) -> None:
    time.sleep(_PAUSE_SECONDS if lake.is_local else _BUCKET_PAUSE_SECONDS)
