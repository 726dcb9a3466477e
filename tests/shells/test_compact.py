"""utils/compact.py: fewer files, the same rows, and a stream that goes on meanwhile."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shoplake.contract.tables import BRONZE_EVENTS, LEDGER, SILVER_EVENTS, TABLES, Table
from shoplake.lake import maintenance
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table, table_exists
from shoplake.lake.changes import find_changes
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.lake.partitions import list_files

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMPACT = "utils/compact.py"
Run = Callable[..., tuple[int, str, str]]


def files_per_day(lake: Lake) -> dict[str, int]:
    """Give the largest number of files of one day, for each table that has rows."""
    days = {table.name: Counter(file.day for file in list_files(open_table(lake, table), table))
            for table in TABLES if table_exists(lake, table)}
    return {name: max(files.values()) for name, files in days.items() if files}


@pytest.fixture
def each_day_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_CHUNK_BYTES", 1)


@pytest.mark.usefixtures("each_day_a_chunk")
@pytest.mark.faults  # a minute or more
def test_rows_stay_while_a_batch_comes_in_between(
    lake_of_three: Lake, rows_of_four: Any, rows_of: Any, take_in: Any, run_tool: Run,
) -> None:
    """The rows are those of a lake that nobody compacted; then its batches, repeated, add nothing."""
    assert files_per_day(lake_of_three)["silver.events"] == 3
    stream = threading.Thread(target=take_in, args=(lake_of_three, 3))
    stream.start()
    code, out, err = run_tool(COMPACT, "--json")
    stream.join()
    assert code == 0, err
    assert rows_of(lake_of_three) == rows_of_four
    assert max(files_per_day(lake_of_three).values()) <= 2, "one file and the batch's"
    assert {one["table"] for one in json.loads(out)["tables"]} == rows_of_four.keys()

    assert run_tool(COMPACT, "--retention", "0")[0] == 0
    assert set(files_per_day(lake_of_three).values()) == {1}
    left = [path for path in Path(lake_of_three.table(SILVER_EVENTS)).rglob("*") if "_delta_log" not in path.parts]
    assert len([path for path in left if path.suffix == ".parquet"]) == 5, "what was replaced is gone"
    assert not [path for path in left if path.is_dir() and not any(path.iterdir())], "and so are the writes' folders"
    take_in(lake_of_three, 3)
    assert rows_of(lake_of_three) == rows_of_four
    assert run_tool("utils/reconcile.py")[0] == 0


def test_a_batch_is_known_after_the_log_is_only_a_checkpoint(
    lake_of_four: Lake, rows_of_four: Any, rows_of: Any, take_in: Any, run_tool: Run,
) -> None:
    """As weeks later, when the log's entries before a checkpoint are cleaned up."""
    assert run_tool(COMPACT, "--retention", "0")[0] == 0
    for table in (BRONZE_EVENTS, SILVER_EVENTS, LEDGER):
        delta = open_table(lake_of_four, table)
        delta.create_checkpoint()
        log = Path(lake_of_four.table(table)) / "_delta_log"
        for entry in log.glob("*.json"):
            if int(entry.stem) < delta.version():
                entry.unlink()
        for remains in log.glob(".*.crc"):
            remains.unlink()
    take_in(lake_of_four, 3)
    take_in(lake_of_four, 1)
    assert rows_of(lake_of_four) == rows_of_four


@pytest.fixture
def lake_with_gold(lake_of_four: Lake, spark: "SparkSession") -> Lake:
    from shoplake.batch.build import GOLD_BUILDS, build_gold_table
    from shoplake.lake.delta import create_tables
    from shoplake.settings import load_settings

    create_tables(lake_of_four, [gold.table for gold in GOLD_BUILDS], load_settings("local").shop)
    build_gold_table(spark, lake_of_four, GOLD_BUILDS[0], 5)
    return lake_of_four


def test_what_gold_has_read_of_the_ledger_is_kept(lake_with_gold: Lake, run_tool: Run, take_in: Any) -> None:
    gold = next(table for table in TABLES if table.name == "gold.daily_sales")
    assert run_tool(COMPACT, "--retention", "0")[0] == 0
    assert len(list_files(open_table(lake_with_gold, LEDGER), LEDGER)) == 1
    assert find_changes(lake_with_gold, gold).dates == frozenset(), "no day is built again for a compaction"
    assert run_tool(COMPACT, "--retention", "0", "--json")[0] == 0
    assert find_changes(lake_with_gold, gold).dates == frozenset()


@pytest.mark.usefixtures("each_day_a_chunk")
def test_a_waiting_writer_goes_in_between_two_days(
    lake: Lake, small_files: None, run_tool: Run, monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    rewrite, began = maintenance._rewrite, threading.Event()

    def note(*of_chunk: Any) -> None:
        order.append("day")
        began.set()
        rewrite(*of_chunk)

    def write() -> None:
        began.wait()
        with hold_lock(lake, INGEST, timeout=60):
            order.append("batch")

    monkeypatch.setattr(maintenance, "_rewrite", note)
    writer = threading.Thread(target=write)
    writer.start()
    assert run_tool(COMPACT)[0] == 0
    writer.join()
    assert order.count("day") == 8
    assert order.index("batch") <= 2


@pytest.fixture
def lake(data_dir: Path) -> Lake:
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def small_files(lake: Lake, make_arrow: Callable[[Table, list[dict[str, Any]]], Any]) -> None:
    """Give bronze.events eight days of two files."""
    from datetime import date

    from deltalake import write_deltalake

    row = dict.fromkeys(BRONZE_EVENTS.column_names)
    for number in range(2):
        rows = [{**row, "offset": number, "ingest_date": date(2026, 3, day)} for day in range(1, 9)]
        write_deltalake(lake.table(BRONZE_EVENTS), make_arrow(BRONZE_EVENTS, rows), mode="append",
                        partition_by=["ingest_date"])


@pytest.mark.usefixtures("small_files")
def test_files_are_kept_for_the_retention_and_orphans_too(lake: Lake, run_tool: Run) -> None:
    folder = Path(lake.table(BRONZE_EVENTS)) / "ingest_date=2026-03-01"
    young, old = folder / "young.parquet", folder / "old.parquet"
    for orphan in (young, old):
        orphan.write_bytes(b"of a writer that was killed")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    code, out, _ = run_tool(COMPACT, "--table", "bronze.events", "--json")
    assert code == 0
    assert json.loads(out)["tables"] == [{"table": "bronze.events", "files_before": 16, "files_after": 8,
                                          "most_files": 1, "days": 8, "deleted_files": 1}]
    assert {path.name for path in folder.iterdir()} >= {"young.parquet"}
    assert not old.exists()
    assert len(list(folder.glob("part-*.parquet"))) == 3, "the two that were merged can still be read"
    code, out, _ = run_tool(COMPACT)
    assert code == 0
    assert "nothing was done" in out


@pytest.mark.parametrize("name", ["checkpoint-events", "gold.daily_sales", INGEST])
@pytest.mark.usefixtures("small_files")
def test_no_retention_is_refused_while_anything_runs(lake: Lake, run_tool: Run, name: str) -> None:
    before = open_table(lake, BRONZE_EVENTS).version()
    with hold_lock(lake, name, timeout=0):
        code, _, err = run_tool(COMPACT, "--retention", "0")
        assert code == 1
        assert f"the lock {name!r}" in err
        assert "is held by process" in err
    assert open_table(lake, BRONZE_EVENTS).version() == before


@pytest.mark.usefixtures("small_files")
def test_it_gives_up_on_a_writer_that_does_not_end(
    lake: Lake, run_tool: Run, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    with hold_lock(lake, INGEST, timeout=0):
        code, _, err = run_tool(COMPACT)
    assert code == 1
    assert "the lock 'ingest'" in err


def test_nothing_there_is_said_and_no_failure(lake: Lake, run_tool: Run) -> None:
    for flags in ([], ["--retention", "0"]):
        code, out, _ = run_tool(COMPACT, *flags)
        assert code == 0
        assert "nothing to compact" in out
    assert not Path(lake.root).exists()


def test_an_unknown_table_is_refused(run_tool: Run) -> None:
    code, _, err = run_tool(COMPACT, "--table", "silver.event")
    assert code == 2
    assert "silver.events" in err
