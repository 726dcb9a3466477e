"""Guarantees that a run's end result cannot show: the order of commits, what is asked of the broker, gold in steps."""

import json
import runpy
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lake_oracle import rows_of
from shells_on_lake import make_topic

from shoplake.batch.build import GOLD_BUILDS, build_gold_table
from shoplake.contract.tables import BRONZE_EVENTS, CATEGORY_REVENUE, DAILY_SALES, LEDGER, Table
from shoplake.lake.addresses import Lake
from shoplake.lake.delta import create_tables
from shoplake.lake.ledger import find_ledger_row
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.streaming import ingest
from shoplake.streaming.ingest import INGEST_TABLES, Batch, ingest_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAY = date(2026, 3, 2)


def make_records(spark: "SparkSession", first: int, days: list[date], event_type: str = "order_created") -> "DataFrame":
    """Give an event of each day, with offsets from `first` on."""
    from pyspark.sql import functions as F

    events = [{
        "event_time": f"{day}T12:00:00Z", "user_id": "u", "product_id": f"p{number % 2}", "category": "c",
        "price": f"{number + 1}.25", "quantity": 1, "event_type": event_type, "event_id": f"{first + number}",
    } for number, day in enumerate(days)]
    rows = [(0, first + number, None, json.dumps(event).encode(), None) for number, event in enumerate(events)]
    columns = "partition int, offset bigint, key binary, value binary, headers array<struct<key:string,value:binary>>"
    return spark.createDataFrame(rows, columns).withColumn("timestamp", F.lit("2026-03-30 12:00:00").cast("timestamp"))


def make_lake(folder: Path) -> Lake:
    lake = Lake(str(folder))
    create_tables(lake, INGEST_TABLES, load_settings("local").shop)
    return lake


def test_a_batch_has_no_ledger_row_until_all_else_is_written(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, written = make_lake(tmp_path / "lake"), []

    def watch(write: Callable[..., None]) -> Callable[..., None]:
        def watched(*args: Any, **kwargs: Any) -> None:
            table = next(value for value in (*args, *kwargs.values()) if isinstance(value, Table))
            assert find_ledger_row(lake, "query", 0) is None, f"{table.name} is written after the ledger row"
            write(*args, **kwargs)
            written.append(table)

        return watched

    for name in ("append_once", "replace_days_once"):
        monkeypatch.setattr(ingest, name, watch(getattr(ingest, name)))
    records = make_records(spark, 0, [DAY, DAY])
    ingest_batch(records, Batch("query", 0, "topic-id", "events"), lake, load_settings("local"))
    assert (written[0], written[-1]) == (BRONZE_EVENTS, LEDGER)


def test_gold_built_in_steps_is_gold_built_at_once(spark: "SparkSession", tmp_path: Path) -> None:
    """A late event restates its day, and the day a week later that grows from it; other days are left alone."""
    builds = [gold for gold in GOLD_BUILDS if gold.table in (DAILY_SALES, CATEGORY_REVENUE)]
    settings, lake = load_settings("local"), make_lake(tmp_path / "lake")
    create_tables(lake, [gold.table for gold in builds], settings.shop)
    fortnight = [DAY + timedelta(days) for days in range(14)]
    batches = [make_records(spark, 0, fortnight), make_records(spark, 14, [DAY, DAY + timedelta(8)], "order_cancelled")]
    for batch_id, records in enumerate(batches):
        ingest_batch(records, Batch("query", batch_id, "topic-id", "events"), lake, settings)
        built = {gold.table: build_gold_table(spark, lake, gold, 5) for gold in builds}
    assert built[DAILY_SALES] == {DAY, DAY + timedelta(8)}
    in_steps = {table: rows_of(lake, table) for table in built}
    for gold in builds:
        build_gold_table(spark, lake, gold, 5, only=fortnight)
    assert {table: rows_of(lake, table) for table in built} == in_steps


def test_the_producer_is_idempotent_and_waits_for_all_replicas(
    broker: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One broker alone cannot show it: acks=1 loses records where a leader dies before its followers have them."""
    import kafka

    made: list[dict[str, Any]] = []

    class Producer(kafka.KafkaProducer):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self.config)

    topic = f"guarantee-{uuid.uuid4().hex[:8]}"
    make_topic(broker, topic)
    monkeypatch.setattr(kafka, "KafkaProducer", Producer)
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", topic)
    producer = runpy.run_path(str(PROJECT_ROOT / "kafka" / "producer.py"))
    assert producer["main"](["--events", "10", "--from", "2026-03-01", "--to", "2026-03-01", "--seed", "1"]) == 0
    assert [(config["acks"], config["enable_idempotence"]) for config in made] == [(-1, True)]
    assert made[0]["max_in_flight_requests_per_connection"] <= 5, "more would break the order of what is sent again"
