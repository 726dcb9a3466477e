"""What the tests of Kafka's shells and of the operator tools share."""

import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from table_rows import read_rows

from shoplake.contract.tables import AUDIT, TABLES
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shoplake.streaming.ingest import Batch

Rows = dict[str, list[str]]
QUERY, TOPIC_ID, FILE = "query", "topic-id", "a" * 64
COMPARED = [table for table in TABLES if table is not AUDIT]


@pytest.fixture
def topic(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a new topic of three partitions, and point the settings and a consumer group at it."""
    from kafka.admin import KafkaAdminClient, NewTopic

    name = f"test_{uuid4().hex}"
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.create_topics([NewTopic(name, 3, 1)], timeout_ms=30_000, wait_for_metadata=True)
        monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", broker)
        monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", name)
        monkeypatch.setenv("SHOPLAKE_KAFKA__CONSUMER_GROUP", f"group_{name}")
        yield name
        admin.delete_topics([name])


@pytest.fixture
def run_tool(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Give `run(path, *argv)`, which runs a shell's main in this process: exit code, stdout, stderr."""
    def run(path: str, *argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = runpy.run_path(str(PROJECT_ROOT / path))["main"](list(argv))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def make_value(number: int, **changes: Any) -> bytes:
    """Write an event; numbers spread over five days and three products."""
    return json.dumps({
        "event_time": f"2026-03-{1 + number % 5:02d}T21:5{number % 10}:00Z",
        "user_id": f"u{number}", "product_id": f"p{number % 3}", "category": f"c{number % 2}", "price": "19.99",
        "quantity": 2, "event_type": "order_created", "event_id": f"e{number}", "schema_version": 2, **changes,
    }).encode()


def make_records(spark: "SparkSession", values: list[bytes], first_offset: int) -> "DataFrame":
    """Give raw records of one partition, as the stream reads them."""
    from pyspark.sql import functions as F

    rows = [(0, first_offset + number, b"key", value, None) for number, value in enumerate(values)]
    columns = "partition int, offset bigint, key binary, value binary, headers array<struct<key:string,value:binary>>"
    return spark.createDataFrame(rows, columns).withColumn("timestamp", F.lit("2026-03-20 12:00:00").cast("timestamp"))


def batches() -> "list[tuple[Batch, list[bytes], int]]":
    """Give batches in the order in which they come, with their records' values and first offset.

    A file's chunk lies between two of the stream's: it copies events of the batch before it, and the batch after it
    copies the file's. The batches' ids alone would give another order.
    """
    from shoplake.streaming.ingest import Batch

    first = [*(make_value(number) for number in range(12)), make_value(3), make_value(4, quantity=9), b"{broken"]
    of_file = [make_value(1), *(make_value(number) for number in range(20, 26)), make_value(5, price="1")]
    second = [make_value(20), make_value(21, price="3"), *(make_value(number) for number in range(40, 46))]
    third = [make_value(40), *(make_value(number) for number in range(60, 66)), make_value(61, price="-1")]
    return [
        (Batch(QUERY, 0, TOPIC_ID, "events"), first, 0),
        (Batch(FILE, 0, FILE, "events"), of_file, 0),
        (Batch(QUERY, 1, TOPIC_ID, "events"), second, len(first)),
        (Batch(QUERY, 2, TOPIC_ID, "events"), third, len(first) + len(second)),
    ]


def ingest(spark: "SparkSession", lake: Lake, number: int) -> None:
    """Take in the batch of that place in `batches`, perhaps again."""
    from shoplake.settings import load_settings
    from shoplake.streaming.ingest import ingest_batch

    batch, values, first_offset = batches()[number]
    ingest_batch(make_records(spark, values, first_offset), batch, lake, load_settings("local"))


@pytest.fixture(scope="session")
def _lake_of_three(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Lake:
    from shoplake.contract.tables import INGEST_TABLES
    from shoplake.lake.delta import create_tables
    from shoplake.settings import load_settings

    lake = Lake(str(tmp_path_factory.mktemp("three-batches") / "lake"))
    create_tables(lake, INGEST_TABLES, load_settings("local").shop)
    for number in range(3):
        ingest(spark, lake, number)
    return lake


@pytest.fixture(scope="session")
def _lake_of_four(spark: "SparkSession", _lake_of_three: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("four-batches") / "lake"))
    shutil.copytree(_lake_of_three.root, lake.root)
    ingest(spark, lake, 3)
    return lake


@pytest.fixture
def lake_of_three(_lake_of_three: Lake, data_dir: Path) -> Lake:
    """Give a lake of the test's own, which the settings name, with the first three batches in."""
    shutil.copytree(_lake_of_three.root, data_dir / "lake")
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def lake_of_four(_lake_of_four: Lake, data_dir: Path) -> Lake:
    """Give a lake of the test's own, which the settings name, with all four batches in."""
    shutil.copytree(_lake_of_four.root, data_dir / "lake")
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def rows_of_four(_lake_of_four: Lake) -> Rows:
    """Give the rows of every table of an undisturbed lake with all four batches."""
    return read_rows(_lake_of_four, COMPARED)


@pytest.fixture(scope="session")
def take_in(spark: "SparkSession") -> Callable[[Lake, int], None]:
    """Give `take_in(lake, number)`, which takes in one of the four batches, perhaps again."""
    return lambda lake, number: ingest(spark, lake, number)


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Lake], Rows]:
    """Give `rows_of(lake)`: every row of every table that it has but ops.audit, sorted, read by delta-rs."""
    return lambda lake: read_rows(lake, COMPARED)
