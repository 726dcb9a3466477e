"""Visits and funnels against plain Python, also where they are built day by day from what a day needs and no more."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from lake_oracle import as_text, assert_same

from shoplake.batch import sessions
from shoplake.batch.conversion_funnel import build_conversion_funnel
from shoplake.batch.sessions import build_sessions
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CONVERSION_FUNNEL, SESSIONS, SILVER_EVENTS, Table
from shoplake.simulation.records import Kind, SimulatedRecord, shop_date
from shoplake.simulation.true_visits import find_visits, tabulate_funnel, tabulate_sessions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LONDON = ZoneInfo("Europe/London")
VIEW, CART, REMOVE, ORDER, CANCEL = (
    "product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled")
EVE = datetime(2026, 3, 28, 23, 50, tzinfo=UTC)  # ten minutes later a day of 23 hours begins


def event(number: int, moment: datetime, user: str, session: str | None = None, kind: str = VIEW, **other: Any,
          ) -> SimulatedRecord:
    fields = {
        "event_time": moment, "user_id": user, "session_id": session, "event_type": kind, "product_id": "p",
        "category": "c", "brand": None, "price": Decimal("1.5000"), "quantity": 1, "order_id": None, "is_guest": False,
        **other}
    return SimulatedRecord(b"", b"", 0, Kind.NORMAL, fields, f"e{number:05d}", shop_date(moment, LONDON))


def silver(spark: "SparkSession", records: Sequence[SimulatedRecord]) -> "DataFrame":
    nothing = dict.fromkeys(SILVER_EVENTS.column_names)
    rows = [{**nothing, **record.event, "event_id": record.event_id, "event_date": record.event_date}
            for record in records]
    return spark.createDataFrame(rows, spark_schema(SILVER_EVENTS))


def rows_of(frame: "DataFrame", table: Table) -> Counter[tuple[Any, ...]]:
    selected = frame.select(*table.column_names)
    assert selected.schema.simpleString() == spark_schema(table).simpleString()
    return Counter(tuple(as_text(row[name]) for name in table.column_names) for row in selected.toArrow().to_pylist())


def right(rows: list[list[Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(map(tuple, rows))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_a_pause_ends_a_visit_without_a_name_and_midnight_does_not(spark: "SparkSession") -> None:
    records = [
        event(1, EVE, "a"), event(2, EVE + minutes(29.999), "a"),  # past midnight, and one visit
        event(3, EVE + minutes(59.999), "a"),  # half an hour later to the microsecond: another
        event(4, EVE, "b", "s"), event(5, EVE + minutes(90), "b", "s", CART),  # a name holds it together
        event(6, EVE + minutes(3 * 1440), "b", "s"),  # a day without it: the name is used again
        event(7, EVE + minutes(1), "c", "s"), event(8, EVE + minutes(2), "c"),  # another user; and one without a name
        event(9, EVE + minutes(5), "c", "s", CANCEL),
    ]
    found = build_sessions(silver(spark, records)).select("session_date", "session_key", "event_count").collect()
    assert sorted((str(day), key, count) for day, key, count in found) == [
        ("2026-03-28", "e00001", 2), ("2026-03-28", "e00004", 2), ("2026-03-28", "e00007", 1),
        ("2026-03-28", "e00008", 1), ("2026-03-29", "e00003", 1), ("2026-04-01", "e00006", 1)]


def draw_records(seed: int) -> list[SimulatedRecord]:
    """Give visitors of all sorts over ten days: with names and without, short, tireless, quick and even."""
    draw = random.Random(seed)
    records = []
    for user in range(80):
        moment = EVE - timedelta(days=3) + timedelta(seconds=draw.randrange(7 * 86_400))
        pause = draw.choice((2, 60, 1700, 1799, 1800, 4000, 30_000))
        jitter = draw.choice((0, 0.1, 1))
        session = draw.choice((None, None, "s", "t"))
        for _ in range(draw.choice((1, 5, 30, 330))):
            weights = (20, draw.choice((0, 2)), 1, draw.choice((0, 1)), 1)
            (kind,) = draw.choices((VIEW, CART, REMOVE, ORDER, CANCEL), weights)
            records.append(event(
                len(records), moment, f"u{user}", session, kind, category=draw.choice("cd"),
                brand=draw.choice((None, "x")), product_id=draw.choice("pqr"), quantity=draw.randrange(1, 4),
                price=Decimal(draw.randrange(100_000)) / 10_000, order_id=draw.choice((None, "o", "q")),
                is_guest=draw.random() < 0.9))
            moment += timedelta(seconds=round(pause * (1 + jitter * (draw.random() - 0.5)), 6))
    return records


def test_visits_and_funnels_are_those_of_plain_python_whole_and_day_by_day(spark: "SparkSession") -> None:
    records = draw_records(1)
    visits = list(find_visits(records))
    assert {visit.is_bot for visit in visits} == {False, True}
    assert any(visit.records[0].event_date < visit.records[-1].event_date for visit in visits)
    whole = silver(spark, records).cache()
    assert_same("gold.sessions", rows_of(build_sessions(whole), SESSIONS), right(tabulate_sessions(visits)))
    assert_same("gold.conversion_funnel", rows_of(build_conversion_funnel(whole), CONVERSION_FUNNEL),
                right(tabulate_funnel(visits)))
    for day in sorted({record.event_date for record in records})[::3]:
        needed = sessions.days_to_read([day])
        read = whole.filter(whole["event_date"].isin(*needed))
        for table, build, oracle, name in (
            (SESSIONS, build_sessions, tabulate_sessions, "session_date"),
            (CONVERSION_FUNNEL, build_conversion_funnel, tabulate_funnel, "event_date"),
        ):
            some = build(read).filter(f"{name} = DATE'{day}'")
            assert_same(f"{table.name} of {day}", rows_of(some, table), right(
                [row for row in oracle(visits) if row[0] == day.isoformat()]))


def test_a_change_of_a_day_is_seen_by_no_visit_outside_the_days_that_are_built_again(spark: "SparkSession") -> None:
    records = draw_records(3)
    changed = sorted({record.event_date for record in records})[4]
    before, after = (
        right(tabulate_sessions(list(find_visits(some)))) for some in (
            [record for record in records if record.event_date != changed], records))
    touched = {date.fromisoformat(row[0]) for row in (before - after) + (after - before)}
    assert changed in touched
    assert touched <= sessions.days_to_build([changed])
