"""A disk that is full stops what writes to it, loudly; with room again it goes on, and nothing was lost or doubled."""

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lake_oracle import Oracle

if TYPE_CHECKING:
    from conftest import OwnBroker, Pipeline

pytestmark = pytest.mark.faults
STREAM = "spark/streaming_pipeline.py"


class SmallDisk:
    """A disk in memory, of a size that can be changed."""

    def __init__(self, place: Path, size: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine mounts no tmpfs for us: {done.stderr.strip()}")

    def resize(self, size: str) -> None:
        """Make room."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.place)], check=True)


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], SmallDisk]]:
    """Give `mount(place, size)`; all are taken away at the end."""
    disks: list[SmallDisk] = []

    def make(place: Path, size: str) -> SmallDisk:
        disks.append(SmallDisk(place, size))
        return disks[-1]

    yield make
    for disk in disks:
        subprocess.run(["umount", "--lazy", str(disk.place)], check=True)


def test_the_lakes_disk_is_full(
    make_pipeline: "Callable[..., Pipeline]", mount: Callable[[Path, str], SmallDisk], draw: random.Random,
) -> None:
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="1000")
    disk = mount(Path(pipeline.lake.root), f"{draw.randrange(1200, 2500)}k")
    pipeline.produce(6000, draw.randrange(2**32))
    assert pipeline.run(STREAM, "--drain") == 1, pipeline.tail()
    assert "No space left on device" in pipeline.said()
    assert pipeline.run(STREAM, "--drain") == 1, "it stays full"
    pipeline.check_so_far()
    disk.resize("500m")
    pipeline.finish()


def test_the_checkpoints_disk_is_full(
    make_pipeline: "Callable[..., Pipeline]", mount: Callable[[Path, str], SmallDisk], draw: random.Random,
) -> None:
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="300")
    disk = mount(Path(pipeline.lake.root) / "_checkpoints", "80k")
    pipeline.produce(6000, draw.randrange(2**32))
    assert pipeline.run(STREAM, "--drain") == 1, pipeline.tail()
    assert "No space left on device" in pipeline.said()
    pipeline.check_so_far()
    disk.resize("50m")
    pipeline.finish()


def test_the_brokers_disk_is_full(
    make_broker: "Callable[..., OwnBroker]", mount: Callable[[Path, str], SmallDisk], draw: random.Random,
    tmp_path: Path,
) -> None:
    """The broker stops by itself; what it had acknowledged is all there when it has room again."""
    disk = mount(tmp_path / "broker-0" / "kafka", "40m")
    broker = make_broker(KAFKA__DELIVERY_TIMEOUT="20", SPARK__MAX_OFFSETS_PER_TRIGGER="200000")
    pipeline = broker.pipeline
    sending = pipeline.start_producing(400_000, draw.randrange(2**32))
    assert sending.wait(300) == 1, pipeline.tail()
    assert "records sent were not delivered" in pipeline.said()
    pipeline.end_producing()
    assert pipeline.truth is None
    assert pipeline.acks.total() > 1000
    disk.resize("500m")
    broker.stop()
    broker.start()
    pipeline.produce(1000, draw.randrange(2**32))
    pipeline.here(STREAM, "--drain")
    Oracle(None, pipeline.acks).check(pipeline.lake)
