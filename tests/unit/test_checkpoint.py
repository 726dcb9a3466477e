"""A stream that would go on over a hole refuses to: what the checkpoint's check reads, without Spark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import LEDGER, Table
from shoplake.errors import SourceError
from shoplake.lake.addresses import Lake
from shoplake.streaming.checkpoint import check_checkpoint
from shoplake.topics import Topic

TOPIC = Topic("events", "topic-id", {0: 1})
ROW = {"query_id": "q", "batch_id": 0, "origin": "topic-id", "topic": "events", "ranges": [], "bronze_count": 0,
       "silver_count": 0, "duplicate_count": 0, "quarantine_count": 0, "late_count": 0, "rules": [], "event_dates": []}


@pytest.fixture
def lake(tmp_path: Path, write_table: Callable[[Lake, Table, list[dict[str, Any]]], None]) -> Lake:
    """Give a lake whose ledger has two versions."""
    lake = Lake(str(tmp_path))
    for number in (0, 1):
        write_table(lake, LEDGER, [{**ROW, "batch_id": number}])
    check_checkpoint(lake, "events", TOPIC)
    return lake


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_newest_log_entry_cut_short_is_refused(lake: Lake, share: float) -> None:
    entry = Path(lake.table(LEDGER)) / "_delta_log" / f"{1:020}.json"
    content = entry.read_bytes()
    entry.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SourceError, match=r"repair\.py --table ops\.ledger"):
        check_checkpoint(lake, "events", TOPIC)


@pytest.mark.parametrize("content", [b"", b'{"id":"7f', b"[]", b'{"name":"events"}'])
def test_a_checkpoint_that_names_no_query_is_refused(lake: Lake, content: bytes) -> None:
    metadata = Path(lake.checkpoint("events")) / "metadata"
    metadata.parent.mkdir(parents=True)
    metadata.write_bytes(content)
    with pytest.raises(SourceError, match=r"repair\.py --checkpoint"):
        check_checkpoint(lake, "events", TOPIC)
