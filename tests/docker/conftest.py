"""The services of docker-compose.yml, outside containers: each one's very command and environment, addresses moved."""

import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
import yaml

from shoplake import processes
from shoplake.installation import Installation, locate_installation
from shoplake.java import find_java
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

FILE = PROJECT_ROOT / "docker" / "docker-compose.yml"
IN_THE_IMAGE = "/opt/shoplake"
UV = Path(sys.prefix) / "bin" / "uv"
# What Kafka's image brings, as far as its configuring program wants it; the broker must not become node 7.
LOGGING = "Configuration: {Appenders: {}, Loggers: {Root: {level: WARN, AppenderRef: []}, Logger: []}}\n"
IMAGE_DEFAULTS = {"server.properties": "node.id=7\n", "log4j2.yaml": LOGGING, "tools-log4j2.yaml": LOGGING}


@dataclass(frozen=True)
class Compose:
    """The compose file; `moved` says what each piece of a command or value is outside a container, in this order."""

    services: Mapping[str, Mapping[str, Any]]
    moved: dict[str, str] = field(default_factory=dict)

    def also(self, moved: Mapping[str, str]) -> "Compose":
        """Give it with more moved; these come first."""
        return Compose(self.services, {**moved, **{key: to for key, to in self.moved.items() if key not in moved}})

    def move(self, text: str) -> str:
        """Replace container paths and addresses."""
        for inside, outside in self.moved.items():
            text = text.replace(inside, outside)
        return text

    def command(self, name: str) -> list[str]:
        """Give a service's command."""
        return [self.move(word) for word in self.services[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """Give a service's environment over the machine's, with its image's PATH and without what is set of ours."""
        machine = {key: value for key, value in os.environ.items()
                   if not key.startswith((ENV_PREFIX, "AIRFLOW", "JUPYTER", "PYTEST"))}
        own = {key: self.move(value) for key, value in self.services[name].get("environment", {}).items()}
        return {**machine, "PATH": f"{self.working_folder}/.venv/bin{os.pathsep}{machine['PATH']}", **own}

    @property
    def working_folder(self) -> Path:
        """Give what stands for the images' WORKDIR."""
        return Path(self.moved.get(IN_THE_IMAGE, PROJECT_ROOT))

    def run(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a one-shot service, or another command in a service's environment."""
        return subprocess.run(command or self.command(name), cwd=self.working_folder, env=self.environment(name),
                              capture_output=True, text=True)

    def start(self, name: str, log: IO[bytes], *more: str) -> "subprocess.Popen[bytes]":
        """Start a service, as a process group of its own; `more` words are what only this machine needs."""
        return subprocess.Popen([*self.command(name), *more], cwd=self.working_folder, env=self.environment(name),
                                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

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
    for folder in ("airflow", "dashboard", "jupyter", "postgres"):
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
        "airflow-apiserver": processes.HOST,
        "8080": (airflow := str(free_port())), "8081": airflow,
        "8501": str(free_port()), "8888": str(free_port()), "5000": str(free_port()),
    })


@pytest.fixture(scope="session")
def run_until_the_end() -> Iterator[Callable[["subprocess.Popen[bytes]"], None]]:
    """Give `keep(process)`: at the session's end the process and all that it started are ended."""
    kept: list[subprocess.Popen[bytes]] = []
    yield kept.append
    for wish, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        for process in kept:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, wish)
        psutil.wait_procs([one for process in kept for one in processes_of(process.pid)], timeout=seconds)


def processes_of(group: int) -> list[psutil.Process]:
    """Give the processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


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
    places: Installation = locate_installation(Path(sys.prefix))
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


@pytest.fixture(scope="session")
def build_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Path]]:
    """Give `build(dockerfile, target)`: what the Dockerfile's steps make, in the folder that stands for `/`."""
    built = []

    def build(dockerfile: str, target: str) -> Path:
        root = tmp_path_factory.mktemp(target)
        built.append(root)
        stages = read_stages(PROJECT_ROOT / "docker" / dockerfile)
        chain = [target]
        while (base := stages[chain[0]][0]) in stages:
            chain.insert(0, base)
        replay([step for name in chain for step in stages[name][1]], root)
        return root

    yield build
    for root in built:
        shutil.rmtree(root, ignore_errors=True)  # gigabytes, which pytest would keep for three sessions


def read_stages(dockerfile: Path) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Read a Dockerfile: each stage's base, and its instructions with their text."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.strip().startswith("#")]
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    steps: list[tuple[str, str]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, text = line.partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            steps = []
            stages[name] = (base, steps)
        elif word:
            steps.append((word, text))
    return stages


def replay(steps: list[tuple[str, str]], root: Path) -> None:
    """Do the steps in `root`; the packages and users of the system are the machine's own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith((ENV_PREFIX, "VIRTUAL_ENV"))}
    environment["PATH"] = os.pathsep.join(
        folder for folder in environment["PATH"].split(os.pathsep) if not (Path(folder) / "activate").exists())
    place = root
    for word, text in steps:
        text = re.sub(r"(?<![\w/.])/(opt|data|secrets|mlflow)\b", rf"{root}/\1", text)
        if word == "WORKDIR":
            place = Path(text)
            place.mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            for pair in shlex.split(text):
                key, _, value = pair.partition("=")
                environment[key] = value.replace("$PATH", environment["PATH"])
            environment.pop("UV_LINK_MODE", None)  # only a layer needs copies
        elif word == "COPY":
            *sources, target = (part for part in text.split() if not part.startswith("--"))
            copy_context(sources, place / target)
        elif word == "RUN" and "useradd" not in text:
            command = re.sub(r"--mount=\S+", "", text)
            # The same pins, from the cache that this machine has.
            command = command.replace(".venv/bin/python -m pip install", f"{UV} pip install --python .venv/bin/python")
            done = subprocess.run(["sh", "-c", command], cwd=place, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def copy_context(sources: list[str], target: Path) -> None:
    """Copy files of the project as COPY does: all of them for `.`, but what .dockerignore names."""
    for source in sources:
        if source != ".":
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / source, target)
            continue
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT_ROOT,
                                capture_output=True, text=True, check=True).stdout.splitlines()
        for name in listed:
            if not is_ignored(name) and (PROJECT_ROOT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT_ROOT / name, target / name)


def is_ignored(name: str) -> bool:
    """Say whether .dockerignore keeps a file of the project out of the images."""
    lines = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    parts = Path(name).parts
    heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(head, pattern) or fnmatch.fnmatchcase(f"/{head}", pattern.replace("**", "*"))
               for head in heads for pattern in patterns)


@pytest.fixture(scope="session")
def left_out() -> Callable[[str], bool]:
    """Give `left_out(name)`: whether .dockerignore keeps a file of the project out of the images."""
    return is_ignored
