"""A batch that broke off anywhere and is run again under its id ends like one that never broke."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from table_rows import read_rows

from shoplake.batch import build
from shoplake.batch.build import GOLD_BUILDS, build_gold_table
from shoplake.contract.tables import DAILY_SALES, INGEST_TABLES, LEDGER, SILVER_ERASED, Table
from shoplake.errors import LockError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.delta import create_tables
from shoplake.settings import load_settings
from shoplake.streaming import ingest
from shoplake.streaming.ingest import Batch, ingest_batch

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
    return read_rows(lake, INGEST_TABLES)


class Crash(Exception):
    """The process would die here."""


def wrap_writes(patched: pytest.MonkeyPatch, module: Any, pass_by: Callable[[str], None]) -> None:
    """Call `pass_by` with <table>:before and <table>:after at each write of the module."""
    def wrap(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            table = next(value for value in (*args, *kwargs.values()) if isinstance(value, Table))
            pass_by(f"{table.name}:before")
            result = write(*args, **kwargs)
            pass_by(f"{table.name}:after")
            return result

        return wrapped

    for name in [name for name in vars(module) if name.startswith(("append_", "replace_"))]:
        patched.setattr(module, name, wrap(getattr(module, name)))


@dataclass(frozen=True)
class Undisturbed:
    """A lake after the first batch, what the second one then gives, and the writes that it makes."""

    first: Lake
    rows: dict[str, list[str]]
    points: list[str]


@pytest.fixture(scope="module")
def undisturbed(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder, settings = tmp_path_factory.mktemp("undisturbed"), load_settings("local")
    lake, points = Lake(str(folder / "lake")), list[str]()
    create_tables(lake, INGEST_TABLES, settings.shop)
    (first, records), (second, more) = two_batches(spark)
    ingest_batch(records, first, lake, settings)
    kept = copy_lake(lake, folder / "first")
    with pytest.MonkeyPatch.context() as patched:
        wrap_writes(patched, ingest, points.append)
        ingest_batch(more, second, lake, settings)
    return Undisturbed(kept, lake_rows(lake), points)


def copy_lake(lake: Lake, to: Path) -> Lake:
    shutil.copytree(lake.root, to)
    return Lake(str(to))


def crash_at(point: str) -> Callable[[str], None]:
    def pass_by(passed: str) -> None:
        if passed == point:
            raise Crash(point)

    return pass_by


def test_a_batch_run_again_after_a_crash_at_any_write_ends_the_same(
    spark: "SparkSession", undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each try finds what the one before has left: everything up to one more write."""
    lake, settings = copy_lake(undisturbed.first, tmp_path / "lake"), load_settings("local")
    batch, records = two_batches(spark)[1]
    # Nobody is erased here, so there is no tombstone to write.
    assert {point.split(":")[0] for point in undisturbed.points} == {
        table.name for table in INGEST_TABLES if table is not SILVER_ERASED}
    assert undisturbed.points[-1] == f"{LEDGER.name}:after"
    # After one write is before the next.
    for point in [*(point for point in undisturbed.points if point.endswith(":before")), undisturbed.points[-1]]:
        with monkeypatch.context() as patched:
            wrap_writes(patched, ingest, crash_at(point))
            with pytest.raises(Crash, match=point):
                ingest_batch(records, batch, lake, settings)
    ingest_batch(records, batch, lake, settings)
    assert lake_rows(lake) == undisturbed.rows


def test_a_batch_that_loses_its_lock_commits_nothing_more_and_ends_the_same_when_repeated(
    spark: "SparkSession", undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = copy_lake(undisturbed.first, tmp_path / "lake"), load_settings("local")
    commits: list[str] = []
    write = ingest.append_once

    class LostAfterBronze:
        def check(self) -> None:
            if commits:
                raise LockError("it was lost")

        def announce_ready(self) -> None:
            raise NotImplementedError

    def note(rows: "DataFrame", lake: Lake, table: Table, *rest: Any) -> None:
        write(rows, lake, table, *rest)
        commits.append(table.name)

    batch, records = two_batches(spark)[1]
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "hold_lock", lambda *_: nullcontext(LostAfterBronze()))
        patched.setattr(ingest, "append_once", note)
        with pytest.raises(LockError):
            ingest_batch(records, batch, lake, settings)
    assert commits == ["bronze.events"]
    ingest_batch(records, batch, lake, settings)
    assert lake_rows(lake) == undisturbed.rows


class LostLock:
    def check(self) -> None:
        raise LockError("it was lost")


def test_a_day_built_again_is_the_same_day(
    spark: "SparkSession", undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = copy_lake(undisturbed.first, tmp_path / "lake"), load_settings("local")
    create_tables(lake, [gold.table for gold in GOLD_BUILDS], settings.shop)
    second, more = two_batches(spark)[1]
    built = {gold.table.name: build_gold_table(spark, lake, gold, 5) for gold in GOLD_BUILDS}
    assert {name: len(days) for name, days in built.items()} == {gold.table.name: 5 for gold in GOLD_BUILDS}
    assert all(build_gold_table(spark, lake, gold, 5) == set() for gold in GOLD_BUILDS), "nothing changed"
    row = ingest_batch(more, second, lake, settings)
    with monkeypatch.context() as patched:
        patched.setattr(build, "hold_lock", lambda *_: nullcontext(LostLock()))
        with pytest.raises(LockError):  # and what it would have written is still to be built
            build_gold_table(spark, lake, GOLD_BUILDS[0], 5)
    for gold in GOLD_BUILDS:
        die_at_write(monkeypatch, "before", lambda gold=gold: build_gold_table(spark, lake, gold, 5))
    every = built[DAILY_SALES.name]
    assert 0 < len(row["event_dates"]) < len(every)
    for gold in GOLD_BUILDS:
        touched = gold.days_to_build(row["event_dates"]) & every
        assert build_gold_table(spark, lake, gold, 5) == touched, "only what the second batch touched is built again"
    before = {gold.table: gold_rows(lake, gold.table) for gold in GOLD_BUILDS}
    for gold in GOLD_BUILDS:
        again = built[gold.table.name]
        die_at_write(monkeypatch, "after", lambda gold=gold, again=again: build_gold_table(spark, lake, gold, 5, again))
    assert {gold.table: gold_rows(lake, gold.table) for gold in GOLD_BUILDS} == before


def die_at_write(monkeypatch: pytest.MonkeyPatch, moment: str, build_it: Callable[[], Any]) -> None:
    def pass_by(point: str) -> None:
        if point.endswith(moment):
            raise Crash(point)

    with monkeypatch.context() as patched:
        wrap_writes(patched, build, pass_by)
        with pytest.raises(Crash):
            build_it()


def gold_rows(lake: Lake, table: Table) -> list[str]:
    return sorted(map(repr, read_table(lake, table).to_pylist()))

