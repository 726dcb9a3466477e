"""The link to the broker is cut for half a minute, in the middle of sending and of streaming."""

import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shoplake import embedded_broker
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
    """A TCP proxy on loopback that can be cut: what is on its way is lost, and nobody is let in."""

    def __init__(self, port: int, target: int) -> None:
        self._address, self._target = (HOST, port), target
        self._open: set[socket.socket] = set()
        self.mend()

    def mend(self) -> None:
        """Let everybody in."""
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
                far = socket.create_connection((HOST, self._target))
            except OSError:
                return
            self._open |= {near, far}
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while True:
                for end in select.select([near, far], [], [])[0]:
                    said = end.recv(1 << 16)
                    if not said:
                        return
                    (far if end is near else near).sendall(said)
        except (OSError, ValueError):
            return
        finally:
            for end in (near, far):
                end.close()
                self._open.discard(end)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[tuple[Link, str]]:
    """Give a link to a broker of the test's own that sends everybody over the link, and the link's address."""
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
    with (tmp_path / "broker.log").open("wb") as output:
        broker = subprocess.Popen(embedded_broker.broker_command(java, jars, properties), cwd=tmp_path, stdout=output,
                                  stderr=output)
    try:
        wait_until(lambda: is_listening(port), 60)
        made = Link(door, port)
        yield made, f"{HOST}:{door}"
        made.cut()
    finally:
        broker.kill()
        broker.wait()


def wait_until(has_come: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not has_come():
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_a_link_cut_for_half_a_minute(
    link: tuple[Link, str], make_pipeline: "Callable[..., Pipeline]", draw: random.Random,
) -> None:
    """The producer sends all in the end; the stream goes on by itself, or stops loudly and the next one goes on."""
    door, address = link
    pipeline = make_pipeline(address, KAFKA__DELIVERY_TIMEOUT="120", SPARK__TRIGGER_INTERVAL="1")
    stream = pipeline.start(STREAM, "--stop-after", "3600", log="stream.log")
    sending = pipeline.start_producing(EVENTS, draw.randrange(2**32), "--delay", "0.01")
    wait_until(lambda: pipeline.count_offsets() > 250, 600)
    door.cut()
    time.sleep(SECONDS)
    taken_in = pipeline.count_offsets()
    assert sending.poll() is None, pipeline.tail()
    door.mend()
    assert sending.wait(300) == 0, pipeline.tail()
    pipeline.end_producing()
    assert pipeline.acks.total() == EVENTS
    wait_until(lambda: stream.poll() is not None or pipeline.count_offsets() == EVENTS, 600)
    print(f"{taken_in} taken in at the cut, {pipeline.count_offsets()} after it; stream: {stream.poll()}")
    assert stream.poll() in (None, 1), pipeline.tail("stream.log")
    pipeline.kill(stream)
    pipeline.finish()
