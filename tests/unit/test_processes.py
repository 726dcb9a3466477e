"""Ports, states and ends of servers."""

import os
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from shoplake import processes
from shoplake.errors import ConfigError


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert processes.is_listening(port)
        assert processes.find_free_port(port, "kafka.port") > port
    assert processes.find_free_port(port, "kafka.port") == port


def test_no_free_port_is_told() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 65535))
        taken.listen()
        with pytest.raises(ConfigError, match="SHOPLAKE_KAFKA__PORT"):
            processes.find_free_port(65535, "kafka.port")


def test_a_state_names_a_process_not_a_number(tmp_path: Path) -> None:
    state = processes.describe_server(os.getpid(), 9092)
    processes.write_state(tmp_path / "server.json", state)

    read = processes.read_state(tmp_path / "server.json")

    assert read == state
    process = state.find_process()
    assert process is not None
    assert process.pid == os.getpid()
    reused = replace(state, process_created=state.process_created - 100)
    assert reused.find_process() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', '{"pid": 1, "surprise": 2}'])
def test_a_damaged_state_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert processes.read_state(tmp_path / "server.json") is None


def test_the_tail_starts_where_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("old\n" + "".join(f"line {number}\n" for number in range(20)))
    assert processes.read_tail(log, 4, lines=2) == "line 18\nline 19"
    assert "old" not in processes.read_tail(log, 4, lines=100)


DEAF_WITH_CHILDREN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
wait = [sys.executable, "-c", "import time; time.sleep(60)"]
left = subprocess.Popen(wait, start_new_session=True)
stayed = subprocess.Popen(wait, env={})
print(left.pid, stayed.pid, flush=True)
time.sleep(60)
"""


def test_members_are_found_and_ended_with_orphans_and_the_deaf() -> None:
    mark = uuid.uuid4().hex
    leader = subprocess.Popen([sys.executable, "-c", DEAF_WITH_CHILDREN], env={**os.environ, "TEST_MARK": mark},
                              stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leader.stdout is not None
    left, stayed = (int(word) for word in leader.stdout.readline().split())
    state = processes.describe_server(leader.pid, 9092)

    def find() -> set[int]:
        return {process.pid for process in processes.find_members([state], "TEST_MARK", mark)}

    assert find() == {leader.pid, left, stayed}
    leader.kill()
    leader.wait()
    assert find() == {left, stayed}, "one by its environment, one by its session"
    processes.end_processes(processes.find_members([state], "TEST_MARK", mark), timeout=5)
    assert find() == set()


def test_a_process_that_does_not_hear_is_killed() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    processes.end_server(processes.describe_server(process.pid, 9092), timeout=0.5)
    process.wait()
    assert not psutil.pid_exists(process.pid)


def test_a_reused_pid_is_no_member() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    state = processes.describe_server(other.pid, 9092)
    stale = replace(state, process_created=state.process_created - 100)
    try:
        assert [member.pid for member in processes.find_members([state], "TEST_MARK", uuid.uuid4().hex)] == [other.pid]
        assert processes.find_members([stale], "TEST_MARK", uuid.uuid4().hex) == []
    finally:
        other.kill()
        other.wait()


def start_something(sent: signal.Signals, passed: list[str]) -> None:
    with processes.deferred_interrupts() as allow_interrupts:
        os.kill(os.getpid(), sent)
        passed.append("the start")
        allow_interrupts()
        passed.append("what comes after it")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_it_may_interrupt(sent: signal.Signals) -> None:
    before, passed = signal.getsignal(sent), list[str]()
    with pytest.raises(KeyboardInterrupt):
        start_something(sent, passed)
    assert passed == ["the start"]
    assert signal.getsignal(sent) is before
