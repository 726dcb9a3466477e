"""The watch over the stream: what waits in a real topic, against a ledger that says how far the lake is."""

import json
import runpy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import LEDGER, Table
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import hold_lock
from shoplake.settings import PROJECT_ROOT

EVENTS = 40
Write = Callable[[Lake, Table, list[dict[str, Any]]], None]


def run(shell: str, *flags: str) -> int:
    code: int = runpy.run_path(str(PROJECT_ROOT / shell))["main"](list(flags))
    return code


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run("utils/check_stream.py", "--json")
    said = capsys.readouterr()
    return code, json.loads(said.out or "{}"), said.err


def ledger_row(origin: str, ends: dict[int, int]) -> dict[str, Any]:
    ranges = [{"partition": part, "from_offset": 0, "until_offset": end} for part, end in ends.items()]
    return {"query_id": "q", "batch_id": 0, "origin": origin, "topic": "t", "ranges": ranges, "rules": [],
            "event_dates": [], **dict.fromkeys(("bronze_count", "silver_count", "duplicate_count", "quarantine_count",
                                                "late_count"), 0)}


@pytest.fixture
def ends(topic: str, capsys: pytest.CaptureFixture[str]) -> dict[int, int]:
    """Give the topic some records, and each partition's end as the broker told the producer."""
    assert topic
    assert run("kafka/producer.py", "--events", str(EVENTS), "--seed", "1", "--from", "2026-06-01",
               "--to", "2026-06-01", "--json") == 0
    told: dict[str, int] = json.loads(capsys.readouterr().out)["end_offsets"]
    return {int(part): end for part, end in told.items()}


@pytest.fixture
def lake(data_dir: Path) -> Lake:
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_BATCH_AGE", "1")


@pytest.mark.usefixtures("topic", "impatient")
def test_an_empty_topic_is_healthy_without_a_lake(capsys: pytest.CaptureFixture[str]) -> None:
    code, report, _ = check(capsys)
    assert code == 0
    assert report["lag"] == {"0": 0, "1": 0, "2": 0}
    assert (report["last_batch_age"], report["driver"], report["is_healthy"]) == (None, None, True)


@pytest.mark.usefixtures("impatient")
def test_records_that_nobody_reads_fail_with_words(ends: dict[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    code, report, error = check(capsys)
    assert code == 1
    assert report["lag"] == {str(part): end for part, end in ends.items()}
    assert report["total_lag"] == EVENTS
    assert report["is_healthy"] is False
    assert f"{EVENTS} records" in error
    assert "driver: none runs" in error
    assert "--drain" in error


@pytest.mark.usefixtures("impatient")
def test_a_topic_read_to_its_end_is_healthy_however_old_the_batch(
    ends: dict[int, int], lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    origin = check(capsys)[1]["origin"]
    write_table(lake, LEDGER, [ledger_row(origin, ends)])
    time.sleep(1.1)  # older than impatience
    code, report, _ = check(capsys)
    assert (code, report["total_lag"]) == (0, 0)
    assert report["last_batch_age"] > 1

    # The same ledger of another topic's id says nothing of this one.
    write_table(lake, LEDGER, [ledger_row("another", ends)])
    time.sleep(1.1)
    code, report, _ = check(capsys)
    assert (code, report["total_lag"]) == (1, EVENTS)


@pytest.mark.usefixtures("impatient")
def test_a_batch_that_just_came_excuses_no_lag(
    ends: dict[int, int], lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    """It may be a file's, while the stream stands still."""
    origin = check(capsys)[1]["origin"]
    write_table(lake, LEDGER, [ledger_row(origin, {part: end - 1 for part, end in ends.items()})])
    with hold_lock(lake, "checkpoint-events", timeout=0):
        code, report, _ = check(capsys)
    assert code == 1
    assert report["lag"] == dict.fromkeys(map(str, ends), 1)
    assert report["driver"].startswith("process ")


def test_a_batch_that_comes_while_it_looks_is_healthy(
    ends: dict[int, int], lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_BATCH_AGE", "1")
    origin = check(capsys)[1]["origin"]
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_BATCH_AGE", "120")
    batch = threading.Timer(2, write_table, [lake, LEDGER, [ledger_row(origin, ends)]])
    batch.start()
    try:
        code, report, _ = check(capsys)
    finally:
        batch.join()
    assert (code, report["total_lag"]) == (0, 0)


def test_a_broker_that_does_not_answer_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "1")
    code, _, error = check(capsys)
    assert code == 1
    assert "no Kafka broker answers at 127.0.0.1:9" in error
