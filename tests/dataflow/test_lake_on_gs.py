"""The streaming job and the batch job on gs://: the same tables as in a local folder, row for row."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.batch.build import GOLD_BUILDS
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE_1H,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.errors import StorageError
from shoplake.lake import arrow
from shoplake.lake.addresses import locate_lake
from shoplake.lake.buckets import list_objects, upload_file
from shoplake.lake.delta import session_options
from shoplake.lake.ledger import count_rows
from shoplake.settings import load_settings

if TYPE_CHECKING:
    from conftest import Shells
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.cloud

HADOOP = "spark.hadoop."
# A batch's id is its query's, which each checkpoint makes anew.
QUERY = {"query_id", "batch_id"}
TABLES = (BRONZE_EVENTS, SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE, PRODUCT_REVENUE_5MIN, CATEGORY_REVENUE_1H,
          *(gold.table for gold in GOLD_BUILDS))


def reach_buckets(spark: "SparkSession") -> None:
    """Tell the session of all tests what a session of its own is built with."""
    for name, value in session_options(load_settings()).items():
        spark.sparkContext._jsc.hadoopConfiguration().set(name.removeprefix(HADOOP), value)


def run_jobs(shells: "Shells", history: str) -> None:
    """Take the topic in, then a file, then build gold."""
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py", "--historical-csv", history)


def ask(shells: "Shells", capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Ask the warehouse over the lake two questions; one reads a view over silver."""
    capsys.readouterr()
    shells.ok("sql/run_analytics.py", "--query", "daily_revenue", "--json")
    view = "SELECT * FROM silver.quarantine_counts ORDER BY ingest_date, reason"
    shells.ok("sql/run_analytics.py", "--sql", view, "--json")
    return capsys.readouterr().out.splitlines()


def columns_of(table: Table) -> list[str]:
    return [name for name in table.column_names if name not in QUERY]


def test_a_lake_on_gs_is_the_local_one(
    shells: "Shells", bucket: str, spark: "SparkSession", data_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = data_dir / "history.csv"
    days = ("--from", "2026-03-27", "--to", "2026-03-30")  # over a change of summer time
    shells.ok("kafka/producer.py", "--events", "300", *days, "--seed", "5")
    shells.ok("kafka/producer.py", "--events", "200", *days, "--seed", "6", "--to-file", str(history))
    reach_buckets(spark)
    lake = locate_lake(load_settings())
    on_gs = shells.on(lake)
    address = f"gs://{bucket}/history.csv"
    upload_file(lake, history, address)
    rates = data_dir / "rates.csv"
    rates.write_text("currency,from_date,rate\nUSD,2026-03-27,0.8\n")
    upload_file(lake, rates, f"gs://{bucket}/rates.csv")
    monkeypatch.setenv("SHOPLAKE_SHOP__RATES_FILE", f"gs://{bucket}/rates.csv")
    run_jobs(on_gs, address)
    # More events: the stream goes on from its checkpoint in the bucket, and gold builds the changed days.
    shells.ok("kafka/producer.py", "--events", "100", *days, "--seed", "7")
    on_gs.ok("spark/streaming_pipeline.py", "--drain")
    on_gs.ok("spark/batch_processing.py")
    assert count_rows(lake)["batches"] >= 3
    capsys.readouterr()
    on_gs.ok("utils/reconcile.py", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["balanced"]
    assert report["offsets"] == 600
    assert not (data_dir / "lake").exists()
    assert not list(list_objects(lake, f"{lake.root}/_locks/")), "a lock was left behind"
    on_gs.ok("utils/check_stream.py")
    on_gs.ok("utils/record_run.py", "--run-id", "r1", "--dag-id", "d", "--day", "2026-03-30")
    on_gs.ok("gcp/bigquery_client.py", "publish")
    answers = ask(on_gs, capsys)
    kept = [one.address.removeprefix(f"{lake.root}/bronze/files/").split("/")[0]
            for one in list_objects(lake, f"{lake.root}/bronze/files/")]
    assert sorted(kept) == ["events", "exchange_rates"]
    assert len(list(list_objects(lake, f"{lake.root}/_rates/"))) == 2, "of the stream and of the file"

    monkeypatch.delenv("SHOPLAKE_LAKE__ROOT")
    run_jobs(shells, str(history))
    assert ask(shells, capsys) == answers
    for table in TABLES:
        assert on_gs.rows(table, columns_of(table)) == shells.rows(table, columns_of(table)), table.name
        assert shells.rows(table), f"{table.name} is empty, which proves nothing"

    check_lost_commit(on_gs, lake.table(LEDGER), bucket, monkeypatch, capsys)


def check_lost_commit(
    shells: "Shells", ledger: str, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """See that a batch fails whose ledger row cannot be read back, and that the next run mends it."""
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", f"gs://{bucket}/lake")
    shells.ok("kafka/producer.py", "--events", "50", "--from", "2026-03-30", "--to", "2026-03-30", "--seed", "8")
    before = count_rows(shells.lake)["offsets"]
    confirm = arrow.confirm_transaction

    def lose(lake: Any, table: Table, query_id: str, batch_id: int) -> None:
        if table is LEDGER:
            raise StorageError(f"the commit to {ledger} cannot be read back")
        confirm(lake, table, query_id, batch_id)

    monkeypatch.setattr(arrow, "confirm_transaction", lose)
    assert shells.run("spark/streaming_pipeline.py", "--drain") == 1
    assert "cannot be read back" in capsys.readouterr().err
    monkeypatch.setattr(arrow, "confirm_transaction", confirm)
    shells.ok("spark/streaming_pipeline.py", "--drain")
    assert count_rows(shells.lake)["offsets"] == before + 50
