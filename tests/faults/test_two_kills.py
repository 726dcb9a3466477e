"""Two real kills of the driver, the quick ones; test_kills.py has the others."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Pipeline

STREAM = "spark/streaming_pipeline.py"
POINTS = ("bronze.events:after", "silver.events:files", "silver.product_revenue_5min:before", "ops.ledger:after")


def test_a_driver_killed_at_a_write_and_at_a_random_moment(
    make_pipeline: "Callable[..., Pipeline]", draw: random.Random,
) -> None:
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="500")
    pipeline.produce(2500, draw.randrange(2**32))
    point = draw.choice(POINTS)
    print(f"dies at {point}")
    assert pipeline.die_at(point, 1, STREAM, "--drain")
    while not pipeline.die_at_random(draw, STREAM, "--drain"):  # it had ended by then
        pass
    pipeline.finish()
