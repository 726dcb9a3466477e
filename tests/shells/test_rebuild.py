"""utils/rebuild.py: from bronze alone the same lake comes out, and a rebuild that dies changes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_log import read_acts

from shoplake.contract.tables import LEDGER, SILVER_DUPLICATES, SILVER_EVENTS, SILVER_QUARANTINE
from shoplake.lake import rebuild as lake_rebuild
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table, read_table
from shoplake.lake.locks import hold_lock
from shoplake.lake.rebuild import BronzeBatch, sort_batches
from shoplake.streaming import ingest

REBUILD = ("utils/rebuild.py", "--from", "bronze")
Run = Callable[..., tuple[int, str, str]]


class Crash(Exception):
    """The process would die here."""


def crash(*_: Any) -> None:
    raise Crash


@pytest.mark.faults  # a minute or more
def test_from_bronze_comes_the_same_lake_and_the_stream_goes_on(
    lake_of_three: Lake, rows_of_four: Any, rows_of: Any, take_in: Any, run_tool: Run, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fourth batch broke off before its ledger row, and silver is damaged; batches repeated later add nothing."""
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "append_row_once", crash)
        with pytest.raises(Crash):
            take_in(lake_of_three, 3)
    open_table(lake_of_three, SILVER_EVENTS).delete("product_id = 'p1'")
    assert run_tool("utils/reconcile.py")[0] == 3

    code, out, err = run_tool(*REBUILD, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["batches"], report["finished"]) == (4, 1)
    assert report["next"] == "spark-submit spark/batch_processing.py --from 2026-03-01 --to 2026-03-05"
    assert rows_of(lake_of_three) == rows_of_four
    assert read_acts(lake_of_three) == [("rebuild", "silver.events", "begun"), ("rebuild", "silver.events", "done")]
    assert run_tool("utils/reconcile.py")[0] == 0
    assert not (Path(lake_of_three.root) / "_rebuild").exists()
    for number in (3, 1):
        take_in(lake_of_three, number)
    assert rows_of(lake_of_three) == rows_of_four


@pytest.mark.faults
@pytest.mark.parametrize("place", ["a batch", "a table"])
def test_a_rebuild_that_dies_leaves_the_lake_and_the_next_one_ends_it(
    lake_of_four: Lake, rows_of_four: Any, rows_of: Any, run_tool: Run, monkeypatch: pytest.MonkeyPatch, place: str,
) -> None:
    module, name, good_calls = ((ingest, "append_row_once", 1) if place == "a batch"
                                else (lake_rebuild, "write_deltalake", 3))
    call, calls = getattr(module, name), iter(range(good_calls))

    def die_later(*arguments: Any, **options: Any) -> None:
        if next(calls, None) is None:
            raise Crash
        call(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, die_later)
        with pytest.raises(Crash):
            run_tool(*REBUILD)
    assert rows_of(lake_of_four) == rows_of_four
    assert run_tool("utils/reconcile.py")[0] == 0
    if place == "a batch":  # the rest is the same for both
        return
    for table in (SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE):
        shutil.rmtree(lake_of_four.table(table))
    assert run_tool(*REBUILD)[0] == 0
    assert rows_of(lake_of_four) == rows_of_four, "with the order of the ledger's commits alone"


@pytest.mark.faults
def test_after_a_rule_was_changed_the_records_are_judged_by_the_new_ones(
    lake_of_four: Lake, rows_of_four: Any, rows_of: Any, take_in: Any, run_tool: Run, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the rule the record is a copy of an event with another price; the stream goes on with the new verdict."""
    rules = ingest.event_rules
    monkeypatch.setattr(ingest, "event_rules", lambda *settings: tuple(
        rule for rule in rules(*settings) if rule.name != "price_not_negative"))
    assert run_tool(*REBUILD)[0] == 0
    assert run_tool("utils/reconcile.py")[0] == 0
    rebuilt = rows_of(lake_of_four)
    changed = {SILVER_QUARANTINE.name, LEDGER.name}
    assert {name for name in rows_of_four if rebuilt[name] != rows_of_four[name]} == changed
    reasons = read_table(lake_of_four, SILVER_QUARANTINE, ["reasons"])["reasons"].to_pylist()
    assert ["price_not_negative"] not in reasons
    assert len(reasons) == len(rows_of_four[SILVER_QUARANTINE.name])
    take_in(lake_of_four, 3)
    assert rows_of(lake_of_four) == rebuilt


def test_bronze_with_a_gap_is_refused_and_nothing_changed(lake_of_four: Lake, rows_of: Any, run_tool: Run) -> None:
    from shoplake.contract.tables import BRONZE_EVENTS

    open_table(lake_of_four, BRONZE_EVENTS).delete("offset = 3 AND origin = 'topic-id'")
    before = rows_of(lake_of_four)
    code, _, err = run_tool(*REBUILD)
    assert code == 3
    assert "bronze is not whole: batch 0 of query took in 15 records by the ledger, and bronze has 14" in err
    assert rows_of(lake_of_four) == before


@pytest.mark.parametrize("name", ["checkpoint-events", "ingest"])
def test_it_is_refused_while_another_writes(
    lake_of_four: Lake, run_tool: Run, name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    version = open_table(lake_of_four, LEDGER).version()
    with hold_lock(lake_of_four, name, timeout=0):
        code, _, err = run_tool(*REBUILD)
    assert code == 1
    assert f"the lock {name!r}" in err
    assert open_table(lake_of_four, LEDGER).version() == version


def test_without_room_it_does_not_begin(lake_of_four: Lake, run_tool: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 10))  # type: ignore[attr-defined]
    code, _, err = run_tool(*REBUILD)
    assert code == 2
    assert "MiB of room" in err


def test_nothing_ingested_is_no_failure(run_tool: Run) -> None:
    code, out, _ = run_tool(*REBUILD)
    assert code == 0
    assert "nothing to rebuild" in out


def test_a_lake_in_a_bucket_is_refused(run_tool: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "gs://bucket/lake")
    code, _, err = run_tool(*REBUILD)
    assert code == 2
    assert "on a local disk only" in err


def batch(query_id: str, batch_id: int, is_done: bool = True) -> BronzeBatch:
    return BronzeBatch(query_id, batch_id, "o", "t", (), is_done)


def test_the_order_of_batches() -> None:
    first, second, file, broken = batch("q", 0), batch("q", 1), batch("f", 0), batch("a", 0, is_done=False)
    every = [broken, file, second, first]

    def order(after: Any, commits: Any) -> list[BronzeBatch]:
        return sort_batches(every, after, commits)

    assert order({}, {}) == [file, first, second, broken]
    assert order({first.key: [file.key]}, {}) == [first, file, second, broken], "the file copied the first batch"
    assert order({second.key: [file.key]}, {}) == [first, second, file, broken]
    assert order({}, {first.key: 1, second.key: 3, file.key: 2}) == [first, file, second, broken]
    assert order({}, {second.key: 3, file.key: 2}) == [first, file, second, broken], "older than the log"
    assert order({second.key: [first.key], file.key: [first.key]}, {}) == [file, broken, first, second], "a circle"
