"""A pipeline of the test's own whose programs may die: each is a process, and an oracle judges what they leave."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from class_archive import find_archive, submit_words
from lake_oracle import Oracle, check_nothing_doubled, hash_gold, read_acks
from shells_on_lake import Shells, make_topic, shells

from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import count_rows
from shoplake.lake.locks import STREAM as STREAM_LOCK
from shoplake.lake.locks import find_holder
from shoplake.processes import find_free_port, read_state
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

__all__ = ["shells"]

DRIVER = PROJECT_ROOT / "tests" / "faults" / "driver.py"
STREAM, BATCH = "spark/streaming_pipeline.py", "spark/batch_processing.py"
DAYS = ("--from", "2026-02-20", "--to", "2026-03-20")
# As the session's Spark: too short a life for the JVM's second compiler.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"
SHARES = {"DUPLICATE": 0.05, "CONFLICT_SAME_TIME": 0.005, "CONFLICT_OTHER_DATE": 0.005, "CORRUPT": 0.01, "LATE": 0.02,
          "FUTURE": 0.003}


@pytest.fixture(scope="session")
def fault_seed() -> int:
    """Give the seed of all that is drawn here; FAULT_SEED repeats a run. pytest shows it with a failure."""
    seed = int(os.environ.get("FAULT_SEED") or secrets.randbelow(2**32))
    os.environ["FAULT_SEED"] = str(seed)
    return seed


@pytest.fixture
def draw(fault_seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Give the test's own source of chance."""
    print(f"FAULT_SEED={fault_seed}")
    return random.Random(f"{fault_seed} {request.node.name}")


@dataclass
class Pipeline:
    """A lake, a topic, and the programs that work on them as processes."""

    folder: Path
    environment: dict[str, str]
    acks: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    truth: dict[str, Any] | None = None

    @property
    def lake(self) -> Lake:
        """The lake."""
        return Lake(str(self.folder / "lake"))

    def start(self, *words: str | Path, log: str = "log") -> "subprocess.Popen[bytes]":
        """Start a program in a process group of its own; what it says is added to a log."""
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen([sys.executable, *map(str, words)], cwd=PROJECT_ROOT, env=self.environment,
                                    start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def run(self, *words: str | Path, timeout: float = 600) -> int:
        """Run a program to its end; give its exit code, negative when a signal ended it."""
        process = self.start(*words)
        try:
            return process.wait(timeout)
        finally:
            self.kill(process)

    def ok(self, *words: str | Path) -> None:
        """Run a program that must succeed."""
        code = self.run(*words)
        assert code == 0, f"{words} exits with {code}:\n{self.tail()}"

    def produce(self, events: int, seed: int, *words: str) -> None:
        """Send simulated events, and keep what was acknowledged and what is right."""
        code = self.start_producing(events, seed, *words).wait(600)
        assert code == 0, self.tail()
        self.end_producing()

    def start_producing(
        self, events: int, seed: int, *words: str, is_live: bool = False,
    ) -> "subprocess.Popen[bytes]":
        """Begin to send simulated events of past days, or of now."""
        days = () if is_live else DAYS
        for name in ("acks.csv", "truth.json"):
            (self.folder / name).unlink(missing_ok=True)
        return self.start("kafka/producer.py", "--events", str(events), *days, "--seed", str(seed),
                          "--acks", self.folder / "acks.csv", "--truth", self.folder / "truth.json", *words)

    def end_producing(self) -> None:
        """Keep what the sending was told, and the right answers if it came to its end."""
        self.acks += read_acks(self.folder / "acks.csv")
        truth = self.folder / "truth.json"
        self.truth = json.loads(truth.read_text()) if truth.exists() else None

    def count_acks(self) -> int:
        """Give how many records of the sending under way are acknowledged."""
        acks = self.folder / "acks.csv"
        return acks.read_bytes().count(b"\n") if acks.exists() else 0

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a program that `start` began, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check_so_far(self) -> None:
        """Fail if a record is doubled already; a batch may be half-way."""
        check_nothing_doubled(self.lake)

    def die_at(self, point: str, nth: int, shell: str, *words: str) -> bool:
        """Run a shell that dies at a point; False when it came to its end without the point."""
        code = self.run(DRIVER, "--die", point, "--nth", str(nth), shell, *words)
        assert code in (0, -signal.SIGKILL), f"{shell} exits with {code} before {point}:\n{self.tail()}"
        self.check_so_far()
        return code != 0

    def die_at_random(self, draw: random.Random, shell: str, *words: str) -> bool:
        """Kill a stream's driver at some moment of its life, mostly while it works; False when it had ended before."""
        process = self.start(shell, *words)
        started, patience = time.monotonic(), 120
        early = draw.uniform(0.5, 8) if draw.random() < 0.2 else patience
        while process.poll() is None and time.monotonic() - started < early:
            if find_holder(self.lake, STREAM_LOCK, must_be_ready=True):
                time.sleep(draw.uniform(0, 5))
                break
            time.sleep(0.01)
        has_ended = process.poll() is not None
        self.kill(process)
        assert not has_ended or process.returncode == 0, self.tail()
        self.check_so_far()
        return not has_ended

    def here(self, shell: str, *words: str) -> None:
        """Run a shell that must succeed in this process, whose Spark is warm."""
        with pytest.MonkeyPatch.context() as patched:
            for name in filter(lambda name: name.startswith(ENV_PREFIX), list(os.environ)):
                patched.delenv(name)
            for name, value in self.environment.items():
                if name.startswith(ENV_PREFIX):
                    patched.setenv(name, value)
            Shells(self.lake, "").ok(shell, *words)

    def finish(self, gold: Mapping[str, str] | None = None) -> None:
        """Let the stream and the batch job come to their ends, and judge."""
        self.here(STREAM, "--drain")
        self.here(BATCH)
        Oracle(self.truth, self.acks, gold).check(self.lake)

    def count_offsets(self) -> int:
        """Give how many records the ledger holds."""
        return count_rows(self.lake)["offsets"]

    def said(self, log: str = "log") -> str:
        """Give what the programs said."""
        return (self.folder / log).read_text(errors="replace")

    def tail(self, log: str = "log") -> str:
        """Give the end of what the programs said."""
        return "\n".join(self.said(log).splitlines()[-40:])


def make_environment(folder: Path, settings: Mapping[str, str], heap: str | None = None) -> dict[str, str]:
    """Give a program's environment: settings of its own and nothing of the machine's.

    Without `heap` it is that of spark-defaults.conf.
    """
    memory = f"--driver-memory {heap} " if heap else ""
    archive = find_archive()
    options = f"{JAVA_OPTIONS} -XX:SharedArchiveFile={archive}" if archive.exists() else JAVA_OPTIONS
    mine = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    shares = {f"SIMULATION__{name}_SHARE": str(share) for name, share in SHARES.items()}
    given = {"DATA_DIR": str(folder), "GOVERNANCE__PSEUDONYMS": "true", "SPARK__MAX_OFFSETS_PER_TRIGGER": "250",
             **shares, **settings}
    return {**mine, "PYSPARK_SUBMIT_ARGS": f"{memory}{submit_words(options)} pyspark-shell",
            **{f"{ENV_PREFIX}{name}": value for name, value in given.items()}}


@pytest.fixture(scope="session")
def make_pipeline(broker: str, spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pipeline]:
    """Give `make(**settings)`, which gives a pipeline with an empty lake and a fresh topic on the session's broker.

    Its first arguments: another broker's address, and the JVM's heap as spark-submit takes it.
    """
    def make(address: str = broker, heap: str | None = None, **settings: str) -> Pipeline:
        folder = tmp_path_factory.mktemp("pipeline")
        topic = f"faults-{uuid.uuid4().hex[:8]}"
        make_topic(address, topic)
        return Pipeline(folder, make_environment(
            folder, {"KAFKA__BOOTSTRAP_SERVERS": address, "KAFKA__TOPIC": topic, **settings}, heap))

    return make


@dataclass
class OwnBroker:
    """A broker of the test's own, and the pipeline on it."""

    pipeline: Pipeline

    def start(self) -> None:
        """Start it, on the port that it had."""
        self.pipeline.ok("kafka/broker.py", "start")

    def stop(self) -> None:
        """Stop it in good order."""
        self.pipeline.ok("kafka/broker.py", "stop")

    def kill(self) -> None:
        """Kill it as a power cut would."""
        state = read_state(self.pipeline.folder / "kafka" / "broker.json")
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)


@pytest.fixture
def make_broker(tmp_path: Path, spark: Any) -> Iterator[Callable[..., OwnBroker]]:
    """Give `make(**settings)`, which starts a broker; all are stopped at the end."""
    made: list[OwnBroker] = []
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])

    def make(**settings: str) -> OwnBroker:
        folder = tmp_path / f"broker-{len(made)}"
        folder.mkdir(exist_ok=True)
        port = find_free_port(31000 + 200 * worker + 10 * len(made), "a test's port")
        environment = make_environment(folder, {
            "KAFKA__PORT": str(port), "KAFKA__DELIVERY_TIMEOUT": "120",
            "SPARK__MAX_OFFSETS_PER_TRIGGER": "10000", **settings})
        made.append(OwnBroker(Pipeline(folder, environment)))
        made[-1].start()
        return made[-1]

    yield make
    for broker in made:
        broker.pipeline.run("kafka/broker.py", "stop")


@dataclass(frozen=True)
class Quiet:
    """What a run gives that nothing disturbs.

    Attributes:
        points: every point that stream and batch job pass, without repetition, in their order.
    """

    gold: dict[str, str]
    stream_points: list[str]
    batch_points: list[str]


EVENTS = 4000


@pytest.fixture(scope="session")
def quiet(make_pipeline: Callable[..., Pipeline], fault_seed: int) -> Quiet:
    """Take the session's data through a pipeline that nobody disturbs."""
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="1000")
    pipeline.produce(EVENTS, fault_seed)
    passed = {}
    for shell, words in ((STREAM, ("--drain",)), (BATCH, ())):
        file = pipeline.folder / f"{Path(shell).stem}.passed"
        pipeline.ok(DRIVER, "--passed", file, shell, *words)
        passed[shell] = list(dict.fromkeys(file.read_text().split()))
    Oracle(pipeline.truth, pipeline.acks).check(pipeline.lake)
    return Quiet(hash_gold(pipeline.lake), passed[STREAM], passed[BATCH])
