"""A continuous stream ends when it is told to: after its time, or with the process that supervises it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import count_rows
from shoplake.settings import PROJECT_ROOT

STREAM = ["spark-submit", "--driver-java-options", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m",
          "spark/streaming_pipeline.py", "--json"]
EVENTS = 300


@pytest.fixture
def environment(topic: str) -> dict[str, str]:
    """Give an environment with a topic of its own that holds EVENTS records."""
    assert topic
    mine = {**os.environ, "SHOPLAKE_SPARK__TRIGGER_INTERVAL": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([sys.executable, "kafka/producer.py", "--events", str(EVENTS), "--seed", "1",
                    "--from", "2026-06-01", "--to", "2026-06-01"], cwd=PROJECT_ROOT, env=mine, check=True)
    return mine


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_it_ends_after_its_time_and_says_what_it_did(environment: dict[str, str], data_dir: Path) -> None:
    done = subprocess.run([*STREAM, "--stop-after", "5"], cwd=PROJECT_ROOT, env=environment, text=True,
                          capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    # spark-submit sends the log of a Python driver to stdout too
    assert json.loads(done.stdout.splitlines()[-1])["records"] == EVENTS, "the batch that was under way is done"
    assert count_rows(Lake(str(data_dir / "lake")))["offsets"] == EVENTS


def test_with_a_backlog_it_ends_after_the_batch_that_was_under_way(
    environment: dict[str, str], data_dir: Path,
) -> None:
    done = subprocess.run([*STREAM, "--stop-after", "5"], cwd=PROJECT_ROOT, text=True, capture_output=True, check=False,
                          env={**environment, "SHOPLAKE_SPARK__MAX_OFFSETS_PER_TRIGGER": "3"}, timeout=300)
    assert done.returncode == 0, done.stderr
    taken_in = count_rows(Lake(str(data_dir / "lake")))
    assert 0 < taken_in["offsets"] < EVENTS / 2
    # The next batch may have begun, and is repeated; what ended is in the ledger.
    assert json.loads(done.stdout.splitlines()[-1])["batches"] == taken_in["batches"]


def test_it_ends_with_its_supervisor(
    environment: dict[str, str], data_dir: Path, supervisor: subprocess.Popen[bytes],
) -> None:
    stream = subprocess.Popen([*STREAM, "--stop-with", str(supervisor.pid)], cwd=PROJECT_ROOT, env=environment,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lake = Lake(str(data_dir / "lake"))
    try:
        limit = time.monotonic() + 240
        while count_rows(lake)["offsets"] < EVENTS and time.monotonic() < limit:
            assert stream.poll() is None
            time.sleep(0.5)
        supervisor.send_signal(signal.SIGKILL)
        said, _ = stream.communicate(timeout=120)
    finally:
        stream.kill()
    assert stream.returncode == 0, said
    assert f"the process {supervisor.pid}, which supervised this stream, has ended" in said


@pytest.mark.parametrize(("flags", "words"), [
    (("--drain", "--stop-after", "5"), "--drain stops by itself"),
    (("--stop-with", "4194305"), "there is no such process"),
])
def test_wrong_flags_are_refused(flags: tuple[str, ...], words: str) -> None:
    done = subprocess.run([sys.executable, "spark/streaming_pipeline.py", *flags], cwd=PROJECT_ROOT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
