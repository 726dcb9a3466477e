"""Ports, states and configuration of the embedded broker."""

import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from shoplake import embedded_broker
from shoplake.errors import ConfigError


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert embedded_broker.is_listening(port)
        assert embedded_broker.find_free_port(port) > port
    assert embedded_broker.find_free_port(port) == port


def test_no_free_port_is_told() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 65535))
        taken.listen()
        with pytest.raises(ConfigError, match="SHOPLAKE_KAFKA__PORT"):
            embedded_broker.find_free_port(65535)


def test_a_state_names_a_process_not_a_number(tmp_path: Path) -> None:
    state = embedded_broker.describe_process(os.getpid(), 9092, 9093)
    embedded_broker.write_state(tmp_path / "broker.json", state)

    read = embedded_broker.read_state(tmp_path / "broker.json")

    assert read == state
    process = state.find_process()
    assert process is not None
    assert process.pid == os.getpid()
    reused = replace(state, process_created=state.process_created - 100)
    assert reused.find_process() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', '{"pid": 1, "surprise": 2}'])
def test_a_damaged_state_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "broker.json").write_text(text)
    assert embedded_broker.read_state(tmp_path / "broker.json") is None


def test_every_address_is_loopback() -> None:
    text = embedded_broker.render_properties(9092, 9093, Path("/data/log"))
    assert set(re.findall(r"[\w.]+(?=:\d)", text)) - {"1"} == {"127.0.0.1"}


def test_cluster_ids_have_kafkas_form_and_differ() -> None:
    ids = {embedded_broker.make_cluster_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", cluster_id) for cluster_id in ids)


def test_the_tail_starts_where_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text("old\n" + "".join(f"line {number}\n" for number in range(20)))
    assert embedded_broker.read_tail(log, 4, lines=2) == "line 18\nline 19"
    assert "old" not in embedded_broker.read_tail(log, 4, lines=100)
