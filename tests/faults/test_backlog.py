"""A disk that is slower than the events come: the backlog stays in the topic, and memory stays bounded."""

import random
from collections.abc import Callable
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

import psutil
import pytest

from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from conftest import Pipeline

pytestmark = pytest.mark.faults
DRIVER, STREAM = PROJECT_ROOT / "tests" / "faults" / "driver.py", "spark/streaming_pipeline.py"
HEAP_MB, BESIDE_THE_HEAP_MB = 1024, 700  # code, classes, threads, the buffers of Kafka's client and of Parquet
PYTHON_MB = 600
BACKLOG, AT_THE_SAME_TIME = 200_000, 100_000


def test_a_slow_disk_with_a_backlog_takes_no_more_memory(
    make_pipeline: "Callable[..., Pipeline]", draw: random.Random,
) -> None:
    pipeline = make_pipeline(heap=f"{HEAP_MB}m", SPARK__MAX_OFFSETS_PER_TRIGGER="20000", SPARK__TRIGGER_INTERVAL="1")
    pipeline.produce(BACKLOG, draw.randrange(2**32))
    sending = pipeline.start_producing(AT_THE_SAME_TIME, draw.randrange(2**32))
    stream = pipeline.start(DRIVER, "--slow", "2", STREAM, "--stop-after", "100")
    most = dict.fromkeys(("java", "python"), 0)
    while stream.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(stream.pid).children(recursive=True), psutil.Process(stream.pid)]:
                kind = process.name()[:6]
                if kind in most:  # not one that Java has just forked, which still shows Java's memory
                    most[kind] = max(most[kind], process.memory_info().rss >> 20)
        with suppress(TimeoutExpired):
            stream.wait(0.2)
    print(most)
    assert stream.returncode == 0, pipeline.tail()
    assert sending.wait(300) == 0
    pipeline.end_producing()
    assert 20_000 < pipeline.count_offsets() < BACKLOG + AT_THE_SAME_TIME, "or there was no backlog"
    assert most["java"] < HEAP_MB + BESIDE_THE_HEAP_MB
    assert most["python"] < PYTHON_MB
    pipeline.truth = None  # of the second sending alone
    pipeline.finish()
