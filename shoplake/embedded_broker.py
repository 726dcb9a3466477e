"""The embedded broker's configuration and commands, and the file in which it says that it runs.

Nothing here starts a broker or speaks Kafka: kafka/broker.py does.
"""

import base64
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from shoplake.errors import ConfigError

HOST = "127.0.0.1"
_LAST_PORT = 65535
# Ready in 2 s, with 300 MB and little CPU. The log holds what went wrong, and no more: it is never rotated.
_JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN")


@dataclass(frozen=True)
class BrokerState:
    """One broker process: where it listens, and the create time (UNIX seconds) that tells it from a reused pid."""

    pid: int
    process_created: float
    port: int
    controller_port: int
    started_at: str

    @property
    def address(self) -> str:
        """The bootstrap address."""
        return f"{HOST}:{self.port}"

    def find_process(self) -> psutil.Process | None:
        """Give the broker's process; None when it ended or its pid belongs to another process now."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.process_created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if is_same else None


def describe_process(pid: int, port: int, controller_port: int) -> BrokerState:
    """Describe the running process `pid` as a broker."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    return BrokerState(pid, psutil.Process(pid).create_time(), port, controller_port, started_at)


def end_process(state: BrokerState, timeout: float) -> None:
    """Ask the broker to end, so that it writes its data down; kill it when it does not within `timeout` seconds."""
    process = state.find_process()
    if process is None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout)


def read_state(file: Path) -> BrokerState | None:
    """Read a state file; None when there is none, or none that can be read (a broker writes it whole or not at all)."""
    try:
        return BrokerState(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_state(file: Path, state: BrokerState) -> None:
    """Write the state file in one step: a reader sees the old one or the new one."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(state)))
    part.replace(file)


def find_free_port(first: int) -> int:
    """Give the first port from `first` on that nobody listens on.

    Raises:
        ConfigError: none is free.
    """
    for port in range(first, _LAST_PORT + 1):
        with socket.socket() as probe:
            # As Kafka does: a port of which only closed connections linger is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ConfigError(
        f"no port is free from {first} to {_LAST_PORT}; set a lower kafka.port (SHOPLAKE_KAFKA__PORT)")


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def make_cluster_id() -> str:
    """Make a new cluster id in Kafka's form: a UUID in 22 characters of base64, never with a dash in front."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def render_properties(port: int, controller_port: int, log_dir: Path) -> str:
    """Give server.properties of one node that is broker and controller, on loopback only."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(log_dir),
        # A misspelt topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        "num.partitions": "3",
        # For ever, and nothing dated beyond now + 5 min: see kafka/topics.yaml.
        "log.retention.ms": "-1",
        "log.message.timestamp.after.max.ms": "300000",
        # One node, one copy; one partition of each internal topic instead of 50 keeps the start and the disk small.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # Each open segment reserves two index files of this size (10 MiB by default).
        "log.index.size.max.bytes": str(1024 * 1024),
        # A consumer that starts alone need not wait for others.
        "group.initial.rebalance.delay.ms": "0",
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def format_command(java: Path, jars: Path, properties_file: Path) -> list[str]:
    """Give the command that formats an empty log folder, under a new cluster id."""
    return [str(java), *_JVM_OPTIONS, "-cp", _class_path(jars), "kafka.tools.StorageTool", "format",
            "--cluster-id", make_cluster_id(), "--config", str(properties_file)]


def broker_command(java: Path, jars: Path, properties_file: Path) -> list[str]:
    """Give the command that runs the broker in the foreground."""
    return [str(java), *_JVM_OPTIONS, "-cp", _class_path(jars), "kafka.Kafka", str(properties_file)]


def _class_path(jars: Path) -> str:
    return f"{jars}{os.sep}*"


def read_tail(log: Path, start: int, lines: int = 12) -> str:
    """Give the last lines that `log` got after byte `start`."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])
