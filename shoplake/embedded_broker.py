"""The embedded broker's configuration and commands.

Nothing here starts a broker or speaks Kafka: kafka/broker.py does.
"""

import base64
import os
import subprocess
import uuid
from pathlib import Path

from shoplake.errors import SourceError
from shoplake.processes import HOST

# Ready in 2 s, with 300 MB and little CPU. The log holds what went wrong, and no more: it is never rotated.
_JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN")


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
        # As long as Kafka can (24 days). By the time of its newest record a producer is forgotten after this, at each
        # start; a batch whose answer the restart swallowed then stands twice: docs/adr/0007-embedded-kafka.md.
        "producer.id.expiration.ms": str(2**31 - 1),
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


def format_storage(java: Path, jars: Path, properties_file: Path) -> None:
    """Format the empty log folder that the properties name, under a new cluster id.

    Raises:
        SourceError: it cannot be formatted; the message ends with what Kafka said.
    """
    done = subprocess.run(
        [str(java), *_JVM_OPTIONS, "-cp", _class_path(jars), "kafka.tools.StorageTool", "format",
         "--cluster-id", make_cluster_id(), "--config", str(properties_file)],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise SourceError(f"the broker's data folder {properties_file.parent} cannot be formatted: {said}")


def broker_command(java: Path, jars: Path, properties_file: Path) -> list[str]:
    """Give the command that runs the broker in the foreground."""
    return [str(java), *_JVM_OPTIONS, "-cp", _class_path(jars), "kafka.Kafka", str(properties_file)]


def _class_path(jars: Path) -> str:
    return f"{jars}{os.sep}*"
