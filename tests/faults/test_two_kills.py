"""Two real kills of the driver, the quick ones; test_kills.py has the others."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from lake_oracle import Oracle
from shells_on_lake import Shells

from shoplake.settings import ENV_PREFIX

if TYPE_CHECKING:
    from conftest import Pipeline
    from pyspark.sql import SparkSession

STREAM, BATCH = "spark/streaming_pipeline.py", "spark/batch_processing.py"
POINTS = ("bronze.events:after", "silver.events:files", "silver.product_revenue_5min:before", "ops.ledger:after")


def test_a_driver_killed_at_a_write_and_at_a_random_moment(
    make_pipeline: "Callable[..., Pipeline]", spark: "SparkSession", draw: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="500")
    pipeline.produce(2500, draw.randrange(2**32))
    point = draw.choice(POINTS)
    print(f"dies at {point}")
    assert pipeline.die_at(point, 1, STREAM, "--drain")
    pipeline.die_at_random(draw, STREAM, "--drain")  # it may have ended by then: that is a moment too
    for name, value in pipeline.environment.items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value)
    shells = Shells(pipeline.lake, pipeline.environment["SHOPLAKE_KAFKA__TOPIC"])
    shells.ok(STREAM, "--drain")
    shells.ok(BATCH)
    Oracle(pipeline.truth, pipeline.acks).check(pipeline.lake)
