"""Take the topic's events into the lake: bronze, silver, duplicates, quarantine, live windows, ledger.

Continuous, or with --drain until the topic's end. Run it with spark-submit. A continuous one that is told to stop
(--stop-after, --stop-with) ends its batch first.
"""

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from shoplake.broker_security import spark_security
from shoplake.errors import EXIT_OK, LockError, ShoplakeError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.processes import HOST, find_free_port, find_process, has_ended
from shoplake.settings import PROFILES, STREAM_STOP_SECONDS, Settings, load_settings
from shoplake.topics import Topic, find_topic, look_up_topic

if TYPE_CHECKING:
    from psutil import Process
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from shoplake.lake.addresses import Lake
    from shoplake.lake.locks import HeldLock
    from shoplake.streaming.metrics import StreamMetrics

LOG = logging.getLogger("shoplake.stream")
QUERY = "events"
POLL_SECONDS = 1


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    end = parser.add_argument_group("when to stop (default: never)")
    end.add_argument("--drain", action="store_true",
                     help="when everything that the topic holds now is in the lake")
    end.add_argument("--stop-after", type=float, metavar="SECONDS", help="after so many seconds")
    end.add_argument("--stop-with", type=int, metavar="PID",
                     help="when the process PID has ended, so that no stream outlives who supervises it")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the totals at the end")
    arguments = parser.parse_args(argv)
    if arguments.drain and (arguments.stop_after is not None or arguments.stop_with is not None):
        parser.error("--drain stops by itself; --stop-after and --stop-with are for a continuous stream")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the stream; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: stream(arguments))


def stream(arguments: argparse.Namespace) -> int:
    """Become the checkpoint's driver and run the query; a drain beside another driver waits for that one."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    import kafka

    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import STREAM, hold_lock
    from shoplake.streaming.metrics import StreamMetrics

    lake = locate_lake(settings)
    metrics = StreamMetrics(lambda: count_waiting(lake, settings))
    supervisor = None if arguments.stop_with is None else find_process(arguments.stop_with, "--stop-with")
    topic = look_up_topic(kafka, settings)
    deadline = time.monotonic() + settings.spark.drain_timeout
    with ExitStack() as held:
        while True:
            try:
                driver = held.enter_context(hold_lock(lake, STREAM, timeout=0))
            except LockError as error:
                if not arguments.drain:
                    raise
                if wait_for_driver(lake, topic, deadline, error):
                    break
            else:
                trigger = {"availableNow": True} if arguments.drain else {
                    "processingTime": f"{settings.spark.trigger_interval} seconds"}
                if not arguments.drain and settings.spark.metrics_port:
                    held.enter_context(serve_metrics(metrics, settings.spark.metrics_port))
                run_query(settings, lake, driver, topic, trigger, metrics,
                          lambda query: await_end(query, metrics, arguments.stop_after, supervisor))
                break
    totals = metrics.totals
    report = {"topic": topic.name, "origin": topic.id, **totals}
    print_result(report, f"{topic.name}: {totals['records']:,} records in {totals['batches']} batches -> "
                 f"{totals['silver']:,} silver, {totals['duplicates']:,} duplicates, "
                 f"{totals['quarantine']:,} quarantined", arguments.json)
    return EXIT_OK


@contextmanager
def serve_metrics(metrics: "StreamMetrics", port: int) -> Iterator[None]:
    """Serve the metrics on loopback for the block, on the next free port if this one is taken."""
    from prometheus_client import start_http_server

    port = find_free_port(port, "spark.metrics_port")
    server, thread = start_http_server(port, HOST, metrics.registry)
    LOG.info("Prometheus metrics: http://%s:%d/metrics", HOST, port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def count_waiting(lake: "Lake", settings: Settings) -> float:
    """Count the records that the topic holds and the ledger does not; NaN where the broker does not say."""
    import kafka

    from shoplake.lake.ledger import ingested_until

    topic = find_topic(kafka, settings)
    return math.nan if topic is None else sum(topic.lag_behind(ingested_until(lake, topic.id)).values())


def wait_for_driver(lake: "Lake", topic: Topic, deadline: float, holder: LockError) -> bool:
    """Wait a moment for the running driver; say whether the ledger holds the topic's end offsets of our start."""
    from shoplake.lake.ledger import ingested_until

    missing = topic.lag_behind(ingested_until(lake, topic.id))
    if missing and time.monotonic() > deadline:
        raise ShoplakeError(f"{holder} It has not reached the topic's end within spark.drain_timeout; records still "
                            f"missing by partition: {missing}")
    LOG.info("a drain starts no second driver; %d records are still missing. %s", sum(missing.values()), holder)
    time.sleep(POLL_SECONDS if missing else 0)
    return not missing


def run_query(
    settings: Settings, lake: "Lake", driver: "HeldLock", topic: Topic, trigger: dict[str, Any],
    metrics: "StreamMetrics", wait: "Callable[[StreamingQuery], None]",
) -> None:
    """Run the streaming query until `wait` comes back, and add what its batches did to `metrics`."""
    from pyspark.errors import StreamingQueryException
    from pyspark.sql import SparkSession

    from shoplake.contract.tables import INGEST_TABLES
    from shoplake.lake.delta import check_session, create_tables, session_options
    from shoplake.streaming.checkpoint import check_checkpoint

    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-stream").config(
        map={**session_options(settings)}).getOrCreate()
    failures: list[Exception] = []
    try:
        check_session(spark)
        check_checkpoint(lake, QUERY, topic)
        create_tables(lake, INGEST_TABLES, settings.shop)
        records = read_topic(spark, settings, lake, topic)
        query = records.writeStream.queryName(QUERY).option("checkpointLocation", lake.checkpoint(QUERY)).trigger(
            **trigger).foreachBatch(batch_writer(settings, lake, driver, topic, metrics, failures)).start()
        driver.announce_ready()
        try:
            wait(query)
        except StreamingQueryException as error:
            raise (failures[-1] if failures else SourceError(explain_query_failure(error))) from error
        finally:
            query.stop()
    finally:
        if own_session:
            spark.stop()


def await_end(
    query: "StreamingQuery", metrics: "StreamMetrics", stop_after: float | None, supervisor: "Process | None",
) -> None:
    """Wait until the query ends by itself or is told to stop; then let its batch end, but not for ever.

    A batch cut short after all is repeated by the next driver, and its rows are not doubled.
    """
    deadline, done = math.inf if stop_after is None else time.monotonic() + stop_after, 0
    while not query.awaitTermination(POLL_SECONDS):
        if supervisor is not None and has_ended(supervisor):
            LOG.warning("the process %d, which supervised this stream, has ended", supervisor.pid)
            supervisor, deadline = None, min(deadline, time.monotonic())
        late_by = time.monotonic() - deadline
        if late_by < 0:
            done = metrics.totals["batches"]
        # With a backlog the next batch begins at once, and no moment without one is seen.
        elif late_by >= STREAM_STOP_SECONDS or metrics.totals["batches"] > done or not query.status["isTriggerActive"]:
            LOG.info("stopping as told")
            return


def read_topic(spark: "SparkSession", settings: Settings, lake: "Lake", topic: Topic) -> "DataFrame":
    """Open the topic; a new checkpoint goes on where the ledger ends, so a lost one doubles nothing."""
    from shoplake.lake.ledger import ingested_until

    earliest = -2  # Kafka's own sign for the first offset there is
    until = ingested_until(lake, topic.id)
    starts = {topic.name: {str(part): until.get(part, earliest) for part in topic.ends}}
    return spark.readStream.format("kafka").options(**{
        "kafka.bootstrap.servers": settings.bootstrap_servers, **spark_security(settings), "subscribe": topic.name,
        "includeHeaders": "true", "startingOffsets": json.dumps(starts), "failOnDataLoss": "true",
        "maxOffsetsPerTrigger": str(settings.spark.max_offsets_per_trigger)}).load()


def batch_writer(
    settings: Settings, lake: "Lake", driver: "HeldLock", topic: Topic, metrics: "StreamMetrics",
    failures: list[Exception],
) -> Callable[["DataFrame", int], None]:
    """Make the function that takes one micro-batch in, adds to `metrics` and keeps what it raises in `failures`."""
    import kafka

    from shoplake.streaming.checkpoint import find_query_id
    from shoplake.streaming.ingest import Batch, ingest_batch

    def write_batch(records: "DataFrame", batch_id: int) -> None:
        # Spark turns it off for a stream's own plan, which keeps state; a batch's tables are plain and gain from it.
        records.sparkSession.conf.set("spark.sql.adaptive.enabled", "true")
        try:
            driver.check()
            query_id = find_query_id(lake, QUERY)
            if query_id is None:
                raise SourceError(f"the checkpoint {lake.checkpoint(QUERY)} vanished under the running query")
            batch = Batch(query_id, batch_id, topic.id, topic.name, lambda: find_topic(kafka, settings))
            row = ingest_batch(records, batch, lake, settings)
        except Exception as error:
            failures.append(error)
            raise
        metrics.add_batch(row)
        LOG.info("batch %d: %s records -> %s silver, %s duplicates, %s quarantined in %.1f s", batch_id,
                 row["bronze_count"], row["silver_count"], row["duplicate_count"], row["quarantine_count"],
                 row["batch_seconds"])

    return write_batch


def explain_query_failure(error: Exception) -> str:
    """Give the first line of Spark's message, and what to look at."""
    first = next(iter(str(error).strip().splitlines()), "no message")
    return (f"the streaming query stopped: {first[:500]}. "
            "Look with: python kafka/broker.py status, python utils/reconcile.py. "
            "A file of the checkpoint that was cut short: python utils/repair.py --checkpoint")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
