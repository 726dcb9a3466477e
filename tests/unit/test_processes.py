"""Ports, states and ends of servers."""

import os
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


CHILD_OF_ITS_OWN_GROUP = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_marked_processes_are_found_and_ended_with_orphans_and_the_deaf() -> None:
    mark = uuid.uuid4().hex
    parent = subprocess.Popen([sys.executable, "-c", CHILD_OF_ITS_OWN_GROUP], env={**os.environ, "TEST_MARK": mark},
                              stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())

    marked = processes.find_marked("TEST_MARK", mark)
    assert {process.pid for process in marked} == {parent.pid, child}
    processes.end_processes(marked, timeout=1)

    parent.wait()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
