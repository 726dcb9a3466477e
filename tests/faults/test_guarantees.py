"""Guarantees that a run's end result cannot show: the order of commits, what is asked of the broker, gold in steps."""

import json
import runpy
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lake_oracle import SALES, check_balanced, check_nothing_doubled, rows_of
from shells_on_lake import make_topic

from shoplake.batch.build import GOLD_BUILDS, build_gold_table
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE,
    CATEGORY_REVENUE_1H,
    DAILY_SALES,
    INGEST_TABLES,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.delta import create_tables
from shoplake.lake.ledger import find_ledger_row
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.streaming import ingest
from shoplake.streaming.ingest import Batch, ingest_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAY = date(2026, 3, 2)


def make_event(event_id: str, day: date = DAY, **fields: Any) -> bytes:
    return json.dumps({
        "event_time": f"{day}T12:00:00Z", "user_id": "u", "product_id": "p", "category": "c", "price": "1.25",
        "quantity": 2, "event_type": "order_created", "event_id": event_id, **fields,
    }).encode()


def make_records(spark: "SparkSession", first: int, values: list[bytes]) -> "DataFrame":
    """Give records with offsets from `first` on, sent at noon of 2026-06-30."""
    from pyspark.sql import functions as F

    rows = [(0, first + number, None, value, None) for number, value in enumerate(values)]
    columns = "partition int, offset bigint, key binary, value binary, headers array<struct<key:string,value:binary>>"
    return spark.createDataFrame(rows, columns).withColumn("timestamp", F.lit("2026-06-30 12:00:00").cast("timestamp"))


def make_lake(folder: Path) -> Lake:
    lake = Lake(str(folder))
    create_tables(lake, INGEST_TABLES, load_settings("local").shop)
    return lake


class Crash(Exception):
    """The process would die here."""


# By offset. The event at half past eleven of a summer's night is the shop's next day.
FIRST = [
    make_event("late", date(2026, 6, 29), event_time="2026-06-29T23:30:00Z"),
    make_event("late", event_time="2026-06-29T23:30:00Z"),  # a copy
    make_event("late", event_time="2026-06-29T23:30:00Z", price="9"),  # another content
    make_event("a", date(2026, 6, 30), price="0.0001"),
    b"{broken",
    make_event("b", date(2026, 6, 30), event_type="order_cancelled", quantity=1),
]
SECOND = [
    make_event("a", date(2026, 6, 30), price="0.0001"),  # a copy of the first batch's
    make_event("c", date(2026, 6, 30), quantity=1),
    make_event("c", date(2026, 6, 30), quantity=1, price="1.250"),  # a copy, written otherwise
]
JUNE_30 = date(2026, 6, 30)
SILVER = {(0, JUNE_30, True), (3, JUNE_30, False), (5, JUNE_30, False), (7, JUNE_30, False)}
DUPLICATES, QUARANTINE = {(1, 0), (6, 3), (8, 7)}, {(2, ("conflicting_duplicate",), 0), (4, ("json_valid",), None)}
# window_start, order_count, units, gross, cancelled units, cancelled, net
HOURS = {("2026-06-29T23:00:00.000000Z", 1, 2, "2.5000", 0, "0.0000", "2.5000"),
         ("2026-06-30T12:00:00.000000Z", 2, 3, "1.2502", 1, "1.2500", "0.0002")}


@pytest.mark.faults  # a minute or more
def test_two_batches_by_hand_of_which_one_breaks_off_before_its_ledger_row(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, written = make_lake(tmp_path / "lake"), []
    settings, dies = load_settings("local"), False

    def watch(write: Callable[..., None]) -> Callable[..., None]:
        def watched(*args: Any, **kwargs: Any) -> None:
            table = next(value for value in (*args, *kwargs.values()) if isinstance(value, Table))
            if dies and table is LEDGER:
                raise Crash
            write(*args, **kwargs)
            written.append(table)

        return watched

    for name in [name for name in vars(ingest) if name.startswith(("append_", "replace_"))]:
        monkeypatch.setattr(ingest, name, watch(getattr(ingest, name)))
    first = Batch("query", 0, "topic-id", "events")
    ingest_batch(make_records(spark, 0, FIRST), first, lake, settings)
    assert (written[0], written[-1]) == (BRONZE_EVENTS, LEDGER)
    assert written.count(LEDGER) == 1
    second, records = Batch("query", 1, "topic-id", "events"), make_records(spark, len(FIRST), SECOND)
    dies = True
    with pytest.raises(Crash):
        ingest_batch(records, second, lake, settings)
    assert find_ledger_row(lake, "query", 1) is None
    dies = False
    ledger = ingest_batch(records, second, lake, settings)

    check_nothing_doubled(lake)
    assert set(values_of(lake, SILVER_EVENTS, "offset", "event_date", "is_late")) == SILVER
    assert set(values_of(lake, SILVER_DUPLICATES, "offset", "kept_offset")) == DUPLICATES
    quarantine = values_of(lake, SILVER_QUARANTINE, "offset", "reasons", "kept_offset")
    assert {(offset, tuple(reasons), kept) for offset, reasons, kept in quarantine} == QUARANTINE
    hours = rows_of(lake, CATEGORY_REVENUE_1H, ("window_start", *SALES))
    assert hours == Counter(HOURS)
    assert (ledger["silver_count"], ledger["duplicate_count"], ledger["quarantine_count"]) == (1, 2, 0)
    check_balanced(lake)


def values_of(lake: Lake, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in read_table(lake, table, list(columns)).to_pylist()]


@pytest.mark.faults  # a minute or more
def test_gold_built_in_steps_is_gold_built_at_once(spark: "SparkSession", tmp_path: Path) -> None:
    """A late event restates its day, and the day a week later that grows from it; other days are left alone."""
    builds = [gold for gold in GOLD_BUILDS if gold.table in (DAILY_SALES, CATEGORY_REVENUE)]
    settings, lake = load_settings("local"), make_lake(tmp_path / "lake")
    create_tables(lake, [gold.table for gold in builds], settings.shop)
    fortnight = [DAY + timedelta(days) for days in range(14)]
    orders = [make_event(f"order {day}", day) for day in fortnight]
    cancelled = [make_event(f"cancelled {day}", day, event_type="order_cancelled") for day in fortnight[:9:8]]
    batches = [make_records(spark, 0, orders), make_records(spark, len(orders), cancelled)]
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
