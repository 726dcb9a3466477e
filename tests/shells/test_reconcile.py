"""utils/reconcile.py on small Delta lakes: balanced as built, exit 3 once anything is missing or doubled."""

import json
import runpy
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shoplake.contract.tables import BRONZE_EVENTS, LEDGER, SILVER_DUPLICATES, SILVER_EVENTS, SILVER_QUARANTINE, Table
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.lake.sql import select_nothing

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
MAIN = runpy.run_path("utils/reconcile.py")["main"]
CONTRACTS = {"bronze": BRONZE_EVENTS, "silver": SILVER_EVENTS, "duplicates": SILVER_DUPLICATES,
             "quarantine": SILVER_QUARANTINE, "ledger": LEDGER}
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
    """Two batches of a topic with two partitions and one file; of each 10 records 7 are good, 2 copies, 1 bad."""
    tables: Tables = {name: [] for name in CONTRACTS}
    for origin, batch_id, ranges in (
        (TOPIC, 0, [(0, 0, 10), (1, 0, 10)]), (TOPIC, 1, [(0, 10, 20), (1, 10, 10)]), (FILE, 0, [(0, 0, 10)]),
    ):
        counts = {"bronze_count": 0, "silver_count": 0, "duplicate_count": 0, "quarantine_count": 0}
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
    return tables


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    return Lake(str(tmp_path / "lake"))


def _schema(table: Table) -> pa.Schema:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(select_nothing(table.columns)).to_arrow_table().schema


def _write(lake: Lake, tables: Tables) -> None:
    for name, rows in tables.items():
        table = CONTRACTS[name]
        write_deltalake(lake.table(table), pa.Table.from_pylist(rows, schema=_schema(table)), mode="overwrite",
                        partition_by=[table.partition_by] if table.partition_by else None)


def _run(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = MAIN(["--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_balanced_lake_passes_with_exactly_the_promised_form(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    _write(lake, _balanced())
    assert _run(capsys) == (0, {
        "offsets": 40, "bronze": 40, "silver": 28, "duplicates": 8,
        "quarantine": {"rows": 4, "by_reason": {"conflicting_duplicate": 3, "price_valid": 1, "quantity_positive": 1}},
        "reused_event_ids": 0, "residuals": [], "balanced": True,
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


@pytest.mark.parametrize(("harm", "check", "example"), [
    (_remove_first("bronze"), "verdict_without_bronze_row", {"origin": TOPIC, "partition": 0, "offset": 0}),
    (_remove_first("bronze"), "ledger_range_is_not_bronze", {"row_count": 9, "first_offset": 1}),
    (_remove_first("silver"), "bronze_row_without_verdict", {"origin": TOPIC, "partition": 0, "offset": 0}),
    (_remove_first("silver"), "ledger_silver_count", {"ledger_count": 14, "counted": 13}),
    (_remove_first("silver"), "kept_copy_not_in_silver", {"origin": TOPIC, "partition": 0, "offset": 7}),
    (_remove_first("duplicates"), "bronze_row_without_verdict", {"origin": TOPIC, "partition": 0, "offset": 7}),
    (_remove_first("duplicates"), "ledger_duplicate_count", {"ledger_count": 4, "counted": 3}),
    (_remove_first("quarantine"), "bronze_row_without_verdict", {"origin": TOPIC, "partition": 0, "offset": 9}),
    (_remove_first("quarantine"), "ledger_quarantine_count", {"ledger_count": 2, "counted": 1}),
    (_remove_first("ledger"), "row_without_ledger", {"room": "bronze", "batch_id": 0, "row_count": 20}),
    (_remove_first("ledger"), "ledger_batch_gap", {"query_id": f"query of {TOPIC}", "batch_id": 1, "previous": -1}),
    (_remove_first("ledger"), "ledger_range_gap", {"origin": TOPIC, "partition": 0, "offset": 10, "covered_until": 0}),
    (_copy("bronze"), "bronze_coordinate_repeated", {"origin": TOPIC, "partition": 0, "offset": 0}),
    (_copy("silver", event_id="another"), "several_verdicts", {"origin": TOPIC, "partition": 0, "offset": 0}),
    (_copy("silver", offset=999), "verdict_without_bronze_row", {"origin": TOPIC, "partition": 0, "offset": 999}),
    (_copy("silver", offset=999), "silver_key_repeated", {"event_id": f"{TOPIC}-0-0"}),
    (_copy("ledger"), "ledger_key_repeated", {"query_id": f"query of {TOPIC}", "batch_id": 0}),
    (_copy("bronze", offset=20, batch_id=1), "ledger_range_is_not_bronze", {"row_count": 11, "last_offset": 20}),
    (_copy("bronze", origin="unknown"), "ledger_range_is_not_bronze", {"origin": "unknown"}),
    (_ranges(1, (0, 9, 20), (1, 10, 10)), "ledger_range_overlap", {"partition": 0, "offset": 9, "covered_until": 10}),
    (_ranges(1, (0, 12, 20), (1, 10, 10)), "ledger_range_gap", {"partition": 0, "offset": 12, "covered_until": 10}),
    (_ranges(2, (0, 5, 10)), "ledger_range_gap", {"origin": FILE, "offset": 5, "covered_until": 0}),
    (_ranges(2, (0, 10, 0)), "ledger_range_inverted", {"from_offset": 10, "until_offset": 0}),
    (_change("ledger", 1, batch_id=2), "ledger_batch_gap", {"batch_id": 2, "previous": 0}),
    (_change("ledger", 0, bronze_count=21), "ledger_bronze_count", {"ledger_count": 21, "counted": 20}),
    (_change("duplicates", 0, event_id="another"), "kept_copy_not_in_silver", {"offset": 7}),
    (_change("duplicates", 0, kept_offset=8), "kept_copy_not_in_silver", {"offset": 7}),
    (_change("quarantine", 0, kept_offset=8), "kept_copy_not_in_silver", {"offset": 9}),
])
def test_a_broken_guarantee_exits_3_and_is_named(
    lake: Lake, capsys: pytest.CaptureFixture[str], harm: Callable[[Tables], None], check: str, example: dict[str, Any],
) -> None:
    tables = _balanced()
    harm(tables)
    _write(lake, tables)
    code, found = _run(capsys)
    assert code == 3
    assert found["balanced"] is False
    residuals = {residual["check"]: residual for residual in found["residuals"]}
    assert check in residuals
    assert residuals[check]["count"] >= 1
    assert any(example.items() <= seen.items() for seen in residuals[check]["examples"])


def test_examples_stop_at_five_and_the_count_does_not(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    del tables["silver"][7:20]
    _write(lake, tables)
    _, found = _run(capsys)
    missing = next(residual for residual in found["residuals"] if residual["check"] == "bronze_row_without_verdict")
    assert (missing["count"], len(missing["examples"])) == (13, 5)


def test_a_missing_table_beside_full_ones_is_a_residual(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    del tables["ledger"]
    _write(lake, tables)
    code, found = _run(capsys)
    assert (code, found["offsets"]) == (3, 0)
    assert [residual["check"] for residual in found["residuals"]] == ["row_without_ledger"]


def test_an_event_id_on_two_dates_is_reported_and_balances(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    tables["silver"][1].update(event_id=tables["silver"][0]["event_id"], event_date=date(2026, 3, 2))
    _write(lake, tables)
    code, found = _run(capsys)
    assert (code, found["reused_event_ids"]) == (0, 1)


def test_it_waits_for_a_batch_under_way(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    _write(lake, _balanced())
    with hold_lock(lake, INGEST, timeout=0):
        assert MAIN(["--json"]) == 1
    assert "lock 'ingest'" in capsys.readouterr().err


def test_a_person_reads_what_is_wrong(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _balanced()
    tables["silver"].pop(0)
    _write(lake, tables)
    assert MAIN([]) == 3
    output = capsys.readouterr()
    assert "RESIDUAL bronze_row_without_verdict: 1 row(s)" in output.out
    assert "does not balance" in output.err
