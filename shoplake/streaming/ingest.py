"""One micro-batch, from raw records to the ledger row; a stream's batch and a file's chunk go the same way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from shoplake.contract.measures import LIVE_WINDOWS, LiveWindow
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.errors import ContractError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import append_row_once
from shoplake.lake.data_keys import open_data_keys
from shoplake.lake.delta import append_once, read_days, replace_days_once
from shoplake.lake.ledger import find_ledger_row, ingested_until
from shoplake.lake.locks import INGEST, HeldLock, hold_lock
from shoplake.lake.pseudonyms import settle_pseudonyms
from shoplake.quality.rules import JSON_VALID, Rule, event_rules
from shoplake.settings import Settings
from shoplake.streaming.deduplicate import DUPLICATE, ERASED, QUARANTINE, SILVER, assign_verdicts
from shoplake.streaming.money import convert_prices, pin_rates
from shoplake.streaming.parse import parse_records
from shoplake.streaming.seal import IS_ERASED, seal
from shoplake.streaming.validate import breaks, judge_events
from shoplake.streaming.windows import add_windows, is_sale, revenue_by_window
from shoplake.topics import Topic

_PLACES = ((SILVER, SILVER_EVENTS), (DUPLICATE, SILVER_DUPLICATES), (QUARANTINE, SILVER_QUARANTINE),
           (ERASED, SILVER_ERASED))


@dataclass(frozen=True)
class Batch:
    """A micro-batch's identity, and where its records come from.

    `find_topic` looks at the topic as it is now; None for what is no topic.
    """

    query_id: str
    batch_id: int
    origin: str
    topic: str
    find_topic: Callable[[], Topic | None] | None = None


def ingest_batch(records: DataFrame, batch: Batch, lake: Lake, settings: Settings) -> dict[str, Any]:
    """Take a batch into bronze, silver, duplicates, quarantine and live windows, and write its ledger row last.

    With `governance.pseudonyms` payloads lie encrypted, and users are pseudonyms from silver on.

    Idempotent: the same batch again, from wherever an earlier try broke off, gives the same tables and the same ledger
    row (but for how long this try took). Holds the lake's `ingest` lock.

    Args:
        records: partition, offset, key, value, headers, timestamp, and `is_erased` where they come from bronze; read
            once.

    Returns:
        The ledger row.

    Raises:
        ConfigError: the file of exchange rates that the settings name cannot be read; the lake has pseudonyms of
            another key, or none.
        ContractError: the records are not one gapless range for each partition that goes on where the ledger ends,
            a rule that stops the stream was broken, or rows went astray.
        LockError: another writer held the lock for lake.lock_timeout.
    """
    rules = event_rules(settings.quality, settings.shop)
    started = time.monotonic()
    with hold_lock(lake, INGEST, settings.lake.lock_timeout) as lock:
        data_keys = open_data_keys(settings, lake)
        settle_pseudonyms(lake, data_keys, lock)
        located = _with_coordinates(records, batch)
        rates = pin_rates(batch.query_id, batch.batch_id, lake, settings)
        judged = judge_events(parse_records(located, settings.shop, rates), rules).persist()
        try:
            row = _ingest_judged(seal(judged, data_keys), batch, lake, lock, rules)
            row |= {"batch_seconds": time.monotonic() - started, "lag_count": _count_waiting(batch, row, lake)}
            lock.check()
            append_row_once(row, lake, LEDGER, batch.query_id, batch.batch_id)
            return row
        finally:
            judged.unpersist()


def _ingest_judged(
    judged: DataFrame, batch: Batch, lake: Lake, lock: HeldLock, rules: tuple[Rule, ...],
) -> dict[str, Any]:
    ranges = judged.groupBy("partition").agg(
        F.min("offset").alias("from_offset"), (F.max("offset") + 1).alias("until_offset"), F.count("*").alias("rows"),
        F.collect_set(F.when(F.size("reasons") == 0, F.col("event_date"))).alias("dates"),
    )
    parts = sorted(ranges.collect(), key=lambda part: part["partition"])  # Spark would take two more jobs for it
    _check_gapless(parts, batch)
    _check_continues(parts, batch, lake)
    dates = sorted({day for part in parts for day in part["dates"]})
    bronze = judged.withColumn("ingest_date", F.to_date("timestamp"))
    records = sum(part["rows"] for part in parts)
    append_once(bronze, lake, BRONZE_EVENTS, batch.query_id, batch.batch_id, lock, records)

    known = read_days(judged.sparkSession, lake, SILVER_EVENTS, dates)
    verdicts = convert_prices(assign_verdicts(judged, known))
    counts = _count_verdicts(verdicts, rules)
    _check_failing_rules(counts, rules, batch)
    row = _ledger_row(batch, parts, counts, rules)
    for verdict, table in _PLACES:
        if counts[verdict]:
            append_once(verdicts.filter(F.col("verdict") == verdict), lake, table, batch.query_id, batch.batch_id, lock,
                        counts[verdict])
    accepted = verdicts.filter(F.col("verdict") == SILVER)
    for live in LIVE_WINDOWS if counts["window_dates"] else ():
        _add_to_live_table(accepted, live, counts["window_dates"], batch, lake, lock)
    return row


def _with_coordinates(records: DataFrame, batch: Batch) -> DataFrame:
    return records.select(
        F.lit(batch.origin).alias("origin"), F.lit(batch.topic).alias("topic"), "partition", "offset",
        "key", "value", "headers", "timestamp",
        F.lit(batch.query_id).alias("query_id"), F.lit(batch.batch_id).cast("bigint").alias("batch_id"),
        *(name for name in records.columns if name == IS_ERASED),
    )


def _check_gapless(parts: Sequence[Row], batch: Batch) -> None:
    for part in parts:
        expected = part["until_offset"] - part["from_offset"]
        if part["rows"] != expected:
            raise ContractError(
                f"batch {batch.batch_id} of {batch.topic}: partition {part['partition']} gave {part['rows']} records "
                f"for the {expected} offsets {part['from_offset']} to {part['until_offset'] - 1}; nothing of this "
                "batch is committed. Look at the topic with: python kafka/consumer.py --from-beginning"
            )


def _check_continues(parts: Sequence[Row], batch: Batch, lake: Lake) -> None:
    """Refuse records that the ledger has already, or that leave some out: both would stay for ever."""
    if find_ledger_row(lake, batch.query_id, batch.batch_id) is not None:
        return  # the stream repeats a batch that had ended: every write of it will be skipped
    until = ingested_until(lake, batch.origin)
    for part in parts:
        number, start = part["partition"], part["from_offset"]
        if start != until.get(number, start):
            raise ContractError(
                f"batch {batch.batch_id} of {batch.topic}: partition {number} starts at offset {start}, but the ledger "
                f"ends at {until[number]}; nothing of this batch is written. Run: python utils/reconcile.py"
            )


def _check_failing_rules(counts: dict[str, Any], rules: tuple[Rule, ...], batch: Batch) -> None:
    for rule in rules:
        if rule.on_failure == "fail" and counts[f"rule_{rule.name}"]:
            raise ContractError(
                f"batch {batch.batch_id} of {batch.topic}: {counts[f'rule_{rule.name}']} records break the rule "
                f"{rule.name} ({rule.why}), which stops the stream; its ledger row is not written"
            )


def _count_verdicts(verdicts: DataFrame, rules: tuple[Rule, ...]) -> dict[str, Any]:
    def count(condition: Column) -> Column:
        return F.count(F.when(condition, 1))

    in_silver = F.col("verdict") == SILVER
    return verdicts.agg(
        F.count("*").alias("rows"), count(F.col("is_json")).alias("json_rows"),
        *(count(F.col("verdict") == verdict).alias(verdict) for verdict, _ in _PLACES),
        count(in_silver & F.col("is_late")).alias("late"),
        *(count(breaks(rule, rules)).alias(f"rule_{rule.name}") for rule in rules),
        F.sort_array(F.collect_set(F.when(in_silver, F.col("event_date")))).alias("dates"),
        F.collect_set(F.when(in_silver & is_sale(), F.to_date("event_time"))).alias("window_dates"),
    ).collect()[0].asDict()


def _ledger_row(
    batch: Batch, parts: Sequence[Row], counts: dict[str, Any], rules: tuple[Rule, ...],
) -> dict[str, Any]:
    records = sum(part["rows"] for part in parts)
    placed = sum(counts[verdict] for verdict, _ in _PLACES)
    if not records == counts["rows"] == placed:
        raise ContractError(
            f"batch {batch.batch_id} of {batch.topic}: {records} records in, but {placed} verdicts; its ledger row is "
            "not written. Run: python utils/reconcile.py"
        )
    return {
        "query_id": batch.query_id, "batch_id": batch.batch_id, "origin": batch.origin, "topic": batch.topic,
        "ranges": [{name: part[name] for name in ("partition", "from_offset", "until_offset")} for part in parts],
        "bronze_count": records, "silver_count": counts[SILVER], "duplicate_count": counts[DUPLICATE],
        "quarantine_count": counts[QUARANTINE], "erased_count": counts[ERASED], "late_count": counts["late"],
        "rules": [_rule_counts(rule, counts) for rule in rules], "event_dates": counts["dates"],
    }


def _count_waiting(batch: Batch, row: dict[str, Any], lake: Lake) -> int | None:
    topic = batch.find_topic() if batch.find_topic else None
    if topic is None or topic.id != batch.origin:
        return None
    taken = {part["partition"]: part["until_offset"] for part in row["ranges"]}
    until: dict[int, int] = ingested_until(lake, batch.origin) | taken
    return sum(topic.lag_behind(until).values())


def _rule_counts(rule: Rule, counts: dict[str, Any]) -> dict[str, Any]:
    failed = counts[f"rule_{rule.name}"]
    asked = counts["rows"] if rule.name == JSON_VALID else counts["json_rows"]
    return {"rule": rule.name, "passed": asked - failed, "failed": failed}


def _add_to_live_table(
    accepted: DataFrame, live: LiveWindow, days: Sequence[date], batch: Batch, lake: Lake, lock: HeldLock,
) -> None:
    current = read_days(accepted.sparkSession, lake, live.table, days)
    rows = add_windows(current, revenue_by_window(accepted, live), live)
    replace_days_once(rows, lake, live.table, days, batch.query_id, batch.batch_id, lock)
