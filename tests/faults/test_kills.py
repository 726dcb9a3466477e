"""kill -9 of the stream's driver, of the batch job and of the broker: nothing lost, nothing doubled, gold as ever.

make test-faults takes a few rounds; make soak many, and goes on where it was stopped.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from soak_progress import is_done, note_round

from shoplake.contract.measures import LIVE_WINDOWS
from shoplake.contract.tables import BRONZE_EVENTS, LEDGER, SILVER_DUPLICATES, SILVER_EVENTS, SILVER_QUARANTINE

if TYPE_CHECKING:
    from conftest import OwnBroker, Pipeline, Quiet

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
STREAM, BATCH = "spark/streaming_pipeline.py", "spark/batch_processing.py"
DAYS = ("--from", "2026-02-20", "--to", "2026-03-20")
IN_A_ROUND = 10
RANDOM_KILLS = int(os.environ.get("FAULT_RANDOM_KILLS", "20"))
KILLS_PER_POINT = int(os.environ.get("FAULT_KILLS_PER_POINT", "3"))
BROKER_KILLS = int(os.environ.get("FAULT_BROKER_KILLS", "10"))
TABLES = {table.name for table in (BRONZE_EVENTS, SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE, LEDGER,
                                   *(live.table for live in LIVE_WINDOWS))}


@pytest.fixture
def feed(make_pipeline: "Callable[..., Pipeline]", fault_seed: int) -> "Callable[[], Pipeline]":
    """Give `feed()`, which gives a pipeline whose topic holds the session's data, of which nothing is taken in yet."""
    def make() -> "Pipeline":
        pipeline = make_pipeline()
        pipeline.produce(4000, fault_seed)
        return pipeline

    return make


@pytest.mark.parametrize("number", range(KILLS_PER_POINT))
def test_kills_at_each_point(
    number: int, quiet: "Quiet", feed: "Callable[[], Pipeline]", draw: random.Random, fault_seed: int,
) -> None:
    """Between every two writes of a batch, within each, and around Spark's own log; then of the batch job's."""
    if is_done("points", number):
        pytest.skip("done before")
    assert {point.split(":")[0] for point in quiet.stream_points} >= {*TABLES, "checkpoint"}
    assert {point.split(":")[1] for point in quiet.stream_points} == {
        "before", "files", "after", "offsets", "committed"}
    kills: Counter[str] = Counter()
    pipeline = feed()
    for point in draw.sample(quiet.stream_points, len(quiet.stream_points)):
        while not pipeline.die_at(point, draw.choice((1, 1, 2)), STREAM, "--drain"):
            pipeline.finish(quiet.gold)
            pipeline = feed()
        kills[f"stream {point}"] += 1
    pipeline.here(STREAM, "--drain")
    # Among all its tables at some points; to be in time, at each while it builds that table alone.
    alone = draw_batch_points(quiet.batch_points, draw, is_first=not number)
    for points in (draw.sample(quiet.batch_points, 3), alone):
        for point in points:
            only = ("--table", point.split(":")[0]) if points is alone else ()
            assert pipeline.die_at(point, 1, BATCH, *DAYS, *only), (
                f"the days are always built, but {point} was not passed")
            kills[f"batch {point}"] += 1
        pipeline.here(BATCH, *DAYS)  # a table whose inputs are still empty writes no file, and passes fewer points
    pipeline.finish(quiet.gold)
    note_round("points", number, fault_seed, dict(kills))


def draw_batch_points(points: list[str], draw: random.Random, is_first: bool) -> list[str]:
    """Give the points of a round in a drawn order: all of the batch job's in the first, one of each table's later."""
    if is_first:
        return draw.sample(points, len(points))
    of_table: dict[str, list[str]] = {}
    for point in draw.sample(points, len(points)):
        of_table.setdefault(point.split(":")[0], []).append(point)
    return [of_one[0] for of_one in of_table.values()]


@pytest.mark.parametrize("number", range(-(-RANDOM_KILLS // IN_A_ROUND)))
def test_kills_of_the_driver_at_random(
    number: int, quiet: "Quiet", feed: "Callable[[], Pipeline]", draw: random.Random, fault_seed: int,
) -> None:
    if is_done("random", number):
        pytest.skip("done before")
    pipeline, kills = feed(), 0
    while kills < IN_A_ROUND:
        if pipeline.die_at_random(draw, STREAM, "--drain"):
            kills += 1
        else:
            pipeline.finish(quiet.gold)
            pipeline = feed()
    pipeline.finish(quiet.gold)
    note_round("random", number, fault_seed, {"driver at random": kills})


@pytest.mark.parametrize("number", range(-(-BROKER_KILLS // IN_A_ROUND)))
def test_kills_of_the_broker_while_producing(
    number: int, make_broker: "Callable[[], OwnBroker]", draw: random.Random, fault_seed: int,
) -> None:
    if is_done("broker", number):
        pytest.skip("done before")
    kills = 0
    while kills < IN_A_ROUND:
        kills += kill_broker_while_producing(make_broker(), IN_A_ROUND - kills, draw)
    note_round("broker", number, fault_seed, {"broker while producing": kills})


def kill_broker_while_producing(broker: "OwnBroker", wanted: int, draw: random.Random) -> int:
    """Kill the broker up to `wanted` times in one sending, and judge what is in the lake; give how often.

    The events are of now: a broker forgets a producer of old ones when it is killed (ADR 0007).
    """
    pipeline, kills = broker.pipeline, 0
    sending = pipeline.start_producing(2500 * wanted, draw.randrange(2**32), "--delay", "0.004", is_live=True)
    while sending.poll() is None and kills < wanted:
        known = pipeline.count_acks()
        while sending.poll() is None and pipeline.count_acks() == known:
            time.sleep(0.01)  # or the producer has not come back yet, and the kill would hit nothing
        time.sleep(draw.uniform(0, 2))
        if sending.poll() is None:
            broker.kill()
            kills += 1
            time.sleep(draw.uniform(0, 1))
            broker.start()
    assert sending.wait(600) == 0, pipeline.tail()
    pipeline.end_producing()
    assert pipeline.acks.total() == 2500 * wanted
    pipeline.finish()
    broker.stop()
    return kills


def test_a_killed_producer_lost_nothing_that_was_acknowledged(
    make_pipeline: "Callable[..., Pipeline]", draw: random.Random,
) -> None:
    """It has no truth to tell, but what it was told stands in bronze once, and the next sending is taken in beside."""
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="20000")
    for _ in range(3):
        sending = pipeline.start_producing(200_000, draw.randrange(2**32))
        while sending.poll() is None and not pipeline.count_acks():
            time.sleep(0.01)  # a slow machine takes its time to begin, and a kill before that proves nothing
        time.sleep(draw.uniform(0, 2))
        os.killpg(sending.pid, signal.SIGKILL)
        sending.wait()
        pipeline.end_producing()
    assert pipeline.acks.total() > 1000
    pipeline.finish()
