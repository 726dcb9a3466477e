"""What the producer takes against confluent-kafka, whose sending alone is the limit; prints one JSON object.

`ours` is kafka/producer.py, which simulates, sends one by one and waits for the broker's word on each record.
`confluent` simulates the same records and sends them by confluent-kafka; `limit` is the sending alone, of records that
are ready in memory. Events per CPU-second.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from shoplake.errors import EXIT_OK
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

HERE = PROJECT_ROOT / "benchmarks"
MOST_EVENTS = 200_000


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="Python of the peers' environment")
    parser.add_argument("--events", type=int, default=MOST_EVENTS, help=f"at the most {MOST_EVENTS:,} are sent")
    parser.add_argument("--repeat", type=int, default=3)
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Send the same records by each way, each time to a new topic."""
    events = min(flags.events, MOST_EVENTS)
    runs = {way: [send(way, events, flags) for _ in range(flags.repeat)] for way in ("ours", "confluent", "limit")}
    medians = {way: median(run["cpu_seconds"] for run in each) for way, each in runs.items()}
    print(json.dumps({
        "sending": {way: round(events / cpu) for way, cpu in medians.items()}, "events": events,
        "wall_seconds": {way: median(run["wall_seconds"] for run in each) for way, each in runs.items()}, "runs": runs,
    }))
    return EXIT_OK


def send(way: str, events: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Send to a new topic, and give what it took."""
    topic = f"bench_send_{time.time_ns()}"
    load = [flags.peers, str(HERE / "load_topic.py"), "--servers", flags.servers, "--topic", topic]
    if way == "limit":
        answer = subprocess.run([*load, "--events", str(events), "--in-memory"], stdout=subprocess.PIPE, check=True)
        figures: dict[str, Any] = json.loads(answer.stdout)
        return figures
    command = [*load, "--events", str(events)]
    if way == "ours":
        subprocess.run([*load, "--events", "0"], stdout=sys.stderr, check=True)  # makes the topic
        command = [sys.executable, str(PROJECT_ROOT / "kafka/producer.py"), "--events", str(events), "--seed", "6",
                   "--from", "2026-01-01", "--to", "2026-01-30"]
    measured = flags.folder / f"{way}.json"
    environment = {**os.environ, "SHOPLAKE_KAFKA__TOPIC": topic, "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": flags.servers}
    subprocess.run([sys.executable, str(HERE / "measure.py"), "--to", str(measured),
                    "--log", str(measured.with_suffix(".log")), "--", *command], env=environment, check=True)
    took = json.loads(measured.read_text())
    return {name: took[name] for name in ("cpu_seconds", "wall_seconds", "peak_rss_bytes")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
