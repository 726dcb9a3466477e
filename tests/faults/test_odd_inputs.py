"""Inputs that no shop should send, but some does: again, at once, shuffled, far too late, from the future."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lake_oracle import (
    COLUMNS,
    Oracle,
    assert_same,
    check_acknowledged,
    check_balanced,
    read_acks,
    rows_of,
)

from shoplake.contract import tables
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.lake.reconcile import reconcile
from shoplake.settings import load_settings
from shoplake.simulation import SimulatedRecord, Truth, simulate_history

pytestmark = pytest.mark.faults
STREAM, BATCH = "spark/streaming_pipeline.py", "spark/batch_processing.py"
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 20)
DAYS = ("--from", FIRST.isoformat(), "--to", LAST.isoformat())
EVENTS = 2000
WINDOWS = (tables.PRODUCT_REVENUE_5MIN, tables.CATEGORY_REVENUE_1H)


@pytest.fixture(autouse=True)
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plant much of everything; give the function that changes a share."""
    def set_shares(**shares: float) -> None:
        for name, share in shares.items():
            monkeypatch.setenv(f"SHOPLAKE_SIMULATION__{name.upper()}_SHARE", str(share))

    set_shares(duplicate=0.05, conflict_same_time=0.005, conflict_other_date=0.005, corrupt=0.01, late=0.02,
               future=0.003)
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_OFFSETS_PER_TRIGGER", "1500")
    return set_shares


def produce(shells: Any, seed: int, folder: Path) -> tuple[dict[str, Any], Counter[tuple[int, int, str]]]:
    truth, acks = folder / f"{seed}.json", folder / f"{seed}.csv"
    shells.ok("kafka/producer.py", "--events", str(EVENTS), *DAYS, "--seed", str(seed), "--truth", str(truth),
              "--acks", str(acks))
    return json.loads(truth.read_text()), read_acks(acks)


def test_the_same_input_three_times_is_there_once(shells: Any, draw: random.Random, tmp_path: Path) -> None:
    seed, acks = draw.randrange(2**32), Counter[tuple[int, int, str]]()
    for _ in range(3):
        truth, told = produce(shells, seed, tmp_path)
        acks += told
        shells.ok(STREAM, "--drain")
        shells.ok(BATCH)
    again = [row[:2] for row in truth["silver.events"]] + truth["silver.duplicates"]
    thrice = {**truth, "silver.duplicates": truth["silver.duplicates"] + 2 * again,
              **{name: 3 * truth[name] for name in ("bronze.events", "silver.quarantine")},
              "rows": {**truth["rows"], "bronze.events": 3 * EVENTS}}
    assert acks.total() == 3 * EVENTS
    Oracle(thrice, acks).check(shells.lake)


def test_two_producers_at_once(make_pipeline: Callable[..., Any], draw: random.Random, tmp_path: Path) -> None:
    """Two processes send at the same moment; each one's events are all there, in the windows too."""
    one = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="1500")
    other = replace(one, folder=tmp_path, acks=Counter())
    sendings = [pipeline.start_producing(EVENTS, seed, "--delay", "0.001")
                for pipeline, seed in zip((one, other), draw.sample(range(2**32), 2), strict=True)]
    for pipeline, sending in zip((one, other), sendings, strict=True):
        assert sending.wait(120) == 0, pipeline.tail()
        pipeline.end_producing()
    one.here(STREAM, "--drain")
    check_balanced(one.lake)
    check_acknowledged(one.lake, one.acks + other.acks)
    for table in (tables.SILVER_EVENTS, tables.SILVER_DUPLICATES):
        assert_same(table.name, rows_of(one.lake, table, COLUMNS[table]),
                    Counter(map(tuple, one.truth[table.name] + other.truth[table.name])))
    for table in WINDOWS:
        assert_same(table.name, rows_of(one.lake, table, COLUMNS[table]),
                    add_up(one.truth[table.name] + other.truth[table.name]))


def add_up(rows: Iterable[Sequence[Any]]) -> Counter[tuple[Any, ...]]:
    """Add window rows of the same window and group."""
    sums: dict[tuple[str, str], list[Any]] = {}
    for start, group, *measures in rows:
        known = sums.setdefault((start, group), [0, 0, Decimal(0), 0, Decimal(0), Decimal(0)])
        sums[start, group] = [old + (Decimal(new) if isinstance(new, str) else new)
                              for old, new in zip(known, measures, strict=True)]
    return Counter((*key, *(f"{value:.4f}" if isinstance(value, Decimal) else value for value in measures))
                   for key, measures in sums.items())


def test_shuffled_records_give_the_same_events_and_sales(
    shells: Any, plant: Callable[..., None], draw: random.Random,
) -> None:
    """Which copy comes first decides what it is late by, and which of two conflicting ones is kept: neither is here."""
    plant(conflict_same_time=0, conflict_other_date=0)
    settings = load_settings("local")
    records = list(simulate_history(FIRST, LAST, EVENTS, draw.randrange(2**32), settings))
    truth = Truth({})
    for record in records:
        truth.add(record)
    draw.shuffle(records)
    send(shells, records)
    shells.ok(STREAM, "--drain")
    shells.ok(BATCH)
    document = truth.document()
    check_balanced(shells.lake)
    kept = [name for name in COLUMNS[tables.SILVER_EVENTS] if name != "is_late"]
    place = COLUMNS[tables.SILVER_EVENTS].index("is_late")
    assert_same("silver.events", rows_of(shells.lake, tables.SILVER_EVENTS, kept),
                Counter((*row[:place], *row[place + 1:]) for row in document["silver.events"]))
    for table in (tables.SILVER_DUPLICATES, tables.DAILY_SALES, tables.CATEGORY_REVENUE, tables.CUSTOMER_DAILY_SALES,
                  *WINDOWS):
        assert_same(table.name, rows_of(shells.lake, table, COLUMNS[table]), Counter(map(tuple, document[table.name])))


def send(shells: Any, records: Iterable[SimulatedRecord]) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=load_settings("local").bootstrap_servers, acks="all")
    sent = [producer.send(shells.topic, record.value, record.key, timestamp_ms=record.timestamp_ms)
            for record in records]
    producer.flush()
    for one in sent:
        one.get(30)
    producer.close()


def an_order(event_id: str, event_time: str, sent: str, price: str = "10.00") -> tuple[bytes, int]:
    event = {"event_id": event_id, "event_time": event_time, "user_id": "u", "product_id": "p", "category": "c",
             "price": price, "quantity": 1, "event_type": "order_created", "schema_version": 2}
    return json.dumps(event).encode(), int(datetime.fromisoformat(sent).replace(tzinfo=UTC).timestamp() * 1000)


def send_orders(shells: Any, orders: Iterable[tuple[bytes, int]]) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=load_settings("local").bootstrap_servers, acks="all")
    for value, timestamp_ms in orders:
        producer.send(shells.topic, value, b"u", timestamp_ms=timestamp_ms).get(30)
    producer.close()


def test_events_out_of_their_time_change_their_own_days_and_no_others(shells: Any) -> None:
    """Worked out by hand: late beyond any window, 150 days late, from 2099, and one event_id on two dates."""
    send_orders(shells, [an_order("a", "2026-03-10T10:00:00Z", "2026-03-10T10:00:01"),
                         an_order("b", "2026-03-11T10:00:00Z", "2026-03-11T10:00:01")])
    shells.ok(STREAM, "--drain")
    shells.ok(BATCH)
    send_orders(shells, [
        an_order("late", "2026-03-10T10:01:00Z", "2026-03-12T09:00:00", "0.01"),  # two days after its window closed
        an_order("old", "2025-10-13T08:00:00Z", "2026-03-12T09:00:01", "3.00"),  # 150 days
        an_order("future", "2099-01-01T00:00:00Z", "2026-03-12T09:00:02"),
        an_order("a", "2026-03-12T09:00:00Z", "2026-03-12T09:00:03", "5.00"),  # a's id, on another date: another event
        an_order("a", "2026-03-12T09:00:00Z", "2026-03-12T09:00:04", "5.00"),  # and its copy
        an_order("a", "2026-03-10T10:00:00Z", "2026-03-12T09:00:05", "99.00"),  # conflicts with the first a
    ])
    shells.ok(STREAM, "--drain")
    shells.ok(BATCH)
    assert shells.rows(tables.DAILY_SALES, ("event_date", "order_count", "gross_amount")) == Counter([
        ("2025-10-13", 1, "3.0000"), ("2026-03-10", 2, "10.0100"), ("2026-03-11", 1, "10.0000"),
        ("2026-03-12", 1, "5.0000")])
    assert shells.rows(tables.CATEGORY_REVENUE_1H, ("window_start", "gross_amount")) == Counter([
        ("2025-10-13T08:00:00.000000Z", "3.0000"), ("2026-03-10T10:00:00.000000Z", "10.0100"),
        ("2026-03-11T10:00:00.000000Z", "10.0000"), ("2026-03-12T09:00:00.000000Z", "5.0000")])
    assert shells.rows(tables.SILVER_EVENTS, ("event_date", "event_id", "is_late")) == Counter([
        ("2025-10-13", "old", True), ("2026-03-10", "a", False), ("2026-03-10", "late", True),
        ("2026-03-11", "b", False), ("2026-03-12", "a", False)])
    assert shells.rows(tables.SILVER_QUARANTINE, ("reasons",)) == Counter([
        (("event_time_not_future",),), (("conflicting_duplicate",),)])
    assert shells.rows(tables.SILVER_DUPLICATES, ("event_id",)) == Counter([("a",)])
    with hold_lock(shells.lake, INGEST, 0):
        found = reconcile(shells.lake)
    assert (found.is_balanced, found.reused_event_ids) == (True, 1)


def test_a_record_dated_2099_is_refused_by_the_broker(shells: Any) -> None:
    from kafka.errors import InvalidTimestampError

    with pytest.raises(InvalidTimestampError):
        send_orders(shells, [an_order("x", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00")])
