"""kafka/consumer.py against a real broker."""

import json
import runpy
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from shoplake.settings import PROJECT_ROOT

CONSUMER = PROJECT_ROOT / "kafka" / "consumer.py"


@pytest.fixture
def consume(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def consume(*argv: str) -> tuple[int, str, str]:
        code: int = runpy.run_path(str(CONSUMER))["main"](list(argv))
        output = capsys.readouterr()
        return code, output.out, output.err

    return consume


@pytest.fixture
def filled_topic(broker: str, topic: str) -> str:
    """Seven records: five good ones in partition 0, one that is no UTF-8 in 1, one with a header and no key in 2."""
    from kafka import KafkaProducer

    with closing(KafkaProducer(bootstrap_servers=broker)) as producer:
        for number in range(5):
            producer.send(topic, f'{{"café":{number}}}'.encode(), b"u1", partition=0, timestamp_ms=1000 + number)
        producer.send(topic, b"\xff", b"u2", partition=1, timestamp_ms=1)
        producer.send(topic, b"x", partition=2, timestamp_ms=2, headers=[("replay_of", b"a/0/1")])
        producer.flush(timeout=30)
    return topic


def test_events_and_lag(filled_topic: str, consume: Any) -> None:
    code, out, _ = consume("--timeout", "1")
    assert code == 0
    *lines, lag_0, lag_1, lag_2, total = out.splitlines()
    messages = {(message["partition"], message["offset"]): message for message in map(json.loads, lines)}
    assert len(messages) == len(lines) == 7
    assert messages[0, 3] == {"partition": 0, "offset": 3, "timestamp_ms": 1003, "key": "u1", "value": '{"café":3}'}
    assert messages[1, 0]["value"] == "\\xff"
    assert messages[2, 0] == {
        "partition": 2, "offset": 0, "timestamp_ms": 2, "key": None, "value": "x", "headers": {"replay_of": "a/0/1"}}
    assert [lag_0, lag_1, lag_2] == ["partition 0: lag 0", "partition 1: lag 0", "partition 2: lag 0"]
    assert total.endswith(": 0")


def test_it_goes_on_where_it_ended_and_begins_again_when_told(filled_topic: str, consume: Any) -> None:
    first = json.loads(consume("--max-messages", "3", "--json")[1])
    assert len(first["messages"]) == 3
    assert sum(first["lag"].values()) == 4
    second = json.loads(consume("--timeout", "1", "--json")[1])
    assert len(second["messages"]) == 4
    seen = {(message["partition"], message["offset"]) for message in first["messages"] + second["messages"]}
    assert len(seen) == 7
    assert json.loads(consume("--timeout", "1", "--json")[1])["messages"] == []
    again = json.loads(consume("--timeout", "1", "--from-beginning", "--json")[1])
    assert len(again["messages"]) == 7
    assert again["topic"] == filled_topic


def test_an_empty_topic_has_no_events_and_no_lag(topic: str, consume: Any) -> None:
    code, out, _ = consume("--timeout", "0.5", "--json")
    assert code == 0
    assert json.loads(out) == {
        "topic": topic, "group": f"group_{topic}", "messages": [], "lag": {"0": 0, "1": 0, "2": 0}}


def test_an_unknown_topic(topic: str, consume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", "nosuch")
    code, _, err = consume()
    assert code == 1
    assert topic in err


def test_no_broker(consume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "2")
    code, _, err = consume()
    assert code == 1
    assert err.startswith("error: no Kafka broker answers at 127.0.0.1:1")
    assert "Traceback" not in err


@pytest.mark.parametrize("argv", [("--max-messages", "0"), ("--timeout", "0")])
def test_values_out_of_range(consume: Any, argv: tuple[str, ...]) -> None:
    code, _, err = consume(*argv)
    assert code == 2
    assert "out of range" in err
