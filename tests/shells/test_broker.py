"""kafka/broker.py against real brokers: each test starts its own and leaves none behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import InvalidTimestampError

from shoplake.settings import PROJECT_ROOT

SHELL = PROJECT_ROOT / "kafka" / "broker.py"
TOPIC = "ecommerce_events"


@pytest.fixture(autouse=True)
def _no_broker_is_left(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Away from 9092 and from the session's broker.
    monkeypatch.setenv("SHOPLAKE_KAFKA__PORT", "39092")
    yield
    left = find_brokers(data_dir)
    for process in left:
        process.kill()
    state = data_dir / "kafka" / "broker.json"
    assert not (left and not state.exists()), f"an orphan: {left}"


def find_brokers(data_dir: Path) -> list[psutil.Process]:
    """Give the Kafka processes that work in `data_dir`."""
    # psutil leaves a process out once when it remembers another by its pid, and a long run comes round to old pids.
    psutil.process_iter.cache_clear()
    return [process for process in psutil.process_iter(["cmdline"])
            if "kafka.Kafka" in (process.info["cmdline"] or []) and str(data_dir) in " ".join(process.info["cmdline"])]


def start_shell(action: str, *flags: str, **environment: str) -> "subprocess.Popen[str]":
    # A job that a shell put into the background ignores Ctrl-C, and so would all that it starts.
    return subprocess.Popen(
        [sys.executable, str(SHELL), action, *flags], env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def run_shell(action: str, *flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    process = start_shell(action, *flags, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def run_json(action: str, **environment: str) -> dict[str, Any]:
    done = run_shell(action, "--json", **environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def topic_id(address: str) -> str:
    client = KafkaAdminClient(bootstrap_servers=address)
    try:
        return str(client.describe_topics([TOPIC])[0]["topic_id"])
    finally:
        client.close()


def read_values(address: str) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=5000)
    try:
        partitions = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC)]
        consumer.assign(partitions)
        wanted = sum(consumer.end_offsets(partitions).values())
        values: list[bytes] = []
        while len(values) < wanted:
            values.append(next(consumer).value)
        return values
    finally:
        consumer.close()


def test_a_life_of_a_broker(data_dir: Path) -> None:
    assert run_shell("status").returncode == 1

    first = run_json("start")
    again = run_json("start")
    assert (first["status"], again["status"]) == ("started", "already running")
    assert again["pid"] == first["pid"]
    assert len(find_brokers(data_dir)) == 1
    assert run_json("status")["address"] == first["address"]

    # It listens on loopback, and nowhere else.
    connections = psutil.Process(first["pid"]).net_connections()
    hosts = {connection.laddr.ip.removeprefix("::ffff:") for connection in connections
             if connection.status == psutil.CONN_LISTEN}
    assert hosts == {"127.0.0.1"}

    # The topic is as kafka/topics.yaml says, and a record's time is judged as the contract says.
    producer = KafkaProducer(bootstrap_servers=first["address"], acks="all", api_version=(3, 9))
    now = int(time.time() * 1000)
    producer.send(TOPIC, b"now", timestamp_ms=now).get(30)
    producer.send(TOPIC, b"2010", timestamp_ms=1_291_161_600_000).get(30)
    producer.send(TOPIC, b"in 4 minutes", timestamp_ms=now + 4 * 60_000).get(30)
    with pytest.raises(InvalidTimestampError):
        producer.send(TOPIC, b"in 6 minutes", timestamp_ms=now + 6 * 60_000).get(30)
    producer.close()
    assert len(KafkaConsumer(TOPIC, bootstrap_servers=first["address"]).partitions_for_topic(TOPIC)) == 3
    identity = topic_id(first["address"])

    assert run_json("stop")["status"] == "stopped"
    assert run_json("stop")["status"] == "stopped"
    assert find_brokers(data_dir) == []
    assert not (data_dir / "kafka" / "broker.json").exists()

    # Its old port is taken now: it moves, with all its data.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(first["address"].rsplit(":", 1)[1])))
        taken.listen()
        moved = run_json("start")
        assert moved["address"] != first["address"]
        assert sorted(read_values(moved["address"])) == [b"2010", b"in 4 minutes", b"now"]
        assert topic_id(moved["address"]) == identity

        # kill -9: what was acknowledged is there, and the state file deceives nobody.
        os.kill(moved["pid"], signal.SIGKILL)
        psutil.wait_procs(find_brokers(data_dir), timeout=10)
        assert (data_dir / "kafka" / "broker.json").exists()
        assert run_shell("status").returncode == 1
        risen = run_json("start")
        assert sorted(read_values(risen["address"])) == [b"2010", b"in 4 minutes", b"now"]
    run_json("stop")


def test_two_starts_at_once_make_one_broker(data_dir: Path) -> None:
    shells = [start_shell("start", "--json") for _ in range(2)]
    results = [json.loads(shell.communicate(timeout=120)[0]) for shell in shells]

    assert sorted(result["status"] for result in results) == ["already running", "started"]
    assert results[0]["pid"] == results[1]["pid"]
    assert len(find_brokers(data_dir)) == 1
    run_json("stop")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_an_interrupted_start_leaves_nothing(data_dir: Path, sent: signal.Signals, code: int) -> None:
    shell = start_shell("start")
    wait_for(lambda: find_brokers(data_dir), "the broker to be launched")

    shell.send_signal(sent)
    _, err = shell.communicate(timeout=60)

    assert shell.returncode == code
    assert "Traceback" not in err
    assert find_brokers(data_dir) == []
    assert not (data_dir / "kafka" / "broker.json").exists()


def test_a_killed_start_is_cleared_by_the_next(data_dir: Path) -> None:
    shell = start_shell("start")
    launching = data_dir / "kafka" / "launching.json"
    wait_for(launching.exists, "the broker to be launched")
    left = json.loads(launching.read_text())["pid"]
    shell.kill()
    shell.communicate()

    result = run_json("start")

    log = (data_dir / "kafka" / "broker.log").read_text()[-2000:]
    assert [process.pid for process in find_brokers(data_dir)] == [result["pid"]], log
    assert result["pid"] != left
    run_json("stop")


def test_a_start_that_fails_shows_the_log_and_leaves_nothing(data_dir: Path) -> None:
    run_json("start")
    run_json("stop")
    log_dir = data_dir / "kafka" / "log"
    (log_dir / "meta.properties").write_text("version=1\nnode.id=77\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")

    done = run_shell("start")

    assert done.returncode == 1
    assert str(data_dir / "kafka" / "broker.log") in done.stderr
    assert "77" in done.stderr
    assert "Traceback" not in done.stderr
    assert find_brokers(data_dir) == []


def test_an_answer_that_comes_too_late_is_a_failure(data_dir: Path) -> None:
    done = run_shell("start", SHOPLAKE_KAFKA__START_TIMEOUT="1")

    assert done.returncode == 1
    assert "kafka.start_timeout" in done.stderr
    assert find_brokers(data_dir) == []


def test_an_external_broker_is_looked_at_but_not_started() -> None:
    address = {"SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    for action in ("start", "stop"):
        done = run_shell(action, **address)
        assert done.returncode == 2
        assert "127.0.0.1:1" in done.stderr
    status = run_shell("status", "--json", **address)
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"status": "unreachable", "running": False, "address": "127.0.0.1:1"}


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_shell("start", SHOPLAKE_DATA_DIR=str(tmp_path / "file"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def wait_for(condition: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def test_topics_are_made_on_a_broker_that_lacks_them() -> None:
    address = run_json("start")["address"]
    elsewhere = {"SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": address}
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        admin.delete_topics([TOPIC])
        wait_until_gone(admin, TOPIC)
        made = run_json("topics", **elsewhere)
        assert made == {"address": address, "created": [TOPIC]}
        assert run_json("topics")["created"] == []
        assert TOPIC in admin.list_topics()
    finally:
        admin.close()
        run_json("stop")


def test_topics_on_a_broker_that_is_not_there() -> None:
    done = run_shell("topics", SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.returncode == 1
    assert "no broker answers on 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def wait_until_gone(admin: KafkaAdminClient, topic: str) -> None:
    for _ in range(50):
        if topic not in admin.list_topics():
            return
        time.sleep(0.1)
    raise AssertionError(f"{topic} is still there")
