"""The services of docker-compose.yml, outside containers: each one's very command and environment, addresses moved."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from shoplake import processes
from shoplake.installation import Installation, locate_installation
from shoplake.java import find_java
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

FILE = PROJECT_ROOT / "docker" / "docker-compose.yml"
IN_THE_IMAGE = "/opt/shoplake"
# What Kafka's image brings, as far as its configuring program wants it; the broker must not become node 7.
LOGGING = "Configuration: {Appenders: {}, Loggers: {Root: {level: WARN, AppenderRef: []}, Logger: []}}\n"
IMAGE_DEFAULTS = {"server.properties": "node.id=7\n", "log4j2.yaml": LOGGING, "tools-log4j2.yaml": LOGGING}


@dataclass(frozen=True)
class Compose:
    """The compose file; `moved` says what each piece of a command or value is outside a container, in this order."""

    services: Mapping[str, Mapping[str, Any]]
    moved: dict[str, str] = field(default_factory=dict)

    def move(self, text: str) -> str:
        """Replace container paths and addresses."""
        for inside, outside in self.moved.items():
            text = text.replace(inside, outside)
        return text

    def command(self, name: str) -> list[str]:
        """Give a service's command."""
        return [self.move(word) for word in self.services[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """Give a service's environment over the machine's, without what the machine sets of ours or of Airflow's."""
        machine = {key: value for key, value in os.environ.items()
                   if not key.startswith((ENV_PREFIX, "AIRFLOW", "JUPYTER", "PYTEST"))}
        own = {key: self.move(value) for key, value in self.services[name].get("environment", {}).items()}
        return {**machine, **own}

    def run(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a one-shot service, or another command in a service's environment."""
        return subprocess.run(
            command or self.command(name), cwd=PROJECT_ROOT, env=self.environment(name), capture_output=True, text=True)

    def start(self, name: str, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start a service, as a process group of its own."""
        return subprocess.Popen(self.command(name), cwd=PROJECT_ROOT, env=self.environment(name), stdout=log,
                                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def check_health(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run a service's own health check once."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(name, *map(self.move, words))

    def wait_until_healthy(self, name: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float) -> None:
        """Wait as Docker does, with the service's own check."""
        deadline = time.monotonic() + seconds
        while (check := self.check_health(name)).returncode != 0:
            assert process.poll() is None, f"{name} ended: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {check.stderr}\n{log.read_text()[-3000:]}"
            time.sleep(0.5)


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Give the compose file as it stands."""
    return Compose(yaml.safe_load(FILE.read_text())["services"])


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Give `port()`: another free port of loopback each time, away from those of the other tests."""
    last = 45000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])

    def port() -> int:
        nonlocal last
        last = processes.find_free_port(last + 1, "a test's port")
        return last

    return port


@pytest.fixture(scope="session")
def moved(compose: Compose, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Compose:
    """Give the compose file with every path in a folder of its own and every address on a free port of loopback."""
    root = tmp_path_factory.mktemp("containers")
    for folder in ("airflow", "jupyter", "postgres"):
        (root / "secrets" / folder).mkdir(parents=True)
    internal, host = free_port(), free_port()
    return Compose(compose.services, {
        "0.0.0.0": processes.HOST,
        IN_THE_IMAGE: str(PROJECT_ROOT),
        "/var/lib/kafka/data": str(root / "kafka-log"),
        "/secrets": str(root / "secrets"),
        "/data": str(root / "data"),
        "kafka:29092": f"{processes.HOST}:{internal}",
        ":29093": f":{free_port()}",
        ":29092": f":{internal}", "/29092": f"/{internal}",
        ":9092": f":{host}", "/9092": f"/{host}",
        "8501": str(free_port()),
    })


@pytest.fixture(scope="session")
def run_until_the_end() -> Iterator[Callable[["subprocess.Popen[bytes]"], None]]:
    """Give `keep(process)`: at the session's end the process and all that it started are ended."""
    kept: list[subprocess.Popen[bytes]] = []
    yield kept.append
    for process in reversed(kept):
        for wish in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, wish)
                process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


@dataclass(frozen=True)
class Kafka:
    """The broker of the compose file: its address for containers, and for programs on this machine."""

    internal: str
    host: str


@pytest.fixture(scope="session")
def kafka(
    moved: Compose, tmp_path_factory: pytest.TempPathFactory,
    run_until_the_end: Callable[["subprocess.Popen[bytes]"], None],
) -> Kafka:
    """Start the service kafka: its image's own program makes the properties from the KAFKA_ variables."""
    places: Installation = locate_installation(Path(shutil.which("python") or "").parents[1])
    java = [str(find_java(os.environ, places.bundled_java).java.command), "-Xmx512m", "-XX:TieredStopAtLevel=1",
            "-cp", f"{places.kafka_jars}/*"]
    folder = tmp_path_factory.mktemp("kafka-image")
    for name in ("default", "mounted", "final"):
        (folder / name).mkdir()
    for name, text in IMAGE_DEFAULTS.items():
        (folder / "default" / name).write_text(text)
    # The image's start script gives this id where none is set.
    environment = {**moved.environment("kafka"), "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw"}
    setup = subprocess.run(
        [*java, "kafka.docker.KafkaDockerWrapper", "setup", "--default-configs-dir", str(folder / "default"),
         "--mounted-configs-dir", str(folder / "mounted"), "--final-configs-dir", str(folder / "final")],
        env=environment, capture_output=True, text=True)
    assert setup.returncode == 0, setup.stdout + setup.stderr
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*java, "kafka.Kafka", str(folder / "final" / "server.properties")], cwd=folder,
                                   env=environment, stdout=output, stderr=output, start_new_session=True)
    run_until_the_end(process)
    moved.wait_until_healthy("kafka", process, log, 60)
    advertised = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    return Kafka(advertised["INTERNAL"], advertised["HOST"])
