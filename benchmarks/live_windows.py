"""Live windows: adding a batch's sums to the stored windows against summing the touched days of silver anew.

Simulated events of some days are taken into a lake of its own, which is deleted at the end. Then some of its events
stand for a batch, of the newest day alone and of all days (late events), and both ways compute the windows of their
days; what they would write is the same and is not written. Prints one JSON object: CPU-seconds of the process tree for
one batch, median of the runs, and how many times as much the second way takes. A few minutes for a million events.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil

from shoplake.contract.measures import LIVE_WINDOWS, LiveWindow
from shoplake.contract.tables import SILVER_EVENTS
from shoplake.errors import EXIT_OK
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT, load_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Way = Callable[["DataFrame", LiveWindow, set[date]], "DataFrame"]
FIRST_DAY = date(2026, 3, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30, help="that the events are spread over (default: 30)")
    parser.add_argument("--batch", type=int, default=10_000, help="events of the batch (default: 10,000)")
    parser.add_argument("--repeat", type=int, default=5)
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Fill a lake, and compute windows in both ways."""
    last = FIRST_DAY + timedelta(days=flags.days - 1)
    with TemporaryDirectory(prefix="live-windows-") as folder:
        os.environ["SHOPLAKE_DATA_DIR"] = folder
        file = f"{folder}/events.csv"
        for command in ([sys.executable, "kafka/producer.py", "--events", str(flags.events), "--from", str(FIRST_DAY),
                         "--to", str(last), "--to-file", file],
                        ["spark-submit", "spark/batch_processing.py", "--historical-csv", file, "--ingest-only"]):
            subprocess.run(command, check=True, cwd=PROJECT_ROOT, stdout=sys.stderr)
        print(json.dumps({"events": flags.events, "days": flags.days, "batch": flags.batch,
                          **compare_ways(flags.batch, flags.repeat)}))
    return EXIT_OK


def compare_ways(batch: int, repeat: int) -> dict[str, dict[str, float]]:
    """Give the figures of a batch of one day, and of all days."""
    from pyspark.sql import SparkSession

    from shoplake.batch.build import days_of
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.delta import read_days, session_options
    from shoplake.streaming.windows import add_windows, revenue_by_window

    settings = load_settings()
    lake = locate_lake(settings)
    spark = SparkSession.builder.config(map={**session_options(settings)}).getOrCreate()

    def add(accepted: "DataFrame", live: LiveWindow, days: set[date]) -> "DataFrame":
        return add_windows(read_days(spark, lake, live.table, days), revenue_by_window(accepted, live), live)

    def sum_anew(_: "DataFrame", live: LiveWindow, days: set[date]) -> "DataFrame":
        return revenue_by_window(read_days(spark, lake, SILVER_EVENTS, days), live)

    def measure(way: Way, accepted: "DataFrame", days: set[date]) -> float:
        before = cpu_seconds()
        for live in LIVE_WINDOWS:
            way(accepted, live, days).write.format("noop").mode("overwrite").save()
        return cpu_seconds() - before

    figures = {}
    every = sorted(days_of(lake, SILVER_EVENTS, date.max))
    try:
        for name, days in (("one_day", set(every[-1:])), ("all_days", set(every))):
            accepted = read_days(spark, lake, SILVER_EVENTS, days).orderBy("event_id").limit(batch).persist()
            accepted.count()
            taken = {way.__name__: round(statistics.median(
                [measure(way, accepted, days) for _ in range(repeat + 1)][1:]), 3) for way in (add, sum_anew)}
            figures[name] = {**taken, "times": round(taken["sum_anew"] / taken["add"], 2)}
            accepted.unpersist()
    finally:
        spark.stop()
    return figures


def cpu_seconds() -> float:
    """Give the CPU-seconds of this process and its children, Spark's JVM among them."""
    root = psutil.Process()
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
