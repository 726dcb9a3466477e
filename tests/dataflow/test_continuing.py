"""What goes on after something changed between two runs: nothing doubles, nothing is left out, or it stops loudly."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.contract.tables import BRONZE_EVENTS, INGEST_TABLES, SILVER_EVENTS, Table
from shoplake.errors import ConfigError, ContractError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.delta import create_tables
from shoplake.lake.files import keep_file
from shoplake.settings import Settings, load_settings
from shoplake.sources import SourceRecord
from shoplake.streaming import ingest
from shoplake.streaming.files import ingest_file
from shoplake.streaming.ingest import Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENT = ('{{"event_time":"2026-03-01T10:00:00Z","user_id":"u","product_id":"p","category":"c","price":"1","quantity":1,'
         '"event_type":"order_created","event_id":"e{number}"}}')


def file_records(count: int) -> Iterator[SourceRecord]:
    for number in range(count):
        yield SourceRecord(number, b"u", EVENT.format(number=number).encode(), 1_772_359_200_000)


def settings_with_chunks(rows: int, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SHOPLAKE_SPARK__FILE_CHUNK_ROWS", str(rows))
    return load_settings("local")


def offsets(lake: Lake, table: Table) -> list[int]:
    return sorted(read_table(lake, table, ["offset"])["offset"].to_pylist())


class Crash(Exception):
    """The process would die here."""


def test_a_file_goes_on_where_it_broke_off_whatever_the_chunk_size(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    settings = settings_with_chunks(4, monkeypatch)
    create_tables(lake, INGEST_TABLES, settings.shop)
    chunks = ingest_file(spark, file_records(14), "events", "sha", lake, settings)
    assert next(chunks)["bronze_count"] == 4
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "append_row_once", crash)
        with pytest.raises(Crash):
            next(chunks)

    larger = settings_with_chunks(5, monkeypatch)
    rows = list(ingest_file(spark, file_records(14), "events", "sha", lake, larger))
    # the broken-off chunk of 4 is repeated as it was, then the new size holds
    assert [(row["batch_id"], row["bronze_count"]) for row in rows] == [(1, 4), (2, 5), (3, 1)]
    assert offsets(lake, BRONZE_EVENTS) == offsets(lake, SILVER_EVENTS) == list(range(14))
    assert list(ingest_file(spark, file_records(14), "events", "sha", lake, settings)) == []


def crash(*_: Any) -> None:
    raise Crash


@pytest.mark.parametrize("start", [2, 9], ids=["again", "gap"])
def test_a_batch_that_does_not_go_on_where_the_ledger_ends_is_refused(
    start: int, spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, settings = Lake(str(tmp_path / "lake")), settings_with_chunks(5, monkeypatch)
    create_tables(lake, INGEST_TABLES, settings.shop)
    list(ingest_file(spark, file_records(5), "events", "sha", lake, settings))
    with pytest.raises(ContractError, match="the ledger ends at 5"):
        ingest.ingest_batch(records_from(spark, start), Batch("other", 0, "sha", "events"), lake, settings)
    assert offsets(lake, BRONZE_EVENTS) == list(range(5))


def records_from(spark: "SparkSession", start: int) -> "DataFrame":
    from pyspark.sql import functions as F

    columns = "partition int, offset bigint, key binary, value binary, headers array<struct<key:string,value:binary>>"
    row = (0, start, b"u", EVENT.format(number=start).encode(), None)
    return spark.createDataFrame([row], columns).withColumn("timestamp", F.lit("2026-03-01 12:00:00").cast("timestamp"))


@pytest.mark.parametrize(("variable", "value"), [("TIME_ZONE", "America/New_York"), ("CURRENCY", "EUR")])
def test_a_lake_of_another_shop_is_refused(
    variable: str, value: str, spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    create_tables(lake, INGEST_TABLES, load_settings("local").shop)
    monkeypatch.setenv(f"SHOPLAKE_SHOP__{variable}", value)
    with pytest.raises(ConfigError, match=value):
        create_tables(lake, INGEST_TABLES, load_settings("local").shop)


def test_a_file_is_kept_untouched_once_under_its_hash(tmp_path: Path) -> None:
    lake, file = Lake(str(tmp_path / "lake")), tmp_path / "data.csv"
    file.write_bytes(b"a,b\r\n1,\xff\n")
    first = keep_file(file, lake, "events")
    os.utime(first.path, (1_000_000, 1_000_000))
    again = keep_file(file, lake, "events")
    assert again.path == first.path
    assert again.kept_at_ms == 1_000_000_000, "the moment of the first keeping stays"
    assert first.path.read_bytes() == file.read_bytes()
    assert [path.name for path in first.path.parent.iterdir()] == [first.sha256]


def test_a_lost_checkpoint_doubles_nothing(shells: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ledger whole the new checkpoint goes on at its end; with a batch broken off the stream refuses."""
    shells.ok("kafka/producer.py", "--events", "300", "--from", "2026-06-01", "--to", "2026-06-02", "--seed", "1")
    shells.ok("spark/streaming_pipeline.py", "--drain")
    forget_checkpoint(shells, "first")
    shells.ok("kafka/producer.py", "--events", "200", "--from", "2026-06-03", "--to", "2026-06-03", "--seed", "2")
    shells.ok("spark/streaming_pipeline.py", "--drain")
    assert read_table(shells.lake, BRONZE_EVENTS, ["offset"]).num_rows == 500
    shells.ok("utils/reconcile.py")

    shells.ok("kafka/producer.py", "--events", "200", "--from", "2026-06-04", "--to", "2026-06-04", "--seed", "3")
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "append_row_once", crash)
        with pytest.raises(Crash):
            shells.run("spark/streaming_pipeline.py", "--drain")
    kept = forget_checkpoint(shells, "second")
    before = read_table(shells.lake, BRONZE_EVENTS, ["offset"]).num_rows
    assert shells.run("spark/streaming_pipeline.py", "--drain") == 1
    assert read_table(shells.lake, BRONZE_EVENTS, ["offset"]).num_rows == before
    kept.rename(shells.lake.checkpoint("events"))
    shells.ok("spark/streaming_pipeline.py", "--drain")
    assert read_table(shells.lake, BRONZE_EVENTS, ["offset"]).num_rows == 700
    shells.ok("utils/reconcile.py")


def forget_checkpoint(shells: Any, name: str) -> Path:
    place = Path(shells.lake.checkpoint("events"))
    return place.rename(place.with_name(name))
