"""The link to the broker fails: cut for half a minute while streaming, or its answers lost before the broker dies."""

import hashlib
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lake_oracle import payloads_of

from shoplake import embedded_broker
from shoplake.contract import tables
from shoplake.installation import locate_installation
from shoplake.java import find_java
from shoplake.processes import HOST, find_free_port, is_listening

if TYPE_CHECKING:
    from conftest import Pipeline

pytestmark = pytest.mark.faults
STREAM = "spark/streaming_pipeline.py"
SECONDS = 30
EVENTS = 9000  # for a minute and a half: the stream has to start meanwhile


class Link:
    """A TCP proxy on loopback that can be cut: what is on its way is lost, and nobody is let in.

    Attributes:
        loses_answers: what the target says is thrown away.
    """

    def __init__(self, port: int, target: int) -> None:
        self._address, self._target = (HOST, port), target
        self._open: set[socket.socket] = set()
        self.mend()

    @property
    def address(self) -> str:
        """Where it takes connections."""
        return f"{self._address[0]}:{self._address[1]}"

    def mend(self) -> None:
        """Let everybody in, and everything through."""
        self.loses_answers = False
        self._listener = socket.create_server(self._address, backlog=64)
        threading.Thread(target=self._let_in, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End every connection, and take no other; what was under way is lost."""
        for end in (self._listener, *self._open):
            with suppress(OSError):  # it has ended by itself
                end.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it, who closes it
        self._listener.close()

    def _let_in(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self._target))
            except OSError:  # nobody is at home
                near.close()
                continue
            self._open |= {near, far}
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while True:
                for end in select.select([near, far], [], [])[0]:
                    said = end.recv(1 << 16)
                    if not said:
                        return
                    if end is near or not self.loses_answers:
                        (far if end is near else near).sendall(said)
        except (OSError, ValueError):
            return
        finally:
            for end in (near, far):
                end.close()
                self._open.discard(end)


@dataclass
class LinkedBroker:
    """A broker of the test's own that sends everybody over a link."""

    folder: Path
    command: list[str]
    port: int
    link: Link

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(self.command, cwd=self.folder, stdout=output, stderr=output)
        wait_until(lambda: is_listening(self.port), 60)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def count_bytes(self) -> int:
        """Give how much the topics hold."""
        return sum(file.stat().st_size for file in (self.folder / "log").glob("faults-*/*.log"))


@pytest.fixture
def linked_broker(tmp_path: Path) -> Iterator[LinkedBroker]:
    """Give a broker behind a link."""
    jars = locate_installation(Path(sys.prefix)).kafka_jars
    java = find_java(os.environ, locate_installation(Path(sys.prefix)).bundled_java).java.command
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    port = find_free_port(33000 + 100 * worker, "a test's port")
    controller, door = (find_free_port(port + step, "a test's port") for step in (1, 10))
    properties = tmp_path / "server.properties"
    text = embedded_broker.render_properties(port, controller, tmp_path / "log")
    advertised = f"advertised.listeners=PLAINTEXT://{HOST}:{port}"
    assert advertised in text
    properties.write_text(text.replace(advertised, f"advertised.listeners=PLAINTEXT://{HOST}:{door}"))
    embedded_broker.format_storage(java, jars, properties)
    made = LinkedBroker(tmp_path, embedded_broker.broker_command(java, jars, properties), port, Link(door, port))
    try:
        made.start()
        yield made
    finally:
        made.link.cut()
        made.kill()


def wait_until(has_come: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not has_come():
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_a_link_cut_for_half_a_minute(
    linked_broker: LinkedBroker, make_pipeline: "Callable[..., Pipeline]", draw: random.Random,
) -> None:
    """The producer sends all in the end; the stream goes on by itself, or stops loudly and the next one goes on."""
    pipeline = make_pipeline(linked_broker.link.address, KAFKA__DELIVERY_TIMEOUT="120", SPARK__TRIGGER_INTERVAL="1")
    stream = pipeline.start(STREAM, "--stop-after", "3600", log="stream.log")
    sending = pipeline.start_producing(EVENTS, draw.randrange(2**32), "--delay", "0.01")
    wait_until(lambda: pipeline.count_offsets() > 250, 600)
    linked_broker.link.cut()
    time.sleep(SECONDS)
    taken_in = pipeline.count_offsets()
    assert sending.poll() is None, pipeline.tail()
    linked_broker.link.mend()
    assert sending.wait(300) == 0, pipeline.tail()
    pipeline.end_producing()
    assert pipeline.acks.total() == EVENTS
    wait_until(lambda: stream.poll() is not None or pipeline.count_offsets() == EVENTS, 600)
    print(f"{taken_in} taken in at the cut, {pipeline.count_offsets()} after it; stream: {stream.poll()}")
    assert stream.poll() in (None, 1), pipeline.tail("stream.log")
    pipeline.kill(stream)
    pipeline.finish()


@pytest.mark.parametrize("is_old", [False, True])
def test_a_batch_whose_answer_was_lost_is_sent_again(
    linked_broker: LinkedBroker, make_pipeline: "Callable[..., Pipeline]", draw: random.Random, *, is_old: bool,
) -> None:
    """The broker has written it when it is killed. It takes a live event for what it is; an old one stands twice."""
    kinds = ("DUPLICATE", "CONFLICT_SAME_TIME", "CONFLICT_OTHER_DATE", "CORRUPT", "LATE", "FUTURE")
    pipeline = make_pipeline(linked_broker.link.address, KAFKA__DELIVERY_TIMEOUT="120",
                             SPARK__MAX_OFFSETS_PER_TRIGGER="10000",
                             **{f"SIMULATION__{kind}_SHARE": "0" for kind in kinds})
    sending = pipeline.start_producing(2500, draw.randrange(2**32), "--delay", "0.004", is_live=not is_old)
    wait_until(lambda: pipeline.count_acks() > 500, 60)
    linked_broker.link.loses_answers = True
    written = linked_broker.count_bytes()
    wait_until(lambda: linked_broker.count_bytes() > written, 60)
    linked_broker.kill()
    linked_broker.link.loses_answers = False
    linked_broker.start()
    assert sending.wait(300) == 0, pipeline.tail()
    pipeline.end_producing()
    assert pipeline.acks.total() == 2500
    pipeline.here(STREAM, "--drain")
    if is_old:
        pipeline.truth = add_copies(pipeline)
    pipeline.finish()


def add_copies(pipeline: "Pipeline") -> dict[str, Any]:
    """Give the right answers for a topic in which some records stand twice; there is at least one."""
    truth = pipeline.truth
    assert truth is not None
    once, copies = Counter(truth["bronze.events"]), []
    for row in payloads_of(pipeline.lake, tables.BRONZE_EVENTS, ["value"]):
        digest = hashlib.sha256(row["value"]).hexdigest()
        if once[digest]:
            once[digest] -= 1
        else:
            copies.append(digest)
    assert copies, "the broker knows the producer: the limit that ADR 0007 tells of is gone"
    # Every record that was sent is an event: an old device's has no event_id of its own, but a derived one.
    events = dict(zip(truth["bronze.events"], truth["silver.events"], strict=True))
    return {**truth, "bronze.events": truth["bronze.events"] + copies,
            "silver.duplicates": [events[digest][:2] for digest in copies],
            "rows": {**truth["rows"], "bronze.events": truth["rows"]["bronze.events"] + len(copies)}}
