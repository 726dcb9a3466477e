"""The whole way against the simulator's truth: zero differing rows, money to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest
from lake_oracle import check_truth

from shoplake.contract.tables import SESSIONS
from shoplake.lake.ledger import count_rows


@pytest.fixture
def truth(pseudonyms: None, shells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Send 60 simulated days, and take them through stream and batch in several micro-batches."""
    for name, share in {"DUPLICATE": 0.03, "CONFLICT_SAME_TIME": 0.003, "CONFLICT_OTHER_DATE": 0.002, "CORRUPT": 0.005,
                        "LATE": 0.01, "OUT_OF_ORDER": 0.02, "FUTURE": 0.002}.items():
        monkeypatch.setenv(f"SHOPLAKE_SIMULATION__{name}_SHARE", str(share))
    monkeypatch.setenv("SHOPLAKE_SIMULATION__BOT_SHARE", "0.004")
    # A copy and its original must also fall into different micro-batches.
    monkeypatch.setenv("SHOPLAKE_SPARK__MAX_OFFSETS_PER_TRIGGER", "5000")
    file = tmp_path / "truth.json"
    # The clocks of Europe change on 2026-03-29, inside these days.
    shells.ok("kafka/producer.py", "--events", "12000", "--from", "2026-02-15", "--to", "2026-04-15", "--seed", "11",
              "--truth", str(file))
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py")
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_ground_truth(shells: Any, truth: dict[str, Any]) -> None:
    check_truth(shells.lake, truth)
    assert count_rows(shells.lake)["batches"] > 2
    # every planted kind is there, or the equalities above would be hollow
    assert truth["late_count"]
    assert truth["reused_event_ids"]
    assert truth["rows"]["silver.duplicates"]
    assert len(truth["bots"]) > 5
    visits = [dict(zip(SESSIONS.column_names, row, strict=True)) for row in truth["gold.sessions"]]
    found = {visit["user_id"] for visit in visits if visit["is_bot"]}
    assert found, "how many of them are found: tests/unit/test_simulated_bots.py"
    assert found <= set(truth["bots"])
    assert {"conflicting_duplicate", "event_time_not_future", "json_valid"} <= set(truth["quarantine_by_reason"])
    assert shells.run("utils/reconcile.py") == 0
