"""The benchmark from end to end on few events: all four engines give the same rows, and the page has every section."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT

RUN = PROJECT_ROOT / "benchmarks" / "run.py"


@pytest.mark.nightly
@pytest.mark.timeout(3600)  # a hang, not a slow machine
def test_a_quick_run_compares_equal_and_writes_every_promised_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, str(RUN), "--quick", "--json"], stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    results = json.loads((tmp_path / "bench/quick/results.json").read_text())
    compared = {name: answer["equal"] for name, answer in results["equal_outputs"].items()}
    assert compared == dict.fromkeys((f"{engine}_{blocks}" for engine in ("polars", "duckdb", "naive_spark")
                                      for blocks in (1, 2)), True)
    assert {engine: built["compared"]["equal"] for engine, built in results["gold_runs"]["peers"].items()} == {
        "polars": True, "duckdb": True}
    assert set(results["targets"]) == {
        "pipeline_against_naive_spark", "pipeline_against_polars", "pipeline_against_pseudonyms_off",
        "last_tenth_against_first", "peak_memory_10x", "p95_event_to_silver", "daily_gold_30x",
        "daily_gold_against_rebuild", "files_per_day"}
    assert set(results["pipeline"]) == set(results["pipeline_warm"]) == {
        "ours", "pseudonyms_off", "polars", "duckdb", "naive_spark"}
    page = (tmp_path / "bench/quick/RESULTS.md").read_text()
    for section in ("What must be true", "The whole pipeline", "Ten blocks in one run", "Latency", "Gold", "Sending"):
        assert f"## {section}" in page


def test_a_section_that_does_not_exist_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, str(RUN), "--only", "pipeline,speed"], capture_output=True, text=True,
                          check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "speed" in done.stderr
    assert "latency" in done.stderr
