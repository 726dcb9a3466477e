"""utils/replay_quarantine.py against a real broker: each quarantined record goes to the topic again once, as it was."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from audit_log import read_acts, read_details
from topic_records import read_topic

from shoplake.contract.tables import BRONZE_EVENTS, SILVER_EVENTS, SILVER_QUARANTINE, Table
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.locks import hold_lock

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPLAY = "utils/replay_quarantine.py"
DRAIN = ("spark/streaming_pipeline.py", "--drain")
Run = Callable[..., tuple[int, str, str]]
NOON = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
FILE = "f" * 64


@pytest.fixture
def lake(data_dir: Path) -> Lake:
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def replay(run_tool: Run) -> Callable[..., dict[str, Any]]:
    def replay(*flags: str) -> dict[str, Any]:
        code, out, err = run_tool(REPLAY, "--json", *flags)
        assert code == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    return replay


def test_mended_records_come_to_silver_once(
    broker: str, topic: str, spark: "SparkSession", lake: Lake, replay: Any, run_tool: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spark
    monkeypatch.setenv("SHOPLAKE_SIMULATION__FUTURE_SHARE", "0.02")
    assert run_tool("kafka/producer.py", "--events", "400", "--from", "2026-06-01", "--to", "2026-06-02",
                    "--seed", "1")[0] == 0
    assert run_tool(*DRAIN)[0] == 0
    first = read_table(lake, SILVER_QUARANTINE).to_pylist()
    by_reason = Counter(reason for row in first for reason in row["reasons"])
    silver = read_table(lake, SILVER_EVENTS).num_rows
    future = [row for row in first if row["reasons"] == ["event_time_not_future"]]
    assert future

    assert replay("--dry-run")["by_reason"] == by_reason
    assert len(read_topic(broker, topic)) == 400, "a dry run sends nothing"
    one_more = by_reason["event_time_not_future"]
    assert replay("--reason", "event_time_not_future", "--limit", "1")["acknowledged"] == 1
    assert read_acts(lake) == [("replay", topic, "begun"), ("replay", topic, "done")], "nor is it an act"
    assert read_details(lake) == {
        "reasons": ["event_time_not_future"], "limit": 1, "again": False, "acknowledged": 1}
    assert replay("--reason", "event_time_not_future")["acknowledged"] == one_more - 1, "not the one that waits"
    again = replay("--reason", "event_time_not_future")
    assert (again["sent"], again["replayed"]) == (0, one_more), "they wait in the topic, not in bronze yet"

    monkeypatch.setenv("SHOPLAKE_QUALITY__FUTURE_TOLERANCE", str(10**8))
    assert run_tool(*DRAIN)[0] == 0
    assert read_table(lake, SILVER_EVENTS).num_rows == silver + len(future)
    assert replay("--reason", "event_time_not_future")["sent"] == 0, "they are in bronze"
    rest = replay()
    assert rest["sent"] == len(first) - one_more
    assert run_tool(*DRAIN)[0] == 0
    assert replay()["rejected_again"] == len(first) - len(future)
    assert read_table(lake, SILVER_EVENTS).num_rows == silver + len(future)
    assert run_tool("utils/reconcile.py")[0] == 0
    check_copies(lake, first)


def check_copies(lake: Lake, originals: list[dict[str, Any]]) -> None:
    """Each original has one copy in bronze, with its bytes and its timestamp."""
    def content(row: dict[str, Any], moment: str) -> tuple[Any, ...]:
        return row["key"], row["value"], row[moment]

    expected = {f"{row['origin']}/{row['partition']}/{row['offset']}".encode(): content(row, "ingest_time")
                for row in originals}
    copies = [row for row in read_table(lake, BRONZE_EVENTS).to_pylist() if row["headers"]]
    assert len(copies) == len(expected)
    assert {row["headers"][0]["value"]: content(row, "timestamp") for row in copies} == expected


Write = Callable[[Lake, Table, list[dict[str, Any]]], None]


def quarantined(offset: int, **values: Any) -> dict[str, Any]:
    row = dict.fromkeys(SILVER_QUARANTINE.column_names)
    return {**row, "origin": FILE, "topic": "events", "partition": 0, "offset": offset, "key": b"u", "value": b"{",
            "reasons": ["json_valid"], "ingest_time": NOON, "ingest_date": NOON.date(), "query_id": FILE,
            "batch_id": 0, **values}


@pytest.fixture
def of_a_file(lake: Lake, write_table: Write) -> list[dict[str, Any]]:
    """Give a quarantine of records that a file brought; the fifth stands in bronze as replayed."""
    rows = [
        quarantined(0, headers=[{"key": "trace", "value": b"\x00\xff"}, {"key": "none", "value": None}]),
        quarantined(1, value=None),
        quarantined(2, key=None, value=b"\xff\x00"),
        quarantined(3, key=None, value=None),
        quarantined(4, reasons=["price_valid", "quantity_positive"]),
        quarantined(5, headers=[{"key": "replay_of", "value": f"{FILE}/0/4".encode()}], reasons=["price_valid"]),
    ]
    write_table(lake, SILVER_QUARANTINE, rows)
    bronze = [{name: row.get(name) for name in BRONZE_EVENTS.column_names} | {"timestamp": NOON} for row in rows]
    write_table(lake, BRONZE_EVENTS, bronze)
    return rows


@pytest.mark.usefixtures("of_a_file")
def test_records_of_a_file_are_sent_as_they_were(broker: str, topic: str, replay: Any, run_tool: Run) -> None:
    report = replay()
    assert {name: report[name] for name in ("found", "replayed", "rejected_again", "empty", "to_send", "by_reason")} \
        == {"found": 6, "replayed": 1, "rejected_again": 1, "empty": 1, "to_send": 3, "by_reason": {"json_valid": 3}}
    assert (report["acknowledged"], report["errors"]) == (3, 0)
    sent = {dict(record.headers)["replay_of"]: record for record in read_topic(broker, topic)}
    assert {mark: (record.key, record.value) for mark, record in sent.items()} == {
        f"{FILE}/0/0".encode(): (b"u", b"{"), f"{FILE}/0/1".encode(): (b"u", None),
        f"{FILE}/0/2".encode(): (None, b"\xff\x00")}
    assert {record.timestamp for record in sent.values()} == {int(NOON.timestamp() * 1000)}
    assert sent[f"{FILE}/0/0".encode()].headers[:2] == [("trace", b"\x00\xff"), ("none", b"")]

    assert replay("--again", "--reason", "price_valid")["acknowledged"] == 1
    (copy,) = [record for record in read_topic(broker, topic) if record.headers[-1][1] == f"{FILE}/0/5".encode()]
    assert len(copy.headers) == 1, "it is a copy of the copy"
    code, out, _ = run_tool(REPLAY, "--again")
    assert code == 0
    assert "No quarantined record waits" in out
    assert "5 were sent before" in out


@pytest.mark.usefixtures("of_a_file", "topic")
def test_two_at_once_are_refused(lake: Lake, run_tool: Run) -> None:
    with hold_lock(lake, "replay", timeout=0):
        code, _, err = run_tool(REPLAY)
    assert code == 1
    assert "the lock 'replay'" in err


def test_nothing_quarantined_is_no_failure(run_tool: Run) -> None:
    code, out, _ = run_tool(REPLAY)
    assert code == 0
    assert "nothing is quarantined" in out


def test_an_unknown_reason_is_refused_with_those_there_are(run_tool: Run) -> None:
    code, _, err = run_tool(REPLAY, "--reason", "price")
    assert code == 2
    assert "price_valid" in err


@pytest.mark.usefixtures("of_a_file")
def test_without_a_broker_it_says_so(run_tool: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "1")
    code, _, err = run_tool(REPLAY)
    assert code == 1
    assert "no Kafka broker answers" in err
