"""A batch that broke off anywhere and is run again under its id ends like one that never broke."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.batch import build
from shoplake.batch.build import GOLD_BUILDS, build_gold_table
from shoplake.contract.tables import LEDGER, SILVER_DUPLICATES, SILVER_EVENTS, Table
from shoplake.errors import LockError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.delta import create_tables
from shoplake.settings import load_settings
from shoplake.streaming import ingest
from shoplake.streaming.ingest import INGEST_TABLES, Batch, ingest_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH = Batch("query", 0, "topic-id", "events")
NEXT = Batch("query", 1, "topic-id", "events")


def make_value(number: int, **changes: Any) -> bytes:
    event = {
        "event_time": f"2026-03-{1 + number % 5:02d}T23:5{number % 10}:00Z",
        "user_id": f"u{number}", "product_id": f"p{number % 3}", "category": f"c{number % 2}", "price": "19.99",
        "quantity": 2, "event_type": "order_created", "event_id": f"e{number}", "schema_version": 2, **changes,
    }
    return json.dumps(event).encode()


def make_records(spark: "SparkSession", values: list[bytes], first_offset: int) -> "DataFrame":
    from pyspark.sql import functions as F

    rows = [(0, first_offset + number, b"key", value, None) for number, value in enumerate(values)]
    columns = "partition int, offset bigint, key binary, value binary, headers array<struct<key:string,value:binary>>"
    return spark.createDataFrame(rows, columns).withColumn("timestamp", F.lit("2026-03-20 12:00:00").cast("timestamp"))


def two_batches(spark: "SparkSession") -> list[tuple[Batch, "DataFrame"]]:
    """The first batch holds a duplicate, a conflict and a broken record; the second copies of the first's events."""
    first = [*(make_value(number) for number in range(20)), make_value(3), make_value(4, quantity=9), b"{broken"]
    second = [make_value(5), make_value(6, price="1"), make_value(99),
              make_value(0, event_type="order_cancelled", event_id="x")]
    return [(BATCH, make_records(spark, first, 0)), (NEXT, make_records(spark, second, len(first)))]


def lake_rows(lake: Lake) -> dict[str, list[str]]:
    return {table.name: sorted(map(repr, read_table(lake, table).to_pylist())) for table in INGEST_TABLES}


@pytest.fixture(scope="module")
def undisturbed(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    lake = Lake(str(tmp_path_factory.mktemp("undisturbed")))
    settings = load_settings("local")
    create_tables(lake, INGEST_TABLES, settings.shop)
    for batch, records in two_batches(spark):
        ingest_batch(records, batch, lake, settings)
    return lake_rows(lake)


class Crash(Exception):
    """The process would die here."""


@pytest.mark.parametrize("crash_before", [SILVER_EVENTS, SILVER_DUPLICATES, LEDGER], ids=lambda table: table.name)
def test_a_batch_run_again_after_a_crash_ends_the_same(
    crash_before: Table, spark: "SparkSession", undisturbed: dict[str, list[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = Lake(str(tmp_path / "lake")), load_settings("local")
    create_tables(lake, INGEST_TABLES, settings.shop)
    write = ingest.append_once

    def crash(rows: "DataFrame", lake: Lake, table: Table, query_id: str, batch_id: int) -> None:
        if table is crash_before:
            raise Crash
        write(rows, lake, table, query_id, batch_id)

    for batch, records in two_batches(spark):
        with monkeypatch.context() as patched:
            patched.setattr(ingest, "append_once", crash)
            with pytest.raises(Crash):
                ingest_batch(records, batch, lake, settings)
        ingest_batch(records, batch, lake, settings)
    assert lake_rows(lake) == undisturbed


def test_a_batch_that_loses_its_lock_commits_nothing_more_and_ends_the_same_when_repeated(
    spark: "SparkSession", undisturbed: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = Lake(str(tmp_path / "lake")), load_settings("local")
    create_tables(lake, INGEST_TABLES, settings.shop)
    commits: list[str] = []
    write = ingest.append_once

    class LostAfterBronze:
        def check(self) -> None:
            if commits:
                raise LockError("it was lost")

        def announce_ready(self) -> None:
            raise NotImplementedError

    def note(rows: "DataFrame", lake: Lake, table: Table, query_id: str, batch_id: int) -> None:
        write(rows, lake, table, query_id, batch_id)
        commits.append(table.name)

    (first, records), (second, more) = two_batches(spark)
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "hold_lock", lambda *_: nullcontext(LostAfterBronze()))
        patched.setattr(ingest, "append_once", note)
        with pytest.raises(LockError):
            ingest_batch(records, first, lake, settings)
    assert commits == ["bronze.events"]
    ingest_batch(records, first, lake, settings)
    ingest_batch(more, second, lake, settings)
    assert lake_rows(lake) == undisturbed


class LostLock:
    def check(self) -> None:
        raise LockError("it was lost")


def test_a_day_built_again_is_the_same_day(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = Lake(str(tmp_path / "lake")), load_settings("local")
    create_tables(lake, [*INGEST_TABLES, *(gold.table for gold in GOLD_BUILDS)], settings.shop)
    (first, records), (second, more) = two_batches(spark)
    ingest_batch(records, first, lake, settings)
    built = {gold.table.name: build_gold_table(spark, lake, gold, 5) for gold in GOLD_BUILDS}
    assert {name: len(days) for name, days in built.items()} == {gold.table.name: 5 for gold in GOLD_BUILDS}
    assert all(build_gold_table(spark, lake, gold, 5) == set() for gold in GOLD_BUILDS), "nothing changed"
    ingest_batch(more, second, lake, settings)
    with monkeypatch.context() as patched:
        patched.setattr(build, "hold_lock", lambda *_: nullcontext(LostLock()))
        with pytest.raises(LockError):  # and what it would have written is still to be built
            build_gold_table(spark, lake, GOLD_BUILDS[0], 5)
    changed = {gold.table.name: build_gold_table(spark, lake, gold, 5) for gold in GOLD_BUILDS}
    assert all(0 < len(days) < 5 for days in changed.values()), "only the days of the second batch are built again"
    before = {gold.table: gold_rows(lake, gold.table) for gold in GOLD_BUILDS}
    for gold in GOLD_BUILDS:
        build_gold_table(spark, lake, gold, 5, only=built[gold.table.name])
    assert {gold.table: gold_rows(lake, gold.table) for gold in GOLD_BUILDS} == before


def gold_rows(lake: Lake, table: Table) -> list[str]:
    return sorted(map(repr, read_table(lake, table).to_pylist()))
