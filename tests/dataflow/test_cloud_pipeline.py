"""The whole pipeline in the cloud's profile: a stream to gs://, gold, the load, the MERGE, and the questions back."""

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from c2c_files import draw_user, write_users
from raw_records import find_words

from shoplake.contract.tables import BRONZE_EVENTS, CUSTOMER_DAILY_SALES, Table
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import read_table
from shoplake.lake.buckets import NEW, list_objects, read_object, write_object
from shoplake.lake.data_keys import open_data_keys
from shoplake.lake.delta import session_options
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.bigquery import open_bigquery
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.presentation import rows_of
from shoplake.warehouse.protocol import RELATIONS

if TYPE_CHECKING:
    from conftest import Shells
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.cloud
DAYS = ("--from", "2026-02-26", "--to", "2026-04-02")


@pytest.fixture
def keys_in_a_bucket(pseudonyms: None, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the lake's data keys beside it in the bucket, and its master key in the environment."""
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__DATA_KEYS", f"gs://{bucket}/keys")
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", "5e" * 32)


def test_bigquery_holds_what_the_embedded_warehouse_serves(
    shells: "Shells", bigquery_over_buckets: list[str], keys_in_a_bucket: None, spark: "SparkSession", tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in session_options(load_settings()).items():
        spark.sparkContext._jsc.hadoopConfiguration().set(name.removeprefix("spark.hadoop."), value)
    lake = locate_lake(load_settings())
    assert lake.root.startswith("gs://")
    shells = shells.on(lake)

    shells.ok("gcp/bigquery_client.py", "create")
    shells.ok("kafka/producer.py", "--events", "1500", *DAYS, "--seed", "11")
    draw = random.Random(9)
    write_users(tmp_path / "users.csv", [draw_user(draw, number) for number in range(60)])
    write_object(lake, f"{load_settings().landing_root}/c2c_users/users.csv", (tmp_path / "users.csv").read_bytes(),
                 NEW)
    shells.ok("utils/ingest_landing.py")
    take_in(shells)
    first = publish(shells, capsys)
    assert {name for name, one in first.items() if not one["row_count"] and not name.startswith("ops.")} == {
        "gold.demand_predictions", "gold.demand_totals", "gold.forecast_accuracy", "gold.backtest_metrics"}
    assert {one["message"] for one in publish(shells, capsys).values()} <= {
        "unchanged since it was published", "not built yet in the lake"}

    # A later batch changes some days; only these are read and merged.
    shells.ok("kafka/producer.py", "--events", "200", "--from", "2026-04-02", "--to", "2026-04-03", "--seed", "12")
    take_in(shells)
    again = publish(shells, capsys)
    assert "changed partitions compared" in again["gold.daily_sales"]["message"]
    shells.ok("ml/inference.py", "--model", "moving_average", "--horizon", "next_week", "--save-bq")
    # A day that was forecast and is over: its accuracy can be told.
    shells.ok("ml/inference.py", "--model", "moving_average", "--as-of", "2026-03-30")
    shells.ok("ml/accuracy.py", "--save-bq")
    # A backtest wants more days than this lake has: it takes those of a file.
    shells.ok("ml/backtest.py", "--data", str(write_sales(tmp_path / "sales.parquet")), "--models", "seasonal_naive")
    shells.ok("utils/record_run.py", "--run-id", "r1", "--dag-id", "d", "--day", "2026-04-02")
    publish(shells, capsys)
    assert all(address.startswith(f"{lake.root}/gold_export/") for address in bigquery_over_buckets)

    with open_bigquery(load_settings()) as cloud, DuckDBWarehouse(lake, 60) as embedded:
        for relation in RELATIONS:
            column = relation.partition_by if isinstance(relation, Table) else None
            sql = f"SELECT * FROM {relation.name}" + (f" WHERE {column} >= '2000-01-01'" if column else "")
            rows = [sorted(map(str, map(as_values, rows_of(one.query(sql))))) for one in (cloud, embedded)]
            assert rows[0] == rows[1], relation.name
            assert rows[0], f"{relation.name} is empty, which proves nothing"
        for name, query in load_queries(PROJECT_ROOT / "sql").items():
            parameters = resolve_parameters(query, {}, cloud)
            answers = [list(map(as_values, rows_of(one.query(query.sql, parameters)))) for one in (cloud, embedded)]
            assert answers[0] == answers[1], name
    erase_somebody(shells, lake, tmp_path)


def erase_somebody(shells: "Shells", lake: Lake, folder: Path) -> None:
    """Take out a user who has bought, and find them in no byte of the bucket and no table of BigQuery any more."""
    keys = open_data_keys(load_settings(), lake)
    assert keys is not None
    bought = {row["user_id"] for row in read_table(lake, CUSTOMER_DAILY_SALES, ["user_id"]).to_pylist()}
    ids = set(read_table(lake, BRONZE_EVENTS, ["data_key_id"])["data_key_id"].to_pylist())
    owners = {keys.pseudonym(owner): owner for owner in keys.owners(ids).values()}
    pseudonym = min(bought & owners.keys())
    words = {owners[pseudonym], pseudonym}
    assert find_words(download(lake, folder / "before"), words)
    shells.ok("utils/erase_user.py", "--user", owners[pseudonym], "--yes")
    shells.ok("utils/reconcile.py")
    assert find_words(download(lake, folder / "after"), words) == {}
    tables = [table for table in RELATIONS if isinstance(table, Table) and "user_id" in table.column_names]
    with open_bigquery(load_settings()) as cloud, DuckDBWarehouse(lake, 60) as embedded:
        for table in tables:
            day = f" WHERE {table.partition_by} >= '2000-01-01'" if table.partition_by else ""
            found = [sorted(user for (user,) in rows_of(one.query(f"SELECT user_id FROM {table.name}{day}")))
                     for one in (cloud, embedded)]
            assert found[0] == found[1], table.name
            assert pseudonym not in found[0], table.name


def download(lake: Lake, folder: Path) -> Path:
    for stored in list_objects(lake, lake.root.rsplit("/", 1)[0] + "/"):
        found = None if stored.address.endswith("/") else read_object(lake, stored.address)  # Hadoop's mark of a folder
        if found:
            file = folder / stored.address.removeprefix("gs://")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found[0])
    return folder


def write_sales(file: Path) -> Path:
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(142)]
    pq.write_table(pa.Table.from_pylist([
        {"event_date": day, "product_id": product, "category": "c", "units": 1 + day.day % units, "gross_amount": 2.5}
        for day in days for product, units in (("P1", 3), ("P2", 5))]), file)
    return file


def take_in(shells: "Shells") -> None:
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py")
    shells.ok("utils/reconcile.py")


def publish(shells: "Shells", capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    shells.ok("gcp/bigquery_client.py", "publish", "--json")
    return {one["table"]: one for one in json.loads(capsys.readouterr().out)["published"]}


def as_values(row: list[Any]) -> list[Any]:
    """Make cells of both alike: BigQuery's NUMERIC has nine digits; its emulator's DATE_TRUNC gives times.

    A sum of floats has other last digits in another order of its rows, and neither promises one: twelve count.
    """
    return [float(f"{value:.12g}") if isinstance(value, float) else
            format(value.normalize(), "f") if hasattr(value, "normalize") else
            value.date() if hasattr(value, "hour") and value.tzinfo is None else
            [sorted(one.items()) if isinstance(one, dict) else one for one in value] if isinstance(value, list) else
            value for value in row]
