"""A lake of the test's own, fed through the shells on the session's broker and Spark: the fixture `shells`."""

import runpy
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lake_oracle import rows_of

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Shells:
    """The shells as functions, and the lake that they work on."""

    lake: Lake
    topic: str

    def on(self, lake: Lake) -> "Shells":
        """Give the same shells on another lake; the test points the settings there."""
        return replace(self, lake=lake)

    def run(self, path: str, *argv: str) -> int:
        """Run a shell's main in this process."""
        return int(runpy.run_path(str(PROJECT_ROOT / path))["main"](list(argv)))

    def ok(self, path: str, *argv: str) -> None:
        """Run a shell that must succeed."""
        assert self.run(path, *argv) == 0, f"{path} {argv}"

    def rows(self, table: Table, columns: Sequence[str] | None = None) -> Counter[tuple[Any, ...]]:
        """Read a table's columns (default: all) as a multiset of rows."""
        return rows_of(self.lake, table, columns)


def make_topic(broker: str, name: str) -> None:
    """Make a topic of three partitions on the test's broker."""
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1, topic_configs={"retention.ms": "-1"})])
    admin.close()


@pytest.fixture
def shells(broker: str, spark: "SparkSession", data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Shells:
    """Give the shells on an empty lake and a fresh topic."""
    topic = f"test-{uuid.uuid4().hex[:8]}"
    make_topic(broker, topic)
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("SHOPLAKE_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")  # in the cloud's profiles too
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", topic)
    data_dir.mkdir(parents=True)
    return Shells(Lake(str(data_dir / "lake")), topic)
