"""What every test may ask for: settings of its own, a real broker, a Spark session."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a data folder of its own, and no setting of the machine it runs on."""
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX):
            monkeypatch.delenv(variable)
    folder = tmp_path / "data"
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def write_table() -> Callable[[Lake, Table, list[dict[str, Any]]], None]:
    """Give `write(lake, table, rows)`, which makes a small Delta table of the contract's columns without Spark."""
    import duckdb
    import pyarrow as pa
    from deltalake import write_deltalake

    from shoplake.lake.sql import select_nothing

    def write(lake: Lake, table: Table, rows: list[dict[str, Any]]) -> None:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            schema = connection.execute(select_nothing(table.columns)).to_arrow_table().schema
        partitions = [table.partition_by] if table.partition_by else None
        write_deltalake(lake.table(table), pa.Table.from_pylist(rows, schema=schema), mode="overwrite",
                        partition_by=partitions)

    return write


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the bootstrap address of a real broker that lives as long as the test session.

    A test that runs a shell against it sets SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS; topics are shared, so it uses its own.
    """
    folder = tmp_path_factory.mktemp("broker")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    # Away from 9092, where the machine's own broker may start at any time.
    environment |= {"SHOPLAKE_DATA_DIR": str(folder), "SHOPLAKE_KAFKA__PORT": "29092"}

    def run_broker(action: str) -> dict[str, str]:
        command = [sys.executable, str(PROJECT_ROOT / "kafka" / "broker.py"), action, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        result: dict[str, str] = json.loads(done.stdout)
        return result

    try:
        yield run_broker("start")["address"]
    finally:
        run_broker("stop")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """Give a Spark session with the installed spark-defaults.conf, as spark-submit has it."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.appName("shoplake-tests")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        # Tests are too short to gain from the JVM's second compiler: without it they take half the CPU.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m")
        .getOrCreate()
    )
    yield session
    session.stop()
