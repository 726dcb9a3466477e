"""Take a topic into a new lake with one engine, and tell what it took, as one JSON object.

CPU-seconds are those of the engine's process tree; the broker is apart. `batches` tells for each ledger row how many
records were in by then, and the seconds and CPU-seconds since the start; `warm` is what came after the first --cold
records: the part of a running stream. The naive job has no ledger, so there is none of both for it.
`pseudonyms_off` is ours with records in the clear, as the peers have them.
"""

import argparse
import bisect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK, ShoplakeError
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

HERE = PROJECT_ROOT / "benchmarks"
ENGINES = ("ours", "pseudonyms_off", "naive_spark", "polars", "duckdb")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--lake", type=Path, required=True, metavar="FOLDER", help="removed first")
    parser.add_argument("--peers", type=Path, required=True, metavar="PYTHON", help="Python of the peers' environment")
    parser.add_argument("--cold", type=int, default=1_000_000, metavar="N", help="records after which a stream is warm")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Run the engine under measure.py, and print the figures."""
    lake = flags.lake.resolve()
    keys = lake.with_suffix(".data")  # made anew with the lake
    for folder in (lake, keys):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    figures_file, log = lake.with_suffix(".json"), lake.with_suffix(".log")
    environment = {**os.environ, "SHOPLAKE_LAKE__ROOT": str(lake), "SHOPLAKE_KAFKA__TOPIC": flags.topic,
                   "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": flags.servers, "SHOPLAKE_DATA_DIR": str(keys),
                   "SHOPLAKE_GOVERNANCE__PSEUDONYMS": str(flags.engine != "pseudonyms_off").lower()}
    command = [sys.executable, str(HERE / "measure.py"), "--to", str(figures_file), "--log", str(log), "--",
               *engine_command(flags.engine, flags.servers, flags.topic, lake, flags.peers)]
    if subprocess.run(command, env=environment, check=False).returncode:
        raise ShoplakeError(f"{flags.engine} failed; its last words: {log.read_text()[-1500:]} (all of them: {log})")
    figures = json.loads(figures_file.read_text())
    batches = find_batches(lake, figures) if flags.engine != "naive_spark" else []
    print(json.dumps({
        **{name: figures[name] for name in ("cpu_seconds", "wall_seconds", "peak_rss_bytes")},
        "engine": flags.engine, "topic": flags.topic, "batches": batches, "warm": find_warm(batches, flags.cold),
    }))
    return EXIT_OK


def engine_command(engine: str, servers: str, topic: str, lake: Path, peers: Path) -> list[str]:
    """Give the command that drains the topic."""
    where = ["--servers", servers, "--topic", topic, "--lake", str(lake)]
    if engine in ("ours", "pseudonyms_off"):
        return ["spark-submit", str(PROJECT_ROOT / "spark/streaming_pipeline.py"), "--drain"]
    if engine == "naive_spark":
        program = [str(HERE / "naive_spark.conf"), str(HERE / "naive_spark.py")]
        return ["spark-submit", "--properties-file", *program, *where]
    return [str(peers), str(HERE / "peer.py"), "--engine", engine, *where]


def find_batches(lake: Path, figures: dict[str, Any]) -> list[dict[str, float]]:
    """Give each ledger row's records so far, with the run's seconds and CPU-seconds at its commit."""
    batches, records = [], 0
    for file in sorted((lake / "ops/ledger/_delta_log").glob("*.json")):
        actions = {name: body for line in file.read_text().splitlines() for name, body in json.loads(line).items()}
        if "add" not in actions:
            continue
        records += json.loads(actions["add"]["stats"])["maxValues"]["bronze_count"]  # of one row
        seconds = actions["commitInfo"]["timestamp"] / 1000 - figures["started"]
        batches.append({"records": records, "seconds": seconds, "cpu_seconds": cpu_at(figures["samples"], seconds)})
    return batches


def cpu_at(samples: list[list[float]], seconds: float) -> float:
    """Give the CPU-seconds at a moment, between the two samples around it."""
    after = bisect.bisect([sample[0] for sample in samples], seconds)
    if after == 0 or after == len(samples):
        return samples[min(after, len(samples) - 1)][1]
    (left, cpu, _), (right, later, _) = samples[after - 1:after + 1]
    return cpu + (later - cpu) * (seconds - left) / (right - left)


def find_warm(batches: list[dict[str, float]], cold: int) -> dict[str, float] | None:
    """Give what the records after the first `cold` took (an offset or two less: batches are cut by partition)."""
    begin = next((batch for batch in batches if batch["records"] >= 0.999 * cold), None)
    if begin is None or begin is batches[-1]:
        return None
    return {name: batches[-1][name] - begin[name] for name in ("records", "seconds", "cpu_seconds")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
