"""utils/reset.py against a real broker: what was named is gone, all else is as it was."""

import io
import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from audit_log import read_lines

from shoplake.contract.tables import DAILY_SALES, SILVER_EVENTS, Table
from shoplake.lake.addresses import Lake
from shoplake.lake.files import write_bytes
from shoplake.lake.locks import hold_lock

RESET = "utils/reset.py"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lake(data_dir: Path, topic: str, run_tool: Run, write_table: Callable[[Lake, Table, list[dict[str, Any]]], None],
         monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Give a lake with two tables, a checkpoint and a foreign file, beside a topic with 40 records."""
    assert topic
    lake = Lake(str(data_dir / "lake"))
    for table in (SILVER_EVENTS, DAILY_SALES):
        row = {**dict.fromkeys(table.column_names), "event_date": date(2026, 3, 1)}
        write_table(lake, table, [row] * 3)
    offsets = Path(lake.checkpoint("events")) / "offsets"
    offsets.mkdir(parents=True)
    (offsets / "0").write_text("v1\n{}\n")
    (Path(lake.root) / "notes.txt").write_text("mine")
    (data_dir / "models").mkdir()
    assert run_tool("kafka/producer.py", "--events", "40", "--from", "2026-06-01", "--to", "2026-06-01")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    return lake


def topic_now(broker: str, topic: str) -> tuple[str, int, dict[str, str]]:
    """Give the topic's id, its records and the configuration that matters."""
    from kafka import KafkaConsumer, TopicPartition
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin, \
            closing(KafkaConsumer(bootstrap_servers=broker)) as consumer:
        (found,) = [one for one in admin.describe_topics() if one["name"] == topic]
        ends = consumer.end_offsets([TopicPartition(topic, number) for number in range(len(found["partitions"]))])
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        text = json.dumps(described, default=str)
    return str(found["topic_id"]), sum(ends.values()), {"retention": "-1" if '"-1"' in text else text}


def test_topic_and_checkpoint_go_together_and_the_lake_stays(
    broker: str, topic: str, lake: Lake, run_tool: Run,
) -> None:
    old, records, _ = topic_now(broker, topic)
    assert records == 40
    code, out, err = run_tool(RESET, "--yes", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["records"], report["folders"], report["deleted"]) == (40, [f"{lake.root}/_checkpoints"], True)
    new, records, configuration = topic_now(broker, topic)
    assert new != old
    assert records == 0
    assert configuration == {"retention": "-1"}
    assert not Path(lake.root, "_checkpoints").exists()
    assert Path(lake.table(SILVER_EVENTS)).is_dir()
    code, out, _ = run_tool(RESET, "--yes")
    assert code == 0
    assert "nothing to reset" in out
    assert topic_now(broker, topic)[0] == new


def test_the_whole_lake_goes_when_asked_for_and_nothing_beside_it(
    lake: Lake, data_dir: Path, run_tool: Run,
) -> None:
    (Path(lake.table(SILVER_EVENTS)) / "_delta_log" / f"{0:020d}.json").write_bytes(b"")
    outside = data_dir / "models" / "kept"
    outside.write_text("x")
    (Path(lake.root) / "silver" / "link").symlink_to(data_dir / "models")
    write_bytes(lake, lake.rates_pin("a query"), b"{}")
    code, _, err = run_tool(RESET, "--lake", "--yes")
    assert code == 0
    assert "topic" in err
    assert "40 records" in err
    assert "gold.daily_sales: 3 rows" in err
    assert sorted(path.name for path in Path(lake.root).iterdir()) == ["_locks", "notes.txt", "ops"]
    assert [path.name for path in (Path(lake.root) / "ops").iterdir()] == ["audit"]
    assert [(line["action"], line["outcome"]) for line in read_lines(lake)][-2:] == [
        ("reset", "begun"), ("reset", "done")]
    assert outside.read_text() == "x"


def test_without_a_terminal_it_wants_yes(broker: str, topic: str, lake: Lake, run_tool: Run) -> None:
    before = topic_now(broker, topic)
    code, _, err = run_tool(RESET)
    assert code == 2
    assert "python utils/reset.py --yes" in err
    assert topic_now(broker, topic) == before
    assert Path(lake.checkpoint("events")).is_dir()


@pytest.mark.parametrize(("answer", "code"), [(b"yes\n", 0), (b"y\n", 1), (b"\n", 1)])
def test_on_a_terminal_it_asks(lake: Lake, run_tool: Run, monkeypatch: pytest.MonkeyPatch, answer: bytes,
                               code: int) -> None:
    outer, inner = os.openpty()
    with os.fdopen(inner) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(outer, answer)
        exit_code, _, err = run_tool(RESET)
    os.close(outer)
    assert exit_code == code
    assert "Type yes" in err
    assert Path(lake.checkpoint("events")).is_dir() is bool(code)


@pytest.mark.parametrize(("flags", "name"), [
    ((), "checkpoint-events"), ((), "ingest"), (("--lake",), "gold.daily_sales")])
def test_it_is_refused_while_another_writes(
    lake: Lake, run_tool: Run, flags: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    with hold_lock(lake, name, timeout=0):
        code, _, err = run_tool(RESET, "--yes", *flags)
    assert code == 1
    assert f"the lock {name!r}" in err
    assert Path(lake.checkpoint("events")).is_dir()


def test_a_link_in_the_place_of_a_folder_is_refused(lake: Lake, data_dir: Path, run_tool: Run) -> None:
    (Path(lake.root) / "bronze").symlink_to(data_dir / "models")
    code, _, err = run_tool(RESET, "--lake", "--yes")
    assert code == 2
    assert "is a link to" in err
    assert Path(lake.table(SILVER_EVENTS)).is_dir()


def test_a_missing_topic_is_made(broker: str, topic: str, lake: Lake, run_tool: Run) -> None:
    """A reset that was killed between the two had deleted it."""
    from kafka.admin import KafkaAdminClient

    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.delete_topics([topic], timeout_ms=30_000)
    assert run_tool(RESET, "--yes")[0] == 0
    assert topic_now(broker, topic)[1] == 0
    assert not Path(lake.root, "_checkpoints").exists()


@pytest.mark.parametrize(("variable", "value", "message"), [
    ("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "kafka.example.com:9092", "is not on this machine"),
    ("SHOPLAKE_LAKE__ROOT", "gs://bucket/lake", "for the local profile on this machine"),
    ("SHOPLAKE_PROFILE", "dev", "the profile is dev"),
])
def test_what_others_use_is_never_reset(
    run_tool: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str,
) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    code, _, err = run_tool(RESET, "--yes")
    assert code == 2
    assert message in err
