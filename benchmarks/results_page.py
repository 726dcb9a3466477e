"""Write RESULTS.md from results.json: each promised figure against its floor and aim, then what every engine took.

results.json gains `targets`: for each of these rows its value, floor, aim, and which of them it meets.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK, ShoplakeError
from shoplake.outcome import run_to_exit_code

Json = dict[str, Any]
MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """One row of what must be true; `at_least` tells whether more is better."""

    key: str
    text: str
    floor: float
    aim: float
    at_least: bool

    def verdict(self, value: float) -> str:
        """Say which of the two the value meets."""
        for limit, word in ((self.aim, "aim"), (self.floor, "floor")):
            if value >= limit if self.at_least else value <= limit:
                return word
        return "missed"


TARGETS = (
    Target("pipeline_against_naive_spark", "Full pipeline against naive four-query Spark, cold (times)", 6, 12, True),
    Target("pipeline_against_polars", "Full pipeline against the Polars peer, cold (times)", 0.12, 0.40, True),
    Target("pipeline_against_pseudonyms_off", "Full pipeline against the same with records in the clear, cold (times)",
           0.9, 0.95, True),
    Target("last_tenth_against_first", "Throughput of the last tenth against the first, 10 times the events", 0.9, 0.97,
           True),
    Target("peak_memory_10x", "Peak memory at 10 times the events (times)", 1.15, 1.05, False),
    Target("p95_event_to_silver", "p95 event to silver at 1,000 events/s, warm (seconds)", 10, 4, False),
    Target("daily_gold_30x", "Daily gold run at 30 times the history against 1 time", 1.3, 1.1, False),
    Target("daily_gold_against_rebuild", "Daily gold run against a full rebuild at 30 times", 0.10, 0.05, False),
    Target("files_per_day", "Files per day partition after compaction, the most", 4, 2, False),
)
PIPELINES = (("pipeline", "cold: a new process, one block"), ("pipeline_warm", "warm: the second block of a run"))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="results.json")
    parser.add_argument("--to", type=Path, required=True, metavar="RESULTS.md")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: write(flags.results, flags.to))


def write(results_file: Path, target: Path) -> int:
    """Write the page, and the verdicts into the results."""
    results = json.loads(results_file.read_text())
    results["machine"] = describe_machine()
    results["targets"] = {
        row.key: {"value": results[row.key], "floor": row.floor, "aim": row.aim, "meets": row.verdict(results[row.key])}
        for row in TARGETS if row.key in results}
    results_file.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    target.write_text(render(results))
    print(f"wrote {target}")
    if unequal := find_unequal(results):
        raise ShoplakeError(f"other rows than ours, so no figures: {', '.join(unequal)}; see {target}")
    return EXIT_OK


def find_unequal(results: Json) -> list[str]:
    """Name the lakes and the engines' gold whose rows are not ours."""
    peers = results.get("gold_runs", {}).get("peers", {})
    gold = {f"gold of {name}": peer["compared"] for name, peer in peers.items()}
    return [name for name, answer in {**results.get("equal_outputs", {}), **gold}.items() if not answer["equal"]]


def describe_machine() -> Json:
    """Say what was measured on, and with which versions."""
    from importlib.metadata import version
    from platform import platform

    import psutil

    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else []
    pins = (Path(__file__).parent / "requirements-peers.txt").read_text().splitlines()
    peers = dict(pin.split()[0].split("==") for pin in pins
                 if pin.startswith(("polars=", "duckdb=", "confluent-kafka=")))
    return {
        "cpu": models[0] if models else "unknown", "cores": psutil.cpu_count(), "platform": platform(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in ("pyspark", "delta-spark",
                                                                                          "deltalake")}, **peers},
    }


def render(results: Json) -> str:
    """Give the page."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        "# Results", "",
        "Written by `make bench`; do not edit. Figures are medians of the runs below; ten blocks, the naive job's two",
        "blocks, latency and gold's full builds run once. CPU-seconds are those of the whole process tree, and the",
        "broker is apart. What they mean for a user: [performance](../docs/performance.md).", "",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['platform']}. "
        f"Versions: {versions}.", "",
        *table(("section", "events of a block", "runs", "when", "load before, after"), [
            (name, f"{about['events']:,}", about["repeat"], about["at"],
             f"{about['load_before']}, {about['load_after']}")
            for name, about in results.get("sections", {}).items()]), "",
        "## What must be true", "",
        *table(("", "floor", "aim", "measured", "meets"), [
            (row.text, row.floor, row.aim, results["targets"][row.key]["value"], results["targets"][row.key]["meets"])
            for row in TARGETS if row.key in results["targets"]]),
    ]
    for section in (render_pipeline, render_growth, render_sections):
        lines += section(results)
    return "\n".join(lines) + "\n"


def render_pipeline(results: Json) -> list[str]:
    """Give the engines' table."""
    if "pipeline" not in results:
        return []
    rows = []
    for engine, runs in results["pipeline_runs"].items():
        for name, kind in (("cold", "cold"), ("two_blocks", "two blocks")):
            rows.append((engine, kind, *(round(statistics.median(run[key] for run in runs[name]) / unit, 1)
                                         for key, unit in (("cpu_seconds", 1), ("wall_seconds", 1),
                                                           ("peak_rss_bytes", MIB)))))
    engines = list(results["pipeline"])
    compared = [(name, "equal" if answer["equal"] else "NOT equal",
                 ", ".join(f"{table_name} {counts['only_left']}/{counts['only_right']} of {counts['rows']}"
                           for table_name, counts in answer["tables"].items()
                           if counts["only_left"] or counts["only_right"]))
                for name, answer in results["equal_outputs"].items()]
    return [
        "", "## The whole pipeline", "", "Events per CPU-second, `python benchmarks/run.py --only pipeline`:", "",
        *table(("", *engines), [(text, *(f"{results[key][engine]:,}" for engine in engines))
                                for key, text in PIPELINES]),
        "", "`polars` and `duckdb` are confluent-kafka, delta-rs and the engine, in micro-batches of 250,000;",
        "`naive_spark` is four queries with Spark's defaults, each of which takes all there is as one batch. Its warm",
        "figure is what two blocks take more than one, as it has no ledger.",
        "", "What each run took:", "", *table(("engine", "run", "CPU-s", "wall s", "peak MiB"), rows),
        "", "Row by row against ours in the clear (`benchmarks/compare.py`); ours differs in identities alone",
        "(`tests/dataflow/test_sealed_lake.py`); the naive job is compared in what it can have:", "",
        *table(("lake, blocks", "rows", "differences: only ours/only theirs"), compared),
    ]


def render_growth(results: Json) -> list[str]:
    """Give the ten tenths of the long run."""
    if "growth_runs" not in results:
        return []
    return ["", "## Ten blocks in one run", "", "`python benchmarks/run.py --only growth`:", "",
            *table(("tenth", "CPU-s", "wall s"), [
                (number, round(tenth["cpu_seconds"], 1), round(tenth["seconds"], 1))
                for number, tenth in enumerate(results["growth_runs"]["tenths"], 1)]),
            "", *(f"Peak memory, {name}: {results['growth_runs'][name]['peak_rss_bytes'] // MIB:,} MiB. "
                  for name in ("1x", "10x")),
            f"Most files of a day: {results['growth_runs']['files']['before']} before compaction, "
            f"{results['growth_runs']['files']['after']} after."]


def render_sections(results: Json) -> list[str]:
    """Give what the other sections found, figure by figure."""
    lines: list[str] = []
    for name in ("latency", "gold", "sending"):
        if answer := results.get(f"{name}_runs"):
            rows = [(key, value) for key, value in flatten(answer) if not isinstance(value, list)]
            lines += ["", f"## {name.capitalize()}", "", f"`python benchmarks/run.py --only {name}`:", "",
                      *table(("figure", "value"), rows)]
    return lines


def flatten(answer: Json, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Give nested figures by their path."""
    for key, value in answer.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}, ")
        else:
            yield f"{prefix}{key}", round(value, 3) if isinstance(value, float) else value


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Give a Markdown table."""
    return [f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
