"""utils/reconcile.py on small Delta lakes: balanced as built, exit 3 once anything is missing or doubled."""

import json
import runpy
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE_1H,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.settings import PROJECT_ROOT

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
Write = Callable[[Tables], None]
MAIN = runpy.run_path(str(PROJECT_ROOT / "utils" / "reconcile.py"))["main"]
CONTRACTS = {"bronze": BRONZE_EVENTS, "silver": SILVER_EVENTS, "duplicates": SILVER_DUPLICATES,
             "quarantine": SILVER_QUARANTINE, "erased": SILVER_ERASED, "ledger": LEDGER,
             "products": PRODUCT_REVENUE_5MIN, "categories": CATEGORY_REVENUE_1H}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPIC, FILE = "topic-id", "f" * 64
SAMPLES = {"STRING": "x", "INT": 1, "BIGINT": 1, "DATE": NOON.date(), "TIMESTAMP": NOON, "BOOLEAN": False,
           "BINARY": b"x", "DECIMAL(18,4)": 1}


def _row(table: Table, **values: Any) -> dict[str, Any]:
    return {column.name: values.get(column.name, SAMPLES.get(column.type)) for column in table.columns}


def _coordinate(origin: str, partition: int, offset: int, batch_id: int) -> dict[str, Any]:
    return {"origin": origin, "partition": partition, "offset": offset, "query_id": f"query of {origin}",
            "batch_id": batch_id}


def _balanced() -> Tables:
    """Two batches of a topic with two partitions and one file; of each 10 records 7 are good, 2 copies, 1 bad.

    The very first is a sale, which stands in its two windows.
    """
    tables: Tables = {name: [] for name in CONTRACTS}
    for origin, batch_id, ranges in (
        (TOPIC, 0, [(0, 0, 10), (1, 0, 10)]), (TOPIC, 1, [(0, 10, 20), (1, 10, 10)]), (FILE, 0, [(0, 0, 10)]),
    ):
        counts = dict.fromkeys(
            ("bronze_count", "silver_count", "duplicate_count", "quarantine_count", "erased_count"), 0)
        for partition, start, end in ranges:
            for offset in range(start, end):
                at = _coordinate(origin, partition, offset, batch_id)
                tables["bronze"].append(_row(BRONZE_EVENTS, **at))
                place = offset % 10
                event_id = f"{origin}-{partition}-{start if place >= 7 else offset}"
                if place < 7:
                    tables["silver"].append(_row(SILVER_EVENTS, event_id=event_id, **at))
                    counts["silver_count"] += 1
                kept = {"kept_origin": origin, "kept_partition": partition, "kept_offset": start}
                if place in (7, 8):
                    tables["duplicates"].append(_row(SILVER_DUPLICATES, event_id=event_id, **kept, **at))
                    counts["duplicate_count"] += 1
                if place == 9:
                    reasons = ["price_valid", "quantity_positive"] if partition else ["conflicting_duplicate"]
                    empty = dict.fromkeys(kept) if partition else kept
                    tables["quarantine"].append(_row(SILVER_QUARANTINE, reasons=reasons, **empty, **at))
                    counts["quarantine_count"] += 1
                counts["bronze_count"] += 1
        tables["ledger"].append(_row(
            LEDGER, query_id=f"query of {origin}", batch_id=batch_id, origin=origin, rules=[],
            event_dates=[NOON.date()],
            ranges=[{"partition": p, "from_offset": a, "until_offset": b} for p, a, b in ranges], **counts,
        ))
    tables["silver"][0]["event_type"] = "order_created"
    sums = {"order_count": 1, "units": 1, "gross_amount": 1, "cancelled_units": 0, "cancelled_amount": 0,
            "net_amount": 1}
    for room in ("products", "categories"):
        tables[room].append(_row(CONTRACTS[room], **sums))
    return tables


@pytest.fixture
def lake(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def write(lake: Lake, write_table: Callable[[Lake, Table, Rows], None]) -> Write:
    def write_all(tables: Tables) -> None:
        for name, rows in tables.items():
            write_table(lake, CONTRACTS[name], rows)

    return write_all


def _run(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = MAIN(["--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_balanced_lake_passes_with_exactly_the_promised_form(
    write: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    write(_balanced())
    assert _run(capsys) == (0, {
        "offsets": 40, "bronze": 40, "silver": 28, "duplicates": 8,
        "quarantine": {"rows": 4, "by_reason": {"conflicting_duplicate": 3, "price_valid": 1, "quantity_positive": 1}},
        "erased": 0, "reused_event_ids": 0, "residuals": [], "balanced": True,
    })


def test_a_lake_that_does_not_exist_is_balanced_and_says_that_nothing_is_there(
    lake: Lake, capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = _run(capsys)
    assert code == 0
    assert found["offsets"] == found["bronze"] == found["quarantine"]["rows"] == 0
    assert found["balanced"] is True
    assert MAIN([]) == 0
    assert "Nothing was ingested yet" in capsys.readouterr().out


def _remove_first(room: str) -> Callable[[Tables], None]:
    return lambda tables: tables[room].__delitem__(0)


def _change(room: str, index: int, **values: Any) -> Callable[[Tables], None]:
    return lambda tables: tables[room][index].update(values)


def _copy(room: str, **values: Any) -> Callable[[Tables], None]:
    return lambda tables: tables[room].append({**deepcopy(tables[room][0]), **values})


def _ranges(index: int, *ranges: tuple[int, int, int]) -> Callable[[Tables], None]:
    rows = [{"partition": p, "from_offset": a, "until_offset": b} for p, a, b in ranges]
    return _change("ledger", index, ranges=rows)


TAKEN = {"origin": TOPIC, "partition": 0}
HARMS: dict[str, tuple[Callable[[Tables], None], dict[str, dict[str, Any]]]] = {
    "a bronze row is missing": (_remove_first("bronze"), {
        "verdict_without_bronze_row": {**TAKEN, "offset": 0},
        "ledger_bronze_count": {"ledger_count": 20, "counted": 19},
        "ledger_range_is_not_bronze": {"row_count": 9, "first_offset": 1}}),
    "a silver row is missing": (_remove_first("silver"), {
        "bronze_row_without_verdict": {**TAKEN, "offset": 0},
        "ledger_silver_count": {"ledger_count": 14, "counted": 13},
        "kept_copy_not_in_silver": {**TAKEN, "offset": 7}}),
    "a duplicate is missing": (_remove_first("duplicates"), {
        "bronze_row_without_verdict": {**TAKEN, "offset": 7},
        "ledger_duplicate_count": {"ledger_count": 4, "counted": 3}}),
    "a quarantined row is missing": (_remove_first("quarantine"), {
        "bronze_row_without_verdict": {**TAKEN, "offset": 9},
        "ledger_quarantine_count": {"ledger_count": 2, "counted": 1}}),
    "a ledger row is missing": (_remove_first("ledger"), {
        "row_without_ledger": {"room": "bronze", "batch_id": 0, "row_count": 20},
        "ledger_batch_gap": {"query_id": f"query of {TOPIC}", "batch_id": 1, "previous": -1},
        "ledger_range_gap": {**TAKEN, "offset": 10, "covered_until": 0}}),
    "a bronze row stands twice": (_copy("bronze"), {"bronze_coordinate_repeated": {**TAKEN, "offset": 0}}),
    "a row has two verdicts": (_copy("silver", event_id="another"), {"several_verdicts": {**TAKEN, "offset": 0}}),
    "an event stands twice": (_copy("silver", offset=999), {
        "verdict_without_bronze_row": {**TAKEN, "offset": 999}, "silver_key_repeated": {"event_id": f"{TOPIC}-0-0"}}),
    "a ledger row stands twice": (_copy("ledger"), {
        "ledger_key_repeated": {"query_id": f"query of {TOPIC}", "batch_id": 0}, "ledger_range_overlap": TAKEN}),
    "bronze goes beyond the ledger's range": (_copy("bronze", offset=20, batch_id=1), {
        "ledger_range_is_not_bronze": {"row_count": 11, "last_offset": 20}}),
    "bronze has a partition that the ledger does not": (_copy("bronze", partition=7), {
        "ledger_range_is_not_bronze": {"partition": 7, "row_count": 1}}),
    "two ranges overlap": (_ranges(1, (0, 9, 20), (1, 10, 10)), {
        "ledger_range_overlap": {**TAKEN, "offset": 9, "covered_until": 10}}),
    "there is a gap between ranges": (_ranges(1, (0, 12, 20), (1, 10, 10)), {
        "ledger_range_gap": {**TAKEN, "offset": 12, "covered_until": 10}}),
    "the first range does not start at 0": (_ranges(2, (0, 5, 10)), {
        "ledger_range_gap": {"origin": FILE, "offset": 5, "covered_until": 0}}),
    "a range ends before it starts": (_ranges(2, (0, 10, 0)), {
        "ledger_range_inverted": {"from_offset": 10, "until_offset": 0}}),
    "a batch id is skipped": (_change("ledger", 1, batch_id=2), {"ledger_batch_gap": {"batch_id": 2, "previous": 0}}),
    "the ledger counts one too many": (_change("ledger", 0, bronze_count=21), {
        "ledger_bronze_count": {"ledger_count": 21, "counted": 20}}),
    "a duplicate names another event": (_change("duplicates", 0, event_id="another"), {
        "kept_copy_not_in_silver": {"offset": 7}}),
    "a duplicate's kept copy is no silver row": (_change("duplicates", 0, kept_offset=8), {
        "kept_copy_not_in_silver": {"offset": 7}}),
    "a conflict's kept copy is no silver row": (_change("quarantine", 0, kept_offset=8), {
        "kept_copy_not_in_silver": {"offset": 9}}),
    "a sale is in no window": (_change("silver", 1, event_type="order_created"), {
        "product_id_window_is_not_silver": {"product_id": "x"}, "category_window_is_not_silver": {"category": "x"}}),
    "a window is missing": (_remove_first("products"), {"product_id_window_is_not_silver": {"product_id": "x"}}),
    "a window stands twice": (_copy("categories"), {"category_window_is_not_silver": {"category": "x"}}),
    "a window has lost money": (_change("products", 0, gross_amount=0), {
        "product_id_window_is_not_silver": {"product_id": "x"}}),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_broken_guarantee_exits_3_and_is_named(
    write: Write, capsys: pytest.CaptureFixture[str], name: str,
) -> None:
    harm, expected = HARMS[name]
    tables = _balanced()
    harm(tables)
    write(tables)
    code, found = _run(capsys)
    assert code == 3
    assert found["balanced"] is False
    residuals = {residual["check"]: residual for residual in found["residuals"]}
    assert expected.keys() <= residuals.keys()
    for check, example in expected.items():
        assert residuals[check]["count"] >= 1
        assert any(example.items() <= seen.items() for seen in residuals[check]["examples"])


def test_examples_stop_at_five_and_the_count_does_not(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    del tables["silver"][7:20]
    write(tables)
    _, found = _run(capsys)
    missing = next(residual for residual in found["residuals"] if residual["check"] == "bronze_row_without_verdict")
    assert (missing["count"], len(missing["examples"])) == (13, 5)


def test_a_missing_table_beside_full_ones_is_a_residual(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    del tables["ledger"]
    write(tables)
    code, found = _run(capsys)
    assert (code, found["offsets"]) == (3, 0)
    assert [residual["check"] for residual in found["residuals"]] == ["row_without_ledger"]


def test_an_event_id_on_two_dates_is_reported_and_balances(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    tables["silver"][1].update(event_id=tables["silver"][0]["event_id"], event_date=date(2026, 3, 2))
    write(tables)
    code, found = _run(capsys)
    assert (code, found["reused_event_ids"]) == (0, 1)


def test_an_erased_row_counts_where_it_was(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    gone = {name: tables[name].pop() for name in ("silver", "duplicates", "quarantine")}
    places = {"silver": "silver", "duplicates": "duplicate", "quarantine": "quarantine"}
    tables["erased"] = [_row(SILVER_ERASED, **{**row, "place": places[name]}) for name, row in gone.items()]
    write(tables)
    code, found = _run(capsys)
    assert (code, found["erased"], found["silver"], found["residuals"]) == (0, 3, 27, [])
    tables["erased"][0]["place"] = "quarantine"
    write(tables)
    code, found = _run(capsys)
    assert code == 3
    assert {one["check"] for one in found["residuals"]} == {"ledger_silver_count", "ledger_quarantine_count"}
    tables["erased"].pop(0)
    write(tables)
    assert "bronze_row_without_verdict" in {one["check"] for one in _run(capsys)[1]["residuals"]}


def test_it_waits_for_a_batch_under_way(
    lake: Lake, write: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    write(_balanced())
    with hold_lock(lake, INGEST, timeout=0):
        assert MAIN(["--json"]) == 1
    assert "lock 'ingest'" in capsys.readouterr().err


def test_a_person_reads_what_is_wrong(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    tables["silver"].pop(0)
    write(tables)
    assert MAIN([]) == 3
    output = capsys.readouterr()
    assert "RESIDUAL bronze_row_without_verdict: 1 row(s)" in output.out
    assert "does not balance" in output.err


def test_rows_of_somebody_who_was_erased_are_a_residual(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an older copy of the lake was put back: the key is destroyed, and there is no tombstone."""
    tables = _balanced()
    tables["bronze"][3]["data_key_id"] = "of the erased"
    write(tables)
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", "true")
    assert _run(capsys)[0] == 0
    monkeypatch.setattr("shoplake.lake.data_keys.list_destroyed", lambda *_: ["of the erased", "of another"])
    code, found = _run(capsys)
    assert code == 3
    (residual,) = found["residuals"]
    assert (residual["check"], residual["count"]) == ("erased_user_is_back", 1)
    assert residual["examples"][0]["offset"] == tables["bronze"][3]["offset"]
