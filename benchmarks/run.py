"""Measure the platform side by side with its peers, on the same topic, and write results.json and RESULTS.md.

  python benchmarks/run.py                              everything: more than an hour on two cores
  python benchmarks/run.py --only pipeline,latency      only these; the other figures of results.json stay
  python benchmarks/run.py --quick                      a smoke test: few events, once, written into the data folder

A broker, topics and lakes of its own lie in <data>/bench; topics are kept, so that a second run need not fill them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK, ConfigError, ShoplakeError
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROJECT_ROOT, load_settings

HERE = PROJECT_ROOT / "benchmarks"
PEERS = PROJECT_ROOT / ".venv" / "peers"
ENGINES = ("ours", "pseudonyms_off", "polars", "duckdb", "naive_spark")
TENTHS = 10
Json = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where the benchmark works, and how much it does."""

    folder: Path
    servers: str
    events: int
    repeat: int

    @property
    def peers(self) -> str:
        """Python of the peers' environment."""
        return str(PEERS / "bin" / "python")

    def ask(
        self, script: str, *arguments: object, python: str = sys.executable, allowed: tuple[int, ...] = (0,),
    ) -> Json:
        """Run one of the benchmark's commands and give the JSON object that it prints."""
        command = [python, str(HERE / script), *map(str, arguments)]
        print(f"{datetime.now(UTC):%H:%M:%S} {script} {' '.join(map(str, arguments))}", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in allowed:
            raise ShoplakeError(f"{' '.join(command)} ended with {done.returncode}")
        answer: Json = json.loads(done.stdout)
        return answer

    def load(self, blocks: int) -> str:
        """Fill the topic of so many blocks, if it is not full; give its name."""
        topic = f"bench_{self.events}_{blocks}"
        self.ask("load_topic.py", "--servers", self.servers, "--topic", topic, "--events", self.events,
                 "--blocks", blocks, python=self.peers)
        return topic

    def drain(self, engine: str, blocks: int) -> Json:
        """Take the topic of so many blocks into a new lake."""
        return self.ask("pipeline.py", "--engine", engine, "--servers", self.servers, "--topic", self.load(blocks),
                        "--lake", self.lake(engine, blocks), "--peers", self.peers, "--cold", self.events)

    def compare(self, engine: str, blocks: int) -> Json:
        """Compare a peer's lake with ours in the clear, row by row."""
        lenient = ["--naive"] if engine == "naive_spark" else []
        lakes = self.lake("pseudonyms_off", blocks), self.lake(engine, blocks)
        return self.ask("compare.py", *lakes, "--json", *lenient, allowed=(0, 3))

    def lake(self, engine: str, blocks: int) -> Path:
        """Give the folder of an engine's lake."""
        return self.folder / "lakes" / f"{engine}_{blocks}"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAME,…", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="events of one block of 30 days")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of which the median is taken")
    parser.add_argument("--quick", action="store_true", help="10,000 events, once")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Measure the sections asked for, and write what was found after each of them."""
    sections = flags.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        raise ConfigError(f"--only {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    settings = load_settings()
    folder = settings.data_path / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    events, repeat = (10_000, 1) if flags.quick else (flags.events, flags.repeat)
    target = folder / "quick" if flags.quick else HERE
    target.mkdir(exist_ok=True)
    results_file = target / "results.json"
    results: Json = json.loads(results_file.read_text()) if results_file.exists() else {}
    page = [sys.executable, str(HERE / "results_page.py"), str(results_file), "--to", str(target / "RESULTS.md")]
    make_peers()
    code = EXIT_OK
    with broker(folder) as servers:
        bench = Bench(folder, servers, events, repeat)
        for section in sections:
            load = os.getloadavg()[0]
            figures = SECTIONS[section](bench)
            about = {"events": events, "repeat": repeat, "at": datetime.now(UTC).isoformat(timespec="seconds"),
                     "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)}
            results = {**results, **figures, "sections": {**results.get("sections", {}), section: about}}
            results_file.write_text(json.dumps(results))
            code = subprocess.run(page, check=False, stdout=sys.stderr).returncode  # the figures are kept at once
    print_result(json.loads(results_file.read_text()), f"written: {results_file} and RESULTS.md beside it", flags.json)
    return code


def make_peers() -> None:
    """Make the peers' environment, unless it is there as its pins say."""
    pins, stamp = HERE / "requirements-peers.txt", PEERS / ".setup-done"
    if stamp.exists() and stamp.read_text() == pins.read_text():
        return
    uv, python = str(PROJECT_ROOT / ".venv" / "bin" / "uv"), str(PEERS / "bin" / "python")
    for command in ([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)],
                    [uv, "pip", "install", "-q", "--compile-bytecode", "-p", python, "--require-hashes", f"-r{pins}"],
                    [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "-e", str(PROJECT_ROOT)]):
        subprocess.run(command, check=True)
    stamp.write_text(pins.read_text())


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker of the benchmark's own; give its address."""
    environment = {**os.environ, "SHOPLAKE_DATA_DIR": str(folder), "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": "embedded"}
    command = [sys.executable, str(PROJECT_ROOT / "kafka" / "broker.py")]
    answer = subprocess.run([*command, "start", "--json"], env=environment, stdout=subprocess.PIPE, check=True)
    started = json.loads(answer.stdout)
    try:
        yield started["address"]
    finally:
        if started["status"] == "started":  # not one that was there before
            subprocess.run([*command, "stop"], env=environment, stdout=sys.stderr, check=False)


def measure_pipeline(bench: Bench) -> Json:
    """Drain one block cold and a second one warm, with every engine; compare every row."""
    runs: Json = {engine: {"cold": [], "two_blocks": []} for engine in ENGINES}
    for turn in range(bench.repeat):
        for engine in ENGINES:
            runs[engine]["cold"].append(bench.drain(engine, 1))
            if engine != "naive_spark" or turn == 0:  # it takes longer than all the others together
                runs[engine]["two_blocks"].append(bench.drain(engine, 2))
    equal = {f"{engine}_{blocks}": bench.compare(engine, blocks) for engine in ENGINES[2:] for blocks in (1, 2)}
    cold = {engine: bench.events / median(runs[engine]["cold"], "cpu_seconds") for engine in ENGINES}
    warm = {engine: bench.events / warm_cpu(runs[engine]) for engine in ENGINES}
    return {
        "pipeline": rounded(cold), "pipeline_warm": rounded(warm), "pipeline_runs": runs, "equal_outputs": equal,
        **{f"pipeline_against_{peer}": ratio(cold, peer) for peer in ENGINES[1:]},
        **{f"pipeline_warm_against_{peer}": ratio(warm, peer) for peer in ENGINES[1:]},
    }


def warm_cpu(runs: Json) -> float:
    """Give the CPU-seconds of the second block; without a ledger it is what two blocks take more than one."""
    warm = [run["warm"] for run in runs["two_blocks"] if run["warm"]]
    if warm:
        return median(warm, "cpu_seconds")
    return median(runs["two_blocks"], "cpu_seconds") - median(runs["cold"], "cpu_seconds")


def measure_growth(bench: Bench) -> Json:
    """Drain ten blocks in one run: is it as fast at the end, how much memory does it take, how many files are there?"""
    once = bench.drain("ours", 1)
    run = bench.drain("ours", TENTHS)
    ends = [{"seconds": 0.0, "cpu_seconds": 0.0}, *(end_of_tenth(run["batches"], number) for number in range(1, 11))]
    tenths = [{name: after[name] - before[name] for name in after}
              for before, after in pairwise(ends)]
    # The first tenth has Spark's start in it; the row says how the last one does against the better of the first two.
    best = min(tenths[:2], key=lambda tenth: tenth["cpu_seconds"])
    files = bench.ask("files_per_day.py", bench.lake("ours", TENTHS))
    return {
        "growth_runs": {"1x": once, "10x": run, "tenths": tenths, "files": files},
        "files_per_day": files["after"],
        "last_tenth_against_first": round(best["cpu_seconds"] / tenths[-1]["cpu_seconds"], 3),
        "last_tenth_against_first_by_time": round(
            min(tenth["seconds"] for tenth in tenths[:2]) / tenths[-1]["seconds"], 3),
        "peak_memory_10x": round(run["peak_rss_bytes"] / once["peak_rss_bytes"], 3),
    }


def end_of_tenth(batches: list[Json], number: int) -> Json:
    """Give seconds and CPU-seconds at the end of a tenth of the records, between the two commits around it."""
    wanted, before = batches[-1]["records"] * number / TENTHS, {"records": 0, "seconds": 0.0, "cpu_seconds": 0.0}
    for batch in batches:
        if batch["records"] >= wanted:
            share = (wanted - before["records"]) / (batch["records"] - before["records"])
            return {name: before[name] + share * (batch[name] - before[name]) for name in ("seconds", "cpu_seconds")}
        before = batch
    return {name: before[name] for name in ("seconds", "cpu_seconds")}


def measure_script(script: str, *names: str) -> Callable[[Bench], Json]:
    """Make a section of a command that measures by itself; `names` are the fields that stand at the top."""
    def measure(bench: Bench) -> Json:
        scratch = Path(tempfile.mkdtemp(prefix=f"{Path(script).stem}-", dir=bench.folder))
        try:
            answer = bench.ask(script, "--servers", bench.servers, "--folder", scratch, "--peers", bench.peers,
                               "--events", bench.events, "--repeat", bench.repeat)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return {**{name: answer[name] for name in names}, f"{Path(script).stem}_runs": answer}

    return measure


def median(runs: Sequence[Json], name: str) -> float:
    """Give the median of one figure."""
    return float(statistics.median(run[name] for run in runs))


def ratio(figures: dict[str, float], peer: str) -> float:
    """Give how many times as fast ours is as a peer."""
    return round(figures["ours"] / figures[peer], 3)


def rounded(figures: dict[str, float]) -> dict[str, int]:
    """Give whole events per CPU-second."""
    return {name: round(figure) for name, figure in figures.items()}


SECTIONS: dict[str, Callable[[Bench], Json]] = {
    "pipeline": measure_pipeline,
    "growth": measure_growth,
    "latency": measure_script("latency.py", "p95_event_to_silver"),
    "gold": measure_script("gold.py", "gold", "daily_gold_30x", "daily_gold_against_rebuild"),
    "sending": measure_script("sending.py", "sending"),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
