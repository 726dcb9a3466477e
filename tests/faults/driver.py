"""Run a shell as a process that kills itself, and its JVM, at a named point; no shell knows of it.

python tests/faults/driver.py [--die POINT [--nth N]] [--passed FILE] [--slow SECONDS] SHELL [ARGUMENT …]

The points follow from the writes that the shell makes: <table>:before, <table>:files (a data file of it has begun) and
<table>:after for each; checkpoint:offsets before a batch's first write, checkpoint:committed once Spark's own commit
log has it. --passed writes down every point that is passed, in order.
"""

import argparse
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shoplake.batch import build
from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.streaming import ingest

MODULES = (ingest, build)
POLL_SECONDS = 0.0005


def find_writes(module: Any) -> list[str]:
    """Give the names of the functions by which a module writes tables, whatever they are called after the verb."""
    return [name for name in vars(module) if name.startswith(("append_", "replace_"))]


class Death:
    """Kill this process and all that it started, at the `nth` passing of a point."""

    def __init__(self, point: str | None, nth: int, passed: Path | None) -> None:
        self.point = point
        self._left = nth
        self._passed = passed
        self._lock = threading.Lock()

    def pass_by(self, point: str) -> None:
        """Note the point, and die there if it is the one."""
        with self._lock:
            if self._passed:
                with self._passed.open("a") as file:
                    file.write(f"{point}\n")
            if point == self.point:
                self._left -= 1
                if not self._left:
                    os.killpg(0, signal.SIGKILL)

    def die_when(self, point: str, has_come: Callable[[], bool], is_over: threading.Event) -> None:
        """Pass by as soon as something is seen from another thread; a poll is as near as we come."""
        def watch() -> None:
            while not is_over.is_set():
                if has_come():
                    self.pass_by(point)
                    return
                time.sleep(POLL_SECONDS)

        threading.Thread(target=watch, daemon=True).start()


def find_files(folder: Path) -> Iterator[str]:
    """Give the data files under a table's folder, those under way too."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "_delta_log"]
        yield from (os.path.join(place, name) for name in files if name.endswith(".parquet"))


def around_write(write: Callable[..., Any], death: Death, slow: float) -> Callable[..., Any]:
    """Wrap a write function of the package with its points."""
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        table = next(value for value in given if isinstance(value, Table))
        lake = next(value for value in given if isinstance(value, Lake))
        death.pass_by(f"{table.name}:before")
        time.sleep(slow)
        is_over = threading.Event()
        if death.point in (None, f"{table.name}:files"):
            folder = Path(lake.table(table))
            known = set(find_files(folder))
            death.die_when(f"{table.name}:files", lambda: not known.issuperset(find_files(folder)), is_over)
        try:
            result = write(*args, **kwargs)
        finally:
            is_over.set()
        death.pass_by(f"{table.name}:after")
        return result

    return wrapped


def around_batch(take_in: Callable[..., Any], death: Death) -> Callable[..., Any]:
    """Wrap `ingest_batch` with the points of Spark's own checkpoint."""
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        batch = next(value for value in given if isinstance(value, ingest.Batch))
        lake = next(value for value in given if isinstance(value, Lake))
        death.pass_by("checkpoint:offsets")
        row = take_in(*args, **kwargs)
        commit = Path(lake.checkpoint("events")) / "commits" / str(batch.batch_id)
        death.die_when("checkpoint:committed", commit.exists, threading.Event())
        return row

    return wrapped


def main(argv: list[str] | None = None) -> int:
    """Run the shell; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--die", metavar="POINT")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--passed", type=Path)
    parser.add_argument("--slow", type=float, default=0, help="seconds that each write takes longer")
    parser.add_argument("shell")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    flags = parser.parse_args(argv)
    if os.getpgid(0) != os.getpid():  # or the whole session of whoever called us would die
        os.setsid()
    death = Death(flags.die, flags.nth, flags.passed)
    for module in MODULES:
        for name in find_writes(module):
            setattr(module, name, around_write(getattr(module, name), death, flags.slow))
    ingest.ingest_batch = around_batch(ingest.ingest_batch, death)
    return int(runpy.run_path(str(PROJECT_ROOT / flags.shell))["main"](flags.words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
