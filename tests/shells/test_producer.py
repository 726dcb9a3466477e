"""kafka/producer.py against a real broker: what it says it sent is what the topic holds."""

import csv
import gzip
import hashlib
import json
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from topic_records import read_topic

from shoplake.settings import PROJECT_ROOT

PRODUCER = PROJECT_ROOT / "kafka" / "producer.py"
HISTORY = ("--from", "2026-03-01", "--to", "2026-03-10")
EVENTS_CSV = (
    "event_time,user_id,product_id,category,price,quantity,event_type\n"
    "2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created\n"
    "2026-03-01T10:00:01Z,u2,p1,toys,2.50,1,product_viewed\n"
    "this line is broken\n"
    "2026-03-01T10:00:02Z,u1,p2,toys,9.99,1,order_created\n"
)


@pytest.fixture
def produce(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def produce(*argv: str | Path) -> tuple[int, str, str]:
        code: int = runpy.run_path(str(PRODUCER))["main"]([str(word) for word in argv])
        output = capsys.readouterr()
        return code, output.out, output.err

    return produce


def test_a_simulated_past_is_on_the_topic_record_by_record(
    broker: str, topic: str, produce: Any, tmp_path: Path,
) -> None:
    truth_file = tmp_path / "truth.json"
    code, out, _ = produce("--events", "3000", *HISTORY, "--seed", "5", "--truth", truth_file, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["sent"], result["acknowledged"], result["errors"], result["seed"]) == (3000, 3000, 0, 5)
    records = read_topic(broker, topic)
    assert result["end_offsets"] == {str(number): count for number, count in sorted(
        Counter(record.partition for record in records).items())}
    truth = json.loads(truth_file.read_text())
    assert Counter(hashlib.sha256(record.value).hexdigest() for record in records) == Counter(truth["bronze.events"])
    assert truth["parameters"] == {
        "seed": 5, "events": 3000, "from": "2026-03-01", "to": "2026-03-10", "time_zone": "Europe/London",
        "currency": "GBP"}
    # In each partition the records stand in sending order, and a user has one partition.
    for number in range(3):
        sent = [record.timestamp for record in records if record.partition == number]
        assert sent == sorted(sent)
    assert len({(record.key, record.partition) for record in records}) == len({record.key for record in records})


def test_the_same_seed_sends_the_same_bytes(broker: str, topic: str, produce: Any) -> None:
    for _ in range(2):
        assert produce("--events", "500", *HISTORY, "--seed", "5")[0] == 0
    counts = Counter((record.key, record.value, record.timestamp) for record in read_topic(broker, topic))
    # Twice everything: a planted duplicate may share its bytes, but not its moment of sending.
    assert set(counts.values()) == {2}


def test_live_records_carry_the_present(broker: str, topic: str, produce: Any) -> None:
    before = time.time() * 1000
    code, out, _ = produce("--events", "20", "--delay", "0.01", "--json")
    assert code == 0
    assert json.loads(out)["seed"] >= 0
    records = read_topic(broker, topic)
    assert len(records) == 20
    assert before - 1 <= min(record.timestamp for record in records) <= max(
        record.timestamp for record in records) <= time.time() * 1000
    moments = sorted(record.timestamp for record in records)
    assert moments[-1] - moments[0] >= 19 * 10


def test_a_replayed_file_with_a_bad_line_loses_nothing(
    broker: str, topic: str, produce: Any, tmp_path: Path,
) -> None:
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(EVENTS_CSV.encode()))
    code, out, err = produce("--replay", path, "--json")
    assert code == 0
    assert "1 lines cannot be read" in err
    result = json.loads(out)
    assert (result["sent"], result["acknowledged"], result["bad_lines"]) == (4, 4, 1)
    records = read_topic(broker, topic)
    assert {record.value[:4] for record in records} == {b'{"ev', b"this"}
    good = {json.loads(record.value)["product_id"]: record for record in records if record.key == b"u1"}
    assert good["p2"].timestamp == int(datetime(2026, 3, 1, 10, 0, 2, tzinfo=UTC).timestamp() * 1000)


def test_limit_replays_the_first_records(broker: str, topic: str, produce: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(EVENTS_CSV)
    assert produce("--replay", path, "--limit", "2")[0] == 0
    assert sorted(record.key for record in read_topic(broker, topic)) == [b"u1", b"u2"]


def test_a_file_without_a_good_line_exits_1_with_its_lines_kept(
    broker: str, topic: str, produce: Any, tmp_path: Path,
) -> None:
    path = tmp_path / "data.csv"
    path.write_text(EVENTS_CSV.splitlines()[0] + "\nbad\nworse\n")
    code, _, err = produce("--replay", path)
    assert code == 1
    assert "none of the 2 lines" in err
    assert sorted(record.value for record in read_topic(broker, topic)) == [b"bad", b"worse"]


def test_a_file_is_written_without_a_broker(produce: Any, tmp_path: Path) -> None:
    path, truth_file = tmp_path / "data.csv", tmp_path / "truth.json"
    code, out, _ = produce(
        "--events", "800", *HISTORY, "--seed", "1", "--to-file", path, "--truth", truth_file, "--json")
    assert code == 0
    assert json.loads(out) == {"file": str(path), "records": 800, "seed": 1, "truth": str(truth_file)}
    assert len(path.read_text().splitlines()) == 801
    assert json.loads(truth_file.read_text())["rows"]["bronze.events"] == 800


def test_an_unknown_topic_names_the_topics_there_are(
    topic: str, produce: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", "nosuch")
    code, _, err = produce("--events", "10")
    assert code == 1
    assert "'nosuch'" in err
    assert topic in err


def test_no_broker_gives_a_message_in_bounded_time(produce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "1")
    code, _, err = produce("--events", "10")
    assert code == 1
    assert err.startswith("error: no Kafka broker answers at 127.0.0.1:1 within 1 s")
    assert "Traceback" not in err


def test_the_embedded_broker_that_was_never_started(produce: Any) -> None:
    code, _, err = produce("--events", "10")
    assert code == 1, "it may be there at the next try"
    assert "python kafka/broker.py start" in err


def test_records_that_the_broker_refuses_are_counted(
    broker: str, topic: str, produce: Any, tmp_path: Path,
) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "200"})])
    truth_file = tmp_path / "truth.json"
    code, out, err = produce("--events", "50", *HISTORY, "--truth", truth_file, "--json")
    assert code == 1
    result = json.loads(out)
    assert result["errors"] == result["sent"] - result["acknowledged"] > 0
    assert f"{result['errors']} of {result['sent']} records sent were not delivered" in err
    assert result["acknowledged"] == len(read_topic(broker, topic))
    assert not truth_file.exists(), "there are no right answers to a sending that failed"


def test_ctrl_c_ends_with_everything_accounted_for(broker: str, topic: str, tmp_path: Path) -> None:
    truth_file = tmp_path / "truth.json"
    argv = ["--events", "5000", "--delay", "0.01", "--truth", str(truth_file), "--json"]
    process = subprocess.Popen(
        [sys.executable, str(PRODUCER), *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not read_topic(broker, topic) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["interrupted"]
    assert 0 < result["sent"] < 5000
    assert result["sent"] == result["acknowledged"] == len(read_topic(broker, topic))
    assert json.loads(truth_file.read_text())["rows"]["bronze.events"] == result["sent"]


TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(("argv", "message"), [
    (["--events", "10", "--from", "2026-03-01"], "--from and --to go together"),
    (["--events", "10", "--from", "2026-03-01", "--to", str(TODAY + timedelta(days=1))], "is not over yet"),
    (["--events", "10", "--from", "2026-03-02", "--to", "2026-03-01"], "must not be after the last"),
    (["--events", "10", "--to-file", "data.csv"], "give --from and --to"),
    (["--events", "10", *HISTORY, "--to-file", "data.xlsx"], "ends in one of"),
    (["--events", "10", "--limit", "3"], "--limit belongs to --replay"),
    (["--events", "10", "--delay", "-1"], "--delay -1 is out of range"),
    (["--events", "10", "--seed", "-1"], "--seed -1 is negative"),
    (["--replay", "data.csv", "--truth", "truth.json"], "--truth belong to a simulation"),
    (["--events", "10", "--promotions", "plan.csv"], "--promotions are those of a history"),
    (["--events", "10", "--from", "2026-03-09", "--to", "2026-03-01", "--promotions", "plan.csv"],
     "must not be after the last"),
])
def test_wrong_usage_exits_2(
    produce: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str], message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = produce(*argv)
    assert code == 2
    assert message in err


def test_missing_folders_are_made(produce: Any, tmp_path: Path) -> None:
    file, truth = tmp_path / "data" / "history.csv", tmp_path / "answers" / "of" / "it.json"
    assert produce("--events", "10", *HISTORY, "--to-file", file, "--truth", truth)[0] == 0
    assert file.is_file()
    assert truth.is_file()


def test_a_file_where_a_folder_should_be_is_named(produce: Any, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    code, out, err = produce("--events", "10", *HISTORY, "--to-file", tmp_path / "data" / "history.csv")
    assert (code, out) == (1, "")
    assert f"error: File exists: {tmp_path / 'data'}; check" in err


@pytest.mark.parametrize("argv", [
    [], ["--events", "0"], ["--events", "many"], ["--events", "1", "--replay", "x"], ["--events", "1", "--to", "May"]])
def test_wrong_flags_exit_2(produce: Any, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        produce(*argv)
    assert ended.value.code == 2


@pytest.mark.parametrize(("argv", "message"), [
    (["--replay", "absent.csv"], "No such file"), (["--replay", "absent.csv", "--source", "oracle"], "online_retail")])
def test_wrong_files_exit_1(produce: Any, argv: list[str], message: str) -> None:
    code, _, err = produce(*argv)
    assert code == 1
    assert message in err


def test_each_acknowledged_record_is_written_down(broker: str, topic: str, produce: Any, tmp_path: Path) -> None:
    acks = tmp_path / "not" / "there" / "acks.csv"
    assert produce("--events", "300", *HISTORY, "--seed", "5", "--acks", acks)[0] == 0
    written = list(csv.reader(acks.read_text().splitlines()))
    sent = {(record.partition, record.offset): json.loads(record.value).get("event_id")
            for record in read_topic(broker, topic) if record.value.startswith(b'{"') and record.value.endswith(b"}")}
    assert len(written) == 300
    named = {(int(partition), int(offset)): event_id for partition, offset, event_id in written}
    assert len(named) == 300
    known = {place: event_id for place, event_id in sent.items() if event_id}
    assert len(known) > 100
    assert {place: named[place] for place in known} == known

    file = tmp_path / "data.csv"
    file.write_text(EVENTS_CSV)
    assert produce("--replay", file, "--acks", acks)[0] == 0
    replayed = {(record.partition, record.offset): hashlib.sha256(record.value).hexdigest()
                for record in read_topic(broker, topic) if record.value.startswith(b"this")}
    rows = {(int(partition), int(offset)): identity for partition, offset, identity in csv.reader(acks.open())}
    assert len(rows) == 4, "a new sending starts a new account"
    assert replayed.items() <= rows.items()


def test_a_killed_producer_leaves_what_was_acknowledged(broker: str, topic: str, tmp_path: Path) -> None:
    acks = tmp_path / "acks.csv"
    process = subprocess.Popen([sys.executable, str(PRODUCER), "--events", "100000", *HISTORY, "--acks", str(acks)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (acks.exists() and acks.stat().st_size > 50_000):
        time.sleep(0.02)
    process.kill()
    process.wait()
    records = read_topic(broker, topic)
    places = {(record.partition, record.offset) for record in records}
    written = [line.split(",") for line in acks.read_text().splitlines()[:-1]]  # the last may be cut
    assert 1000 < len(written) <= len(records) < 100_000
    assert {(int(partition), int(offset)) for partition, offset, _ in written} <= places
    assert len(records) - len(written) < 20_000, "what was acknowledged is written down at once"


def test_an_account_that_cannot_be_written_is_no_success(broker: str, topic: str, produce: Any) -> None:
    code, out, err = produce("--events", "50", *HISTORY, "--acks", "/dev/full", "--json")
    assert code == 1
    assert json.loads(out)["acknowledged"] == 0
    assert "No space left on device" in err


def test_promotions_of_the_history_and_the_week_after_it(produce: Any, tmp_path: Path) -> None:
    file, plan, truth_file = (tmp_path / name for name in ("data.csv", "plan/of/it.csv", "truth.json"))
    assert produce("--events", "500", *HISTORY, "--to-file", file, "--promotions", plan, "--truth", truth_file)[0] == 0
    with plan.open() as rows:
        promotions = list(csv.DictReader(rows))
    first, last = date.fromisoformat(HISTORY[1]), date.fromisoformat(HISTORY[3])
    assert {date.fromisoformat(row["from_date"]) for row in promotions} >= {first, last + timedelta(days=7)}
    assert max(row["to_date"] for row in promotions) == str(last + timedelta(days=7))
    demand = json.loads(truth_file.read_text())["demand"]
    planned = {(row["product_id"], first + timedelta(days=number)) for row in promotions
               for number in range((last - first).days + 1)
               if row["from_date"] <= str(first + timedelta(days=number)) <= row["to_date"]}
    assert {(row[1], date.fromisoformat(row[0])) for row in demand if row[4]} == planned
