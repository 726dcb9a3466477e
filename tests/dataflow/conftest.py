"""A lake of the test's own, fed through the shells on the session's broker and Spark."""

import runpy
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def as_text(value: Any) -> Any:
    """Write a cell as the simulator's truth writes it: money and growth as text, times in UTC with six digits.

    Lists become tuples, which can be counted.
    """
    if isinstance(value, list):
        return tuple(as_text(one) for one in value)
    if isinstance(value, dict):
        return tuple((key, as_text(one)) for key, one in value.items())
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return value


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
        """Read a table's columns (default: all) as a multiset of rows, by delta-rs: Spark does not check itself."""
        names = list(columns or table.column_names)
        rows = read_table(self.lake, table, names).to_pylist()
        return Counter(tuple(as_text(row[name]) for name in names) for row in rows)


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
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", topic)
    data_dir.mkdir(parents=True)
    return Shells(Lake(str(data_dir / "lake")), topic)
