"""Take the topic's events into the lake: bronze, silver, duplicates, quarantine, live windows, ledger.

Continuous, or with --drain until the topic's end. Run it with spark-submit.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, LockError, ShoplakeError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shoplake.lake.addresses import Lake

LOG = logging.getLogger("shoplake.stream")
QUERY = "events"
POLL_SECONDS = 1.0
TOTALS = ("batches", "records", "silver", "duplicates", "quarantine")


@dataclass(frozen=True)
class Topic:
    """The topic as the broker knows it now; `ends` is each partition's next offset."""

    name: str
    id: str
    ends: dict[int, int]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drain", action="store_true",
                        help="stop when everything that the topic holds now is in the lake")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the totals at the end")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the stream; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: stream(arguments))


def stream(arguments: argparse.Namespace) -> int:
    """Become the checkpoint's driver and run the query; a drain beside another driver waits for that one."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import hold_lock

    lake = locate_lake(settings)
    topic = describe_topic(settings)
    deadline = time.monotonic() + settings.spark.drain_timeout
    totals = dict.fromkeys(TOTALS, 0)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(hold_lock(lake, f"checkpoint-{QUERY}", timeout=0))
            except LockError as error:
                if not arguments.drain:
                    raise
                if wait_for_driver(lake, topic, deadline, error):
                    break
            else:
                run_query(settings, lake, topic, arguments.drain, totals)
                break
    report = {"topic": topic.name, "origin": topic.id, **totals}
    print_result(report, f"{topic.name}: {totals['records']:,} records in {totals['batches']} batches -> "
                 f"{totals['silver']:,} silver, {totals['duplicates']:,} duplicates, "
                 f"{totals['quarantine']:,} quarantined", arguments.json)
    return EXIT_OK


def describe_topic(settings: Settings) -> Topic:
    """Ask the broker for the topic's id and end offsets.

    Raises:
        SourceError: no broker answers, or it has no such topic.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    servers, name = settings.bootstrap_servers, settings.kafka.topic
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=settings.kafka.delivery_timeout * 1000)
        try:
            known = {topic["name"]: topic for topic in admin.describe_topics()}
        finally:
            admin.close()
        if name not in known:
            visible = ", ".join(sorted(topic for topic in known if not topic.startswith("__"))) or "none"
            raise SourceError(f"the broker at {servers} has no topic {name!r} (kafka.topic); it has: {visible}. "
                              "Topics are made by: python kafka/broker.py start")
        partitions = [TopicPartition(name, part["partition_index"]) for part in known[name]["partitions"]]
        consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
        try:
            ends = {part.partition: end for part, end in consumer.end_offsets(partitions).items()}
        finally:
            consumer.close()
    except KafkaError as error:
        raise SourceError(
            f"no Kafka broker answers at {servers} ({error}). Look with: python kafka/broker.py status") from error
    return Topic(name, str(known[name]["topic_id"]), ends)


def wait_for_driver(lake: "Lake", topic: Topic, deadline: float, holder: LockError) -> bool:
    """Wait a moment for the running driver; say whether the ledger holds the topic's end offsets of our start."""
    from shoplake.lake.ledger import ingested_until

    until = ingested_until(lake, topic.id)
    missing = {part: end - until.get(part, 0) for part, end in topic.ends.items() if until.get(part, 0) < end}
    if missing and time.monotonic() > deadline:
        raise ShoplakeError(f"{holder} It has not reached the topic's end within spark.drain_timeout; records still "
                            f"missing by partition: {missing}")
    LOG.info("a drain starts no second driver; %d records are still missing. %s", sum(missing.values()), holder)
    time.sleep(POLL_SECONDS if missing else 0)
    return not missing


def run_query(settings: Settings, lake: "Lake", topic: Topic, drain: bool, totals: dict[str, int]) -> None:
    """Run the streaming query to its end, and add what its batches did to `totals`."""
    from pyspark.errors import StreamingQueryException
    from pyspark.sql import SparkSession

    from shoplake.lake.delta import check_session, create_tables
    from shoplake.streaming.ingest import INGEST_TABLES

    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-stream").getOrCreate()
    failures: list[Exception] = []
    try:
        check_session(spark)
        create_tables(lake, INGEST_TABLES, settings.shop)
        check_checkpoint(lake, topic)
        records = read_topic(spark, settings, lake, topic)
        trigger: dict[str, Any] = {"availableNow": True} if drain else {
            "processingTime": f"{settings.spark.trigger_interval} seconds"}
        query = records.writeStream.queryName(QUERY).option("checkpointLocation", lake.checkpoint(QUERY)).trigger(
            **trigger).foreachBatch(batch_writer(settings, lake, topic, totals, failures)).start()
        try:
            query.awaitTermination()
        except StreamingQueryException as error:
            raise (failures[-1] if failures else SourceError(explain_query_failure(error))) from error
        finally:
            query.stop()
    finally:
        if own_session:
            spark.stop()


def check_checkpoint(lake: "Lake", topic: Topic) -> None:
    """Refuse a checkpoint of another topic, and a lake whose broken-off batch no checkpoint will repeat."""
    from shoplake.lake.ledger import find_broken_off, origins_of

    place = lake.checkpoint(QUERY)
    query_id = checkpoint_query_id(lake)
    strangers = origins_of(lake, query_id) - {topic.id} if query_id else set()
    if strangers:
        raise SourceError(
            f"the checkpoint {place} holds offsets of the topic id {', '.join(strangers)}, but {topic.name!r} "
            f"is {topic.id}: it was made anew, or kafka.topic changed. Nothing was read. Set kafka.topic back, "
            "or give the new topic a lake of its own: SHOPLAKE_LAKE__ROOT=<new folder>"
        )
    broken_off = find_broken_off(lake, topic.id)
    if broken_off and broken_off.query_id != query_id:
        raise SourceError(
            f"batch {broken_off.batch_id} of the query {broken_off.query_id} broke off before its ledger row, and the "
            f"checkpoint {place} is not the one that would repeat it. Nothing was read. Put that checkpoint back, or "
            "read the topic into a lake of its own: SHOPLAKE_LAKE__ROOT=<new folder>"
        )


def checkpoint_query_id(lake: "Lake") -> str | None:
    """Give the id of the checkpoint's query, or None where there is no checkpoint yet."""
    metadata = Path(lake.checkpoint(QUERY)) / "metadata"
    return json.loads(metadata.read_text())["id"] if metadata.exists() else None


def read_topic(spark: "SparkSession", settings: Settings, lake: "Lake", topic: Topic) -> "DataFrame":
    """Open the topic; a new checkpoint goes on where the ledger ends, so a lost one doubles nothing."""
    from shoplake.lake.ledger import ingested_until

    earliest = -2  # Kafka's own sign for the first offset there is
    until = ingested_until(lake, topic.id)
    starts = {topic.name: {str(part): until.get(part, earliest) for part in topic.ends}}
    return spark.readStream.format("kafka").options(**{
        "kafka.bootstrap.servers": settings.bootstrap_servers, "subscribe": topic.name, "includeHeaders": "true",
        "startingOffsets": json.dumps(starts), "failOnDataLoss": "true",
        "maxOffsetsPerTrigger": str(settings.spark.max_offsets_per_trigger),
    }).load()


def batch_writer(
    settings: Settings, lake: "Lake", topic: Topic, totals: dict[str, int], failures: list[Exception],
) -> Callable[["DataFrame", int], None]:
    """Make the function that takes one micro-batch in, adds to `totals` and keeps what it raises in `failures`."""
    from shoplake.streaming.ingest import Batch, ingest_batch

    def write_batch(records: "DataFrame", batch_id: int) -> None:
        started = time.monotonic()
        # Spark turns it off for a stream's own plan, which keeps state; a batch's tables are plain and gain from it.
        records.sparkSession.conf.set("spark.sql.adaptive.enabled", "true")
        try:
            query_id = checkpoint_query_id(lake)
            if query_id is None:
                raise SourceError(f"the checkpoint {lake.checkpoint(QUERY)} vanished under the running query")
            row = ingest_batch(records, Batch(query_id, batch_id, topic.id, topic.name), lake, settings)
        except Exception as error:
            failures.append(error)
            raise
        counts = {"batches": 1, "records": row["bronze_count"], "silver": row["silver_count"],
                  "duplicates": row["duplicate_count"], "quarantine": row["quarantine_count"]}
        for name, count in counts.items():
            totals[name] += count
        LOG.info("batch %d: %s records -> %s silver, %s duplicates, %s quarantined in %.1f s", batch_id,
                 row["bronze_count"], row["silver_count"], row["duplicate_count"], row["quarantine_count"],
                 time.monotonic() - started)

    return write_batch


def explain_query_failure(error: Exception) -> str:
    """Give the first line of Spark's message, and what to look at."""
    first = next(iter(str(error).strip().splitlines()), "no message")
    return (f"the streaming query stopped: {first[:500]}. "
            "Look with: python kafka/broker.py status, python utils/reconcile.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
