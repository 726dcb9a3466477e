"""What a landing file is worth, and what ops.files remembers of it."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import FILES
from shoplake.errors import ConfigError, SourceError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.files import is_ingested, last_ingested_at, record_file
from shoplake.settings import Settings, load_settings
from shoplake.sources.landing import choose_route, inspect_file

HEADER = "event_time,user_id,product_id,category,price,quantity,event_type\n"
LINE = "2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created\n"


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def test_an_inspection_counts_what_the_file_holds(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "data.csv.gz"
    file.write_bytes(gzip.compress((HEADER + LINE + "broken\n" + LINE).encode()))
    found = inspect_file(file, "events", settings)
    assert (found.record_count, found.bad_line_count) == (3, 1)
    assert len(found.warnings) == 1
    assert len(LINE) < found.largest_bytes < 500


@pytest.mark.parametrize("content", [
    b"", b"\n", HEADER.encode(), HEADER.encode() + b"bad\nworse\n", b"a,b\n1,2\n", b"PAR1 is not all", b"\x1f\x8bcut",
    b"\x00\x01\x02"])
def test_a_broken_file_is_known_before_anything_is_sent(tmp_path: Path, settings: Settings, content: bytes) -> None:
    file = tmp_path / "data"
    file.write_bytes(content)
    with pytest.raises(SourceError):
        inspect_file(file, "events", settings)


def test_a_shop_of_another_currency_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_SHOP__CURRENCY", "EUR")
    with pytest.raises(ConfigError):
        inspect_file(tmp_path / "data", "online_retail", load_settings())


def test_large_files_and_large_records_go_past_kafka(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "data.csv"
    file.write_text(HEADER + LINE)
    small = inspect_file(file, "events", settings)
    assert choose_route(small, "events", file.stat().st_size, settings) == "kafka"
    assert choose_route(small, "events", 50_000_000, settings) == "kafka"
    assert choose_route(small, "events", 50_000_001, settings) == "historical"
    monkeypatch.setenv("SHOPLAKE_SOURCES__REPLAY_MAX_BYTES", "10")
    assert choose_route(small, "events", 11, load_settings()) == "historical"
    # Both are within the bound of a line; written as JSON each backslash needs a second byte.
    for filling, route in (("x", "kafka"), ("\\", "historical")):
        file.write_text(HEADER + LINE.replace("toys", filling * 900_000))
        assert choose_route(inspect_file(file, "events", settings), "events", file.stat().st_size, settings) == route


def row(**changes: Any) -> dict[str, Any]:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    return {"source": "events", "file_sha256": "a" * 64, "file_name": "it's.csv", "byte_count": 10, "record_count": 2,
            "bad_line_count": 0, "route": "kafka", "status": "ingested", "reason": None, "arrived_at": moment,
            "recorded_at": moment, **changes}


def test_a_file_has_one_row_however_often_it_is_recorded(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert not is_ingested(lake, "events", "a" * 64)
    assert last_ingested_at(lake) is None
    rejected = row(status="rejected", reason="broken", route=None, record_count=None, bad_line_count=None)
    record_file(lake, rejected, 1)
    assert not is_ingested(lake, "events", "a" * 64)
    assert last_ingested_at(lake) is None
    record_file(lake, row(), 1)
    later = row(file_sha256="b" * 64, recorded_at=row()["recorded_at"] + timedelta(hours=1))
    record_file(lake, later, 1)
    other_source = row(source="it's another", recorded_at=later["recorded_at"] + timedelta(hours=1), status="rejected")
    record_file(lake, other_source, 1)
    written = read_table(lake, FILES).to_pylist()
    assert sorted(written, key=repr) == sorted([row(), later, other_source], key=repr)
    assert is_ingested(lake, "events", "a" * 64)
    assert not is_ingested(lake, "it's another", "a" * 64)
    assert last_ingested_at(lake) == later["recorded_at"]
