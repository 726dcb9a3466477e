"""What a rebuild of the ingested tables from bronze needs: the batches in their order, and tables replaced whole."""

import heapq
import json
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from deltalake import CommitProperties, Transaction, write_deltalake
from pyspark.sql import DataFrame, SparkSession

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.errors import ConfigError, GateRefusedError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table, scan_table, table_exists
from shoplake.lake.delta import read_days
from shoplake.lake.locks import HeldLock
from shoplake.lake.maintenance import TARGET_BYTES
from shoplake.lake.partitions import list_files
from shoplake.lake.sql import connect_duckdb, select_table

Key = tuple[str, int]


@dataclass(frozen=True)
class BronzeBatch:
    """A micro-batch as bronze holds it; `is_done` says whether it has its ledger row."""

    query_id: str
    batch_id: int
    origin: str
    topic: str
    ingest_dates: tuple[date, ...]
    is_done: bool

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.query_id, self.batch_id


def begin_scratch(lake: Lake) -> Lake:
    """Give an empty lake beside the lake, in which a rebuild works until it is whole; what one before left goes."""
    clear_scratch(lake)
    return replace(lake, root=f"{lake.root}/_rebuild/{uuid.uuid4().hex[:8]}")


def clear_scratch(lake: Lake) -> None:
    """Remove what rebuilds left: whole tables."""
    shutil.rmtree(f"{lake.root}/_rebuild", ignore_errors=True)


def check_space(lake: Lake, tables: Iterable[Table]) -> None:
    """Refuse to begin without room for the tables twice: once beside the lake, once more as new versions in it.

    Raises:
        ConfigError: names what is needed and what is free.
    """
    needed = 2 * sum(file.byte_count for table in tables if table_exists(lake, table)
                     for file in list_files(open_table(lake, table), table))
    free = shutil.disk_usage(lake.root).free
    if free < needed:
        raise ConfigError(f"a rebuild of {lake.root} needs about {needed / 2**20:,.0f} MiB of room, and the disk has "
                          f"{free / 2**20:,.0f} MiB; nothing was begun. Make room, for example with: "
                          "python utils/compact.py")


def order_batches(lake: Lake) -> list[BronzeBatch]:
    """Give every batch of bronze in an order that gives the verdicts that were given.

    A copy's batch comes after that of the row that was kept, and a query's batches by their ids. Where that leaves a
    choice, the order of the ledger's commits decides, as far back as its log goes; a batch without a ledger row, which
    broke off, is the last.

    Raises:
        GateRefusedError: bronze has fewer or more records of a batch than its ledger row says.
    """
    with connect_duckdb(lake) as connection:
        for name, table in (("bronze", BRONZE_EVENTS), ("ledger", LEDGER), ("silver", SILVER_EVENTS),
                            ("duplicates", SILVER_DUPLICATES), ("quarantine", SILVER_QUARANTINE)):
            connection.execute(f"CREATE TEMP VIEW {name} AS {select_table(connection, lake, table)}")
        connection.execute("""
            CREATE TEMP TABLE batches AS
            SELECT query_id, batch_id, coalesce(bronze.origin, ledger.origin) AS origin,
              coalesce(bronze.topic, ledger.topic) AS topic, coalesce(dates, []) AS dates,
              ledger.origin IS NOT NULL AS is_done, coalesce(row_count, 0) AS row_count, bronze_count
            FROM (
              SELECT query_id, batch_id, min(origin) AS origin, min(topic) AS topic,
                list(DISTINCT ingest_date) AS dates, count(*) AS row_count
              FROM bronze GROUP BY query_id, batch_id
            ) AS bronze FULL JOIN ledger USING (query_id, batch_id)""")
        wrong = connection.execute("""
            SELECT query_id, batch_id, bronze_count, row_count FROM batches WHERE bronze_count <> row_count
            ORDER BY ALL LIMIT 1""").fetchone()
        if wrong:
            raise GateRefusedError(
                f"bronze is not whole: batch {wrong[1]} of {wrong[0]} took in {wrong[2]} records by the ledger, and "
                f"bronze has {wrong[3]}. A rebuild would keep that loss; nothing was changed. Look with: "
                "python utils/reconcile.py")
        found = [
            BronzeBatch(query_id, batch_id, origin, topic, tuple(sorted(dates)), is_done)
            for query_id, batch_id, origin, topic, dates, is_done in connection.execute(
                "SELECT query_id, batch_id, origin, topic, dates, is_done FROM batches").fetchall()]
        kept_before = connection.execute("""
            SELECT DISTINCT kept.query_id, kept.batch_id, copy.query_id, copy.batch_id
            FROM (
              SELECT kept_origin, kept_partition, kept_offset, query_id, batch_id FROM duplicates
              UNION ALL BY NAME
              SELECT kept_origin, kept_partition, kept_offset, query_id, batch_id FROM quarantine
              WHERE kept_origin IS NOT NULL
            ) AS copy JOIN bronze AS kept ON kept.origin = kept_origin AND kept."partition" = kept_partition
              AND kept."offset" = kept_offset
            WHERE (kept.query_id, kept.batch_id) <> (copy.query_id, copy.batch_id)""").fetchall()
    after: dict[Key, set[Key]] = defaultdict(set)
    for row in kept_before:
        after[row[0], row[1]].add((row[2], row[3]))
    return sort_batches(found, after, _first_commits(lake))


def sort_batches(
    batches: Iterable[BronzeBatch], after: Mapping[Key, Iterable[Key]], commits: Mapping[Key, int],
) -> list[BronzeBatch]:
    """Sort batches topologically.

    Args:
        after: for a batch, those that must come later.
        commits: the ledger version that first held a batch; what is older than the log is not in it.
    """
    by_key = {batch.key: batch for batch in batches}
    followers: dict[Key, set[Key]] = {key: set(after.get(key, ())) & by_key.keys() for key in by_key}
    last: dict[str, Key] = {}
    for key in sorted(by_key):
        if key[0] in last:
            followers[last[key[0]]].add(key)
        last[key[0]] = key
    waiting = dict.fromkeys(by_key, 0)
    for keys in followers.values():
        for key in keys:
            waiting[key] += 1

    def rank(key: Key) -> tuple[bool, int, Key]:
        return not by_key[key].is_done, commits.get(key, -1), key

    ready = [rank(key) for key, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[BronzeBatch] = []
    while waiting:
        # Tables that somebody damaged may contradict each other: then the smallest goes on.
        _, _, key = heapq.heappop(ready) if ready else min(map(rank, waiting))
        if waiting.pop(key, None) is None:
            continue
        ordered.append(by_key[key])
        for follower in followers[key] & waiting.keys():
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, rank(follower))
    return ordered


def _first_commits(lake: Lake) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for entry in sorted((Path(lake.table(LEDGER)) / "_delta_log").glob("*.json")):
        for line in entry.read_text().splitlines():
            transaction = json.loads(line).get("txn")
            if transaction:
                found.setdefault((transaction["appId"], transaction["version"]), int(entry.stem))
    return found


def read_batch(spark: SparkSession, lake: Lake, batch: BronzeBatch) -> DataFrame:
    """Read a batch's records from bronze, as they lie there."""
    bronze = read_days(spark, lake, BRONZE_EVENTS, batch.ingest_dates)
    mine = bronze.filter((bronze["query_id"] == batch.query_id) & (bronze["batch_id"] == batch.batch_id))
    return mine.select(
        "origin", "partition", "offset", "key", "value", "headers", "timestamp", "data_key_id")


def replace_table(lake: Lake, table: Table, rebuilt: Lake, query_ids: Iterable[str], lock: HeldLock) -> None:
    """Replace all rows of a table by those of `rebuilt`, in one commit; readers of the old version are not disturbed.

    The commit carries the rebuilt table's transaction ids too: a batch that the stream repeats later is skipped.

    Args:
        query_ids: of all batches.
        lock: the table's, which the caller holds.
    """
    new = open_table(rebuilt, table)
    versions = {query_id: new.transaction_version(query_id) for query_id in query_ids}
    transactions = [Transaction(query_id, version) for query_id, version in versions.items() if version is not None]
    lock.check()
    write_deltalake(
        lake.table(table), scan_table(rebuilt, table).scanner().to_reader(), mode="overwrite",
        partition_by=[table.partition_by] if table.partition_by else None, target_file_size=TARGET_BYTES,
        commit_properties=CommitProperties({"rebuilt_from": BRONZE_EVENTS.name, "commit": uuid.uuid4().hex},
                                           app_transactions=transactions))
