"""The benchmark's pure parts: what a figure is, where a part of a run begins, and what the page says of it."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import write_deltalake

from shoplake.contract.render import duckdb_columns
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE_1H,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.settings import PROJECT_ROOT

BENCHMARKS = PROJECT_ROOT / "benchmarks"
INGEST_TABLES = (BRONZE_EVENTS, SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE, PRODUCT_REVENUE_5MIN,
                 CATEGORY_REVENUE_1H, LEDGER)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "results_page.py"))


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "pipeline.py"))


@pytest.fixture(scope="module")
def compare() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "compare.py"))


@pytest.fixture(scope="module")
def runner() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "run.py"))


def test_a_figure_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    # The command itself does nothing: its child holds 200 MiB and burns CPU, and has ended before the command does.
    work = "import time\nheld = bytearray(200 << 20)\nwhile time.process_time() < 0.9: pass"
    spawn = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    figures = measure(tmp_path, sys.executable, "-c", spawn)
    assert figures["cpu_seconds"] >= 0.9
    assert figures["samples"][-1][1] > 0.2  # seen while it ran
    assert 200 << 20 < figures["peak_rss_bytes"] < 300 << 20


def test_a_failed_command_fails_the_measurement(tmp_path: Path) -> None:
    assert measure(tmp_path, sys.executable, "-c", "print('no'); raise SystemExit(7)", code=7)["exit_code"] == 7
    assert (tmp_path / "log").read_text() == "no\n"


def measure(folder: Path, *command: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(BENCHMARKS / "measure.py"), "--to", str(folder / "figures.json"),
                           "--log", str(folder / "log"), "--", *command], check=False)
    assert done.returncode == code
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures


def test_what_is_warm_begins_with_the_commit_of_the_first_block(tmp_path: Path, pipeline: dict[str, Any]) -> None:
    # Three batches, the first of which leaves an offset for the next one, as batches are cut by partition.
    write_ledger(tmp_path, [(999, 110.0), (1001, 120.0), (500, 130.0)])
    samples = [[0.0, 0.0, 1], [10.0, 20.0, 1], [20.0, 26.0, 1], [30.0, 34.0, 1]]
    batches = pipeline["find_batches"](tmp_path, {"started": 100.0, "samples": samples})
    assert [batch["records"] for batch in batches] == [999, 2000, 2500]
    assert [batch["cpu_seconds"] for batch in batches] == [20.0, 26.0, 34.0]
    assert pipeline["find_warm"](batches, 1000) == {"records": 1501, "seconds": 20.0, "cpu_seconds": 14.0}
    assert pipeline["find_warm"](batches, 2500) is None


def test_cpu_between_two_samples_is_between_them(pipeline: dict[str, Any]) -> None:
    assert pipeline["cpu_at"]([[0.0, 0.0, 1], [10.0, 20.0, 1]], 2.5) == 5.0
    assert pipeline["cpu_at"]([[0.0, 0.0, 1], [10.0, 20.0, 1]], 99.0) == 20.0


def write_ledger(lake: Path, batches: list[tuple[int, float]]) -> None:
    log = lake / "ops/ledger/_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text(json.dumps({"commitInfo": {"timestamp": 99_000}}))  # the empty table
    for number, (records, seconds) in enumerate(batches, 1):
        stats = {"numRecords": 1, "minValues": {"bronze_count": records}, "maxValues": {"bronze_count": records}}
        actions = [{"commitInfo": {"timestamp": seconds * 1000}}, {"txn": {"appId": "q", "version": number - 1}},
                   {"add": {"path": "x", "stats": json.dumps(stats)}}]
        (log / f"{number:020}.json").write_text("\n".join(map(json.dumps, actions)))


def write_table(lake: Path, table: Table, **values: str) -> None:
    """One row of NULLs, but for `values`, which are SQL."""
    types = duckdb_columns(table.columns)
    row = ", ".join(f'CAST({values.get(name, "NULL")} AS {type_}) AS "{name}"' for name, type_ in types.items())
    write_deltalake(str(lake / table.name.replace(".", "/")), duckdb.sql(f"SELECT {row}").to_arrow_table(),
                    mode="overwrite")


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lakes")
    for table in INGEST_TABLES:
        write_table(folder / "left", table)
        write_table(folder / "right", table, batch_id="3", query_id="'of the other'")
    return folder


@pytest.mark.parametrize(("table", "column", "value"), [
    (BRONZE_EVENTS, "value", "'\\x7B\\x7D'::BLOB"), (SILVER_EVENTS, "price", "1.0001"),
    (SILVER_EVENTS, "content_hash", "'x'"),
    (SILVER_DUPLICATES, "kept_offset", "7"), (SILVER_QUARANTINE, "reasons", "['price_valid']"),
    (PRODUCT_REVENUE_5MIN, "net_amount", "0.0001"), (CATEGORY_REVENUE_1H, "units", "1"), (LEDGER, "late_count", "1"),
    (LEDGER, "rules", "[{'rule': 'price_valid', 'passed': 1, 'failed': 0}]"),
])
def test_one_other_value_in_any_table_is_a_difference(
    lakes: Path, tmp_path: Path, compare: dict[str, Any], capsys: pytest.CaptureFixture[str], table: Table, column: str,
    value: str,
) -> None:
    right = tmp_path / "right"
    shutil.copytree(lakes / "right", right)
    write_table(right, table, **{column: value})
    assert compare["main"]([str(lakes / "left"), str(right), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    different = [name for name, counts in found["tables"].items() if counts["only_left"] or counts["only_right"]]
    assert (found["equal"], different) == (False, [table.name.replace(".", "/")])


def test_ids_of_batches_may_differ(lakes: Path, compare: dict[str, Any]) -> None:
    assert compare["main"]([str(lakes / "left"), str(lakes / "right")]) == 0


def test_tenths_of_a_run_are_cut_between_commits(runner: dict[str, Any]) -> None:
    batches = [{"records": 400, "seconds": 8.0, "cpu_seconds": 16.0}, {"records": 1000, "seconds": 20.0,
                                                                      "cpu_seconds": 22.0}]
    assert runner["end_of_tenth"](batches, 2) == {"seconds": 4.0, "cpu_seconds": 8.0}
    assert runner["end_of_tenth"](batches, 7) == {"seconds": 14.0, "cpu_seconds": 19.0}
    assert runner["end_of_tenth"](batches, 10) == {"seconds": 20.0, "cpu_seconds": 22.0}


def test_the_second_block_of_a_job_without_a_ledger_is_what_two_take_more_than_one(runner: dict[str, Any]) -> None:
    with_ledger = {"cold": [{"cpu_seconds": 50.0}], "two_blocks": [
        {"cpu_seconds": 90.0, "warm": {"cpu_seconds": cpu}} for cpu in (30.0, 40.0, 31.0)]}
    without = {"cold": [{"cpu_seconds": 50.0}], "two_blocks": [{"cpu_seconds": 90.0, "warm": None}]}
    assert runner["warm_cpu"](with_ledger) == 31.0
    assert runner["warm_cpu"](without) == 40.0
    assert runner["ratio"]({"ours": 12_000.0, "polars": 48_000.0}, "polars") == 0.25


@pytest.mark.parametrize(("key", "value", "meets"), [
    ("pipeline_against_naive_spark", 12, "aim"), ("pipeline_against_naive_spark", 11.9, "floor"),
    ("pipeline_against_naive_spark", 5.9, "missed"), ("peak_memory_10x", 1.05, "aim"),
    ("peak_memory_10x", 1.1, "floor"), ("peak_memory_10x", 1.2, "missed"),
])
def test_a_row_meets_its_aim_its_floor_or_neither(page: dict[str, Any], key: str, value: float, meets: str) -> None:
    assert next(row for row in page["TARGETS"] if row.key == key).verdict(value) == meets


def test_the_page_shows_each_figure_that_there_is(tmp_path: Path, page: dict[str, Any]) -> None:
    run = {"cpu_seconds": 10.0, "wall_seconds": 6.0, "peak_rss_bytes": 300 << 20}
    results = {
        "pipeline": {"ours": 100_000, "polars": 400_000}, "pipeline_warm": {"ours": 200_000, "polars": 500_000},
        "pipeline_runs": {"ours": {"cold": [run, {**run, "cpu_seconds": 30.0}, {**run, "cpu_seconds": 12.0}],
                                   "two_blocks": [run]}},
        "equal_outputs": {"polars_1": {"equal": False, "tables": {
            "silver/events": {"rows": 9, "only_left": 1, "only_right": 2},
            "bronze/events": {"rows": 9, "only_left": 0, "only_right": 0}}}},
        "pipeline_against_polars": 0.25, "p95_event_to_silver": 11.5,
        "sections": {"pipeline": {"events": 1_000_000, "repeat": 3, "at": "2026-11-21T20:00:00+00:00",
                                  "load_before": 0.1, "load_after": 2.0}},
        "latency_runs": {"p95": 11.5, "batches": 12}, "gold_runs": {"growth": {"1x": {"daily_cpu_seconds": 21.123456}}},
    }
    file, target = tmp_path / "results.json", tmp_path / "RESULTS.md"
    file.write_text(json.dumps(results))
    assert page["main"]([str(file), "--to", str(target)]) == 1, "it is written, but rows differ"
    text = target.read_text()
    assert "| Full pipeline against the Polars peer, cold (times) | 0.12 | 0.4 | 0.25 | floor |" in text
    assert "| p95 event to silver at 1,000 events/s, warm (seconds) | 10 | 4 | 11.5 | missed |" in text
    assert "| ours | cold | 12.0 | 6.0 | 300.0 |" in text  # the median of the three
    assert "| polars_1 | NOT equal | silver/events 1/2 of 9 |" in text
    assert "| growth, 1x, daily_cpu_seconds | 21.123 |" in text
    assert "last tenth" not in text  # not measured yet
    written = json.loads(file.read_text())
    assert written["targets"]["pipeline_against_polars"] == {"value": 0.25, "floor": 0.12, "aim": 0.4, "meets": "floor"}
    assert written["pipeline"] == results["pipeline"]


def test_other_rows_than_ours_are_no_result(page: dict[str, Any]) -> None:
    same, other = {"equal": True, "tables": {}}, {"equal": False, "tables": {}}
    results = {"equal_outputs": {"polars_1": same, "duckdb_1": other},
               "gold_runs": {"peers": {"polars": {"compared": other}, "duckdb": {"compared": same}}}}
    assert page["find_unequal"](results) == ["duckdb_1", "gold of polars"]
    assert page["find_unequal"]({"equal_outputs": {"polars_1": same}}) == page["find_unequal"]({}) == []
