"""How long an event takes into silver: a warm stream, and a producer that sends at a steady rate.

The latency of an event is the commit of the version of silver.events that brought it, less its record's timestamp,
which the producer sets at the moment of sending. The stream's first batch and the first minute of the steady rate warm
it up and do not count. Prints one JSON object.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ShoplakeError
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    import pyarrow as pa

RATE = 1000
WARM_UP_SECONDS, SECONDS = 60, 120
PATIENCE_SECONDS = 600


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="Python of the peers' environment")
    parser.add_argument("--events", type=int, default=1_000_000, help="fewer than a million: a shorter run")
    parser.add_argument("--repeat", type=int, default=1, help="not used: one run has minutes of events")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Stream, send, and look at when the rows came."""
    share = min(1.0, flags.events / 1_000_000)
    warm_up, seconds = max(2, int(WARM_UP_SECONDS * share)), max(5, int(SECONDS * share))
    topic = f"bench_live_{time.time_ns()}"
    lake = flags.folder / "lake"
    send = [flags.peers, str(PROJECT_ROOT / "benchmarks" / "load_topic.py"), "--servers", flags.servers,
            "--topic", topic]
    subprocess.run([*send, "--events", "0"], check=True, stdout=sys.stderr)  # makes the topic
    environment = {**os.environ, "SHOPLAKE_DATA_DIR": str(flags.folder.resolve()),
                   "SHOPLAKE_LAKE__ROOT": str(lake.resolve()), "SHOPLAKE_KAFKA__TOPIC": topic,
                   "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": flags.servers}
    log = flags.folder / "stream.log"
    events = RATE * (warm_up + seconds)
    with stream(environment, log) as driver:
        subprocess.run([*send, "--events", str(RATE), "--rate", str(RATE)], check=True, stdout=sys.stderr)
        wait_until(lambda: count_taken_in(lake) == RATE, "first batch", driver, log)
        started = time.time()
        subprocess.run([*send, "--events", str(events), "--rate", str(RATE)], check=True, stdout=sys.stderr)
        sent_for = time.time() - started
        wait_until(lambda: count_taken_in(lake) == RATE + events, "last batch", driver, log)
    figures = find_latencies(lake, started + warm_up)
    print(json.dumps({**figures, "p95_event_to_silver": figures["p95"],
                      "rate": round(events / sent_for, 1)}))
    return EXIT_OK


@contextmanager
def stream(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the continuous stream, and end it after its batch."""
    supervisor = subprocess.Popen(["sleep", "infinity"])  # noqa: S607 - the stream ends with it
    command = ["spark-submit", str(PROJECT_ROOT / "spark/streaming_pipeline.py"), "--stop-with", str(supervisor.pid)]
    with log.open("wb") as output:
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield driver
        finally:
            supervisor.kill()
            supervisor.wait()
            try:
                driver.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGKILL)
                driver.wait()


def wait_until(condition: Callable[[], bool], what: str, driver: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for the stream's `what`, unless it ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if driver.poll() is not None or time.monotonic() > deadline:
            raise ShoplakeError(f"the stream's {what} did not come within {PATIENCE_SECONDS} s, or it ended before. "
                                f"Its last words: {log.read_text()[-1500:]}")
        time.sleep(0.5)


def count_taken_in(lake: Path) -> int:
    """Give how many records the ledger holds."""
    ledger = lake / "ops" / "ledger"
    return sum(read_columns(ledger, "bronze_count")["bronze_count"].to_pylist()) if ledger.exists() else 0


def read_columns(table: Path, *columns: str) -> "pa.Table":
    """Read columns of a Delta table, by Arrow's own file system: delta-rs's may abort a process that ends early."""
    from deltalake import DeltaTable
    from pyarrow import fs

    folder = fs.SubTreeFileSystem(str(table), fs.LocalFileSystem())
    return DeltaTable(str(table)).to_pyarrow_table(columns=list(columns), filesystem=folder)


def find_latencies(root: Path, since: float) -> dict[str, Any]:
    """Give the percentiles over silver's rows sent since a moment (UNIX seconds)."""
    import numpy as np

    committed = {}
    for file in (root / "silver/events/_delta_log").glob("*.json"):
        actions = {name: body for line in file.read_text().splitlines() for name, body in json.loads(line).items()}
        if "txn" in actions:
            committed[actions["txn"]["version"]] = actions["commitInfo"]["timestamp"] / 1000
    rows = read_columns(root / "silver/events", "batch_id", "ingest_time")
    sent = rows["ingest_time"].cast("int64").to_numpy() / 1e6
    latencies = np.array([committed[batch] for batch in rows["batch_id"].to_pylist()]) - sent
    measured = latencies[sent >= since]
    p50, p95, p99 = np.percentile(measured, (50, 95, 99))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "p99": round(float(p99), 2),
            "max": round(float(measured.max()), 2), "events": len(measured), "batches": len(committed)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
