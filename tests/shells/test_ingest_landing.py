"""utils/ingest_landing.py against a real broker: a plain consumer says what came, the folders say where files went."""

import gzip
import hashlib
import json
import os
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import BRONZE_EVENTS, DAILY_SALES, FILES, SILVER_DUPLICATES, SILVER_EVENTS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, table_exists
from shoplake.lake.files import last_ingested_at
from shoplake.lake.locks import hold_lock
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.sources import list_sources

SHELL = PROJECT_ROOT / "utils" / "ingest_landing.py"
HEADER = "event_time,user_id,product_id,category,price,quantity,event_type,event_id\n"
RETAIL = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
    "536365,71053,WHITE METAL LANTERN,6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom\n"
    "C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom\n"
)


def events(*ids: str) -> str:
    return HEADER + "".join(
        f"2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created,{event_id}\n" for event_id in ids)


@pytest.fixture
def landing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOPLAKE_SOURCES__LANDING_SETTLE", "0")
    return data_dir / "landing"


@pytest.fixture
def lake(data_dir: Path) -> Lake:
    return Lake(str(data_dir / "lake"))


@pytest.fixture
def take_in(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    def take_in(*argv: str) -> tuple[int, dict[str, Any], str]:
        code: int = runpy.run_path(str(SHELL))["main"](["--json", *argv])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out else {}, output.err

    return take_in


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sent_ids(broker: str, topic: str) -> Counter[str]:
    """Count what lies on the topic by event_id, or by its bytes where it is no event."""
    from kafka import KafkaConsumer, TopicPartition

    seen: Counter[str] = Counter()
    with closing(KafkaConsumer(bootstrap_servers=broker)) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(3)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=1000).values():
                for record in batch:
                    is_event = record.value.startswith(b"{")
                    seen[json.loads(record.value)["event_id"] if is_event else record.value.decode()] += 1
    return seen


def rows(lake: Lake) -> dict[str, tuple[Any, ...]]:
    names = ("status", "route", "record_count", "bad_line_count")
    return {f"{row['source']}/{row['file_name']}": tuple(row[name] for name in names)
            for row in read_table(lake, FILES).to_pylist()}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_an_empty_landing_folder_gets_a_folder_for_each_source(landing: Path, lake: Lake, take_in: Any) -> None:
    code, report, _ = take_in()
    assert (code, set(map(len, report.values()))) == (0, {0})
    assert {path.name for path in landing.iterdir()} == set(list_sources(load_settings()))
    assert not table_exists(lake, FILES)


def test_each_file_goes_its_way_and_none_stops_the_others(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any,
) -> None:
    outside = put(landing.parent / "outside.csv", events("secret"))
    put(landing / "events" / "good.csv", events("e1", "e2") + "a bad line\n")
    put(landing / "events" / "other name.csv", events("e1", "e2") + "a bad line\n")
    put(landing / "events" / "good.csv.gz", gzip.compress(events("e3").encode()))
    put(landing / "events" / "broken.csv", HEADER + "not one\ngood line\n")
    put(landing / "events" / "image.png", b"\x89PNG\r\n\x1a\n\x00\x00")
    put(landing / "events" / "upload.csv.part", events("early"))
    put(landing / "events" / ".hidden.csv", events("hidden"))
    put(landing / "online_retail" / "data.csv", RETAIL)
    put(landing / "sales" / "data.csv", events("stray"))
    put(landing / "data.csv", events("lost"))
    (landing / "events" / "link.csv").symlink_to(outside)
    hostile = put(landing / "events" / "$(touch owned); 'a\nb'.csv", events("e4"))

    code, report, err = take_in()
    assert code == 0
    assert {name: {entry["file"] for entry in entries} for name, entries in report.items()} == {
        "ingested": {"events/good.csv", "events/good.csv.gz", "online_retail/data.csv",
                     "events/$(touch owned); 'a_b'.csv"},
        "repeated": {"events/other name.csv"},
        "rejected": {"events/broken.csv", "events/image.png", "events/link.csv", "sales/data.csv", "data.csv"},
        "waiting": {"events/upload.csv.part"}, "failed": set()}
    # The topic holds each record of each readable file once, the bad line as it is, and nothing else.
    on_topic = sent_ids(broker, topic)
    assert Counter({"e1": 1, "e2": 1, "e3": 1, "e4": 1, "a bad line": 1}) <= on_topic
    assert set(on_topic.values()) == {1}
    assert len(on_topic) == 5 + 3
    assert files_in(landing / "done") == {
        "events/good.csv", "events/other name.csv", "events/good.csv.gz", "events/$(touch owned); 'a_b'.csv",
        "online_retail/data.csv"}
    rejected = {"events/broken.csv", "events/image.png", "events/link.csv", "sales/data.csv", "data.csv"}
    assert files_in(landing / "rejected") == rejected | {f"{name}.reason.txt" for name in rejected}
    assert files_in(landing / "events") == {"upload.csv.part", ".hidden.csv"}
    assert not hostile.exists()
    assert outside.read_text() == events("secret")
    reasons = {name: (landing / "rejected" / f"{name}.reason.txt").read_text() for name in rejected}
    assert "none of the 2 lines of events/broken.csv" in reasons["events/broken.csv"]
    assert "events, online_retail" in reasons["sales/data.csv"]
    assert "events, online_retail" in reasons["data.csv"]
    assert "link" in reasons["events/link.csv"]
    nothing = ("rejected", None, None, None)
    assert rows(lake) == {
        "events/good.csv": ("ingested", "kafka", 3, 1), "events/good.csv.gz": ("ingested", "kafka", 1, 0),
        "events/$(touch owned); 'a_b'.csv": ("ingested", "kafka", 1, 0),
        "online_retail/data.csv": ("ingested", "kafka", 3, 0), "events/broken.csv": nothing,
        "events/image.png": nothing, "sales/data.csv": nothing, "/data.csv": nothing}
    kept = files_in(Path(lake.root) / "bronze" / "files")
    assert len(kept) == 4, "the untouched bytes of what was taken in, and of nothing else"
    assert "1 lines cannot be read" in err


def test_the_same_file_again_is_not_sent_again(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any,
) -> None:
    for name in ("first.csv", "first.csv", "second.csv"):
        put(landing / "events" / name, events("e1", "e2"))
        assert take_in()[0] == 0
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1}
    assert set(rows(lake)) == {"events/first.csv"}
    done = landing / "done" / "events"
    assert len(files_in(done)) == 3, "a copy overwrites nothing"
    assert {(done / name).read_text() for name in files_in(done)} == {events("e1", "e2")}


def test_a_mended_file_is_taken_and_a_broken_one_again_has_still_one_row(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any,
) -> None:
    for _ in range(2):
        put(landing / "events" / "data.csv", HEADER)
        code, report, _ = take_in()
        assert (code, len(report["rejected"])) == (0, 1)
    assert read_table(lake, FILES).num_rows == 1
    put(landing / "events" / "data.csv", events("e1"))
    assert len(take_in()[1]["ingested"]) == 1
    assert sent_ids(broker, topic) == {"e1": 1}
    assert Counter(read_table(lake, FILES)["status"].to_pylist()) == {"ingested": 1, "rejected": 1}
    assert len(files_in(landing / "rejected")) == 4


def test_a_file_that_is_still_being_written_is_left_alone(
    landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__LANDING_SETTLE", "3600")
    file = put(landing / "events" / "data.csv", HEADER)
    os.utime(file, (1, 1))
    code, report, _ = take_in()
    assert (code, [entry["file"] for entry in report["waiting"]]) == (0, ["events/data.csv"])
    assert file.exists()
    assert not table_exists(lake, FILES)


def test_without_a_broker_nothing_is_moved_and_the_others_go_on(
    landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "1")
    files = {put(landing / "events" / f"{number}.csv", events(f"e{number}")) for number in range(4)}
    put(landing / "events" / "broken.csv", HEADER)
    code, report, err = take_in()
    assert code == 1
    assert {name: len(entries) for name, entries in report.items()} == {
        "ingested": 0, "repeated": 0, "rejected": 1, "waiting": 2, "failed": 2}
    assert all(file.exists() for file in files)
    assert read_table(lake, FILES)["status"].to_pylist() == ["rejected"]
    assert "no Kafka broker answers at 127.0.0.1:1" in err
    assert "Traceback" not in err
    assert "python utils/ingest_landing.py" in err


def test_a_file_that_the_settings_exclude_is_set_aside_until_they_are_mended(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SHOP__CURRENCY", "EUR")
    put(landing / "online_retail" / "pounds.csv", RETAIL)
    put(landing / "events" / "good.csv", events("e1"))
    code, report, _ = take_in()
    assert code == 0, "the run goes on: nothing is to be tried again"
    assert {name: [entry["file"] for entry in entries] for name, entries in report.items() if entries} == {
        "ingested": ["events/good.csv"], "rejected": ["online_retail/pounds.csv"]}
    reason = (landing / "rejected" / "online_retail" / "pounds.csv.reason.txt").read_text()
    assert "SHOPLAKE_SHOP__CURRENCY=GBP" in reason
    assert sent_ids(broker, topic) == {"e1": 1}

    monkeypatch.setenv("SHOPLAKE_SHOP__CURRENCY", "GBP")
    (landing / "rejected" / "online_retail" / "pounds.csv").rename(landing / "online_retail" / "pounds.csv")
    assert len(take_in()[1]["ingested"]) == 1


def test_a_file_that_fails_leaves_the_one_beside_it_to_be_announced(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__REPLAY_MAX_BYTES", "200")
    monkeypatch.setenv("SHOPLAKE_SPARK__SUBMIT_OPTIONS", '["--no-such-option"]')
    bad = put(landing / "events" / "large.csv", events(*map(str, range(50))))
    put(landing / "events" / "small.csv", events("e1"))
    code, report, err = take_in()
    assert code == 1
    assert {name: [entry["file"] for entry in entries] for name, entries in report.items() if entries} == {
        "ingested": ["events/small.csv"], "failed": ["events/large.csv"]}
    assert "the historical route ended with exit code" in err
    assert bad.exists()
    assert sent_ids(broker, topic) == {"e1": 1}
    recorded = read_table(lake, FILES)["recorded_at"].to_pylist()
    assert [last_ingested_at(lake)] == recorded, "what the DAG asks for next knows of the good one"


def test_killed_before_its_row_was_written_the_file_is_sent_again_with_the_same_ids(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any,
) -> None:
    put(landing / "events" / "data.csv", events("e1", "e2"))
    killed = ("import os, runpy, shoplake.lake.files as files\n"
              "files.record_file = lambda *_: os._exit(9)\n"
              f"runpy.run_path({str(SHELL)!r})['main']([])")
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, check=False)
    assert done.returncode == 9
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1}
    code, report, _ = take_in()
    assert (code, len(report["ingested"])) == (0, 1)
    assert sent_ids(broker, topic) == {"e1": 2, "e2": 2}, "silver counts the second copies as duplicates"
    assert read_table(lake, FILES).num_rows == 1


def test_a_file_that_changes_while_it_is_taken_in_waits(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shoplake.lake.sealed_files as files

    file = put(landing / "events" / "data.csv", events("e1"))
    keep_file = files.keep_file

    def grow_after_keeping(*arguments: Any) -> Any:
        kept = keep_file(*arguments)
        put(file, events("e1", "e2"))
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(files, "keep_file", grow_after_keeping)
        assert len(take_in()[1]["waiting"]) == 1
    assert not sent_ids(broker, topic)
    assert len(take_in()[1]["ingested"]) == 1
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1}
    assert rows(lake) == {"events/data.csv": ("ingested", "kafka", 2, 0)}


def test_two_at_once_do_not_take_the_same_file(
    landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    file = put(landing / "events" / "data.csv", events("e1"))
    with hold_lock(lake, "landing", 0):
        code, _, err = take_in()
    assert code == 1
    assert "the lock 'landing'" in err
    assert file.exists()


def test_a_large_file_goes_straight_into_the_lake(
    broker: str, topic: str, landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__REPLAY_MAX_BYTES", "200")
    put(landing / "events" / "small.csv", events("e1"))
    large = events(*(f"large{number}" for number in range(50)), "large1")
    put(landing / "events" / "large.csv", large)
    code, report, err = take_in()
    assert code == 0, err
    assert {entry["file"]: entry["route"] for entry in report["ingested"]} == {
        "events/small.csv": "kafka", "events/large.csv": "historical"}
    assert sent_ids(broker, topic) == {"e1": 1}
    assert Counter(read_table(lake, SILVER_EVENTS)["event_id"].to_pylist()) == {
        f"large{number}": 1 for number in range(50)}
    assert read_table(lake, SILVER_DUPLICATES).num_rows == 1
    origin = set(read_table(lake, BRONZE_EVENTS)["origin"].to_pylist())
    assert origin == {hashlib.sha256(large.encode()).hexdigest()}
    assert not table_exists(lake, DAILY_SALES), "gold is gold_refresh's, in its own pool"
    assert not (landing.parent / "daily_sales.parquet").exists()


def test_a_bucket_without_credentials_is_refused_plainly(
    take_in: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    for name, value in {"NO_GCE_CHECK": "true", "GCE_METADATA_HOST": "127.0.0.1:1", "HOME": str(tmp_path),
                        "CLOUDSDK_CONFIG": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    code, report, err = take_in("--profile", "prod")
    assert (code, report) == (2, {})
    assert "gs://shoplake-prod-lake" in err
    assert "gcloud auth application-default login" in err


def test_a_file_beyond_the_bound_is_set_aside_unread(landing: Path, lake: Lake, take_in: Any) -> None:
    """A sparse file of a terabyte takes no room here, and would take hours to read."""
    put(landing / "events" / "huge.csv", events("e1"))
    os.truncate(landing / "events" / "huge.csv", 10**12)
    code, report, _ = take_in()
    assert code == 0
    (rejected,) = report["rejected"]
    assert "it has 1,000,000,000,000 bytes; sources.landing_max_bytes allows 20,000,000,000" in rejected["reason"]
    assert files_in(landing) == {"rejected/events/huge.csv", "rejected/events/huge.csv.reason.txt"}
    assert not (Path(lake.root) / "bronze").exists()


@pytest.mark.parametrize("sealed", [False, True])
def test_bytes_that_are_not_the_files_own_are_neither_kept_nor_sent(
    landing: Path, lake: Lake, take_in: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    sealed: bool,
) -> None:
    """Its path leads to a file of ours while it is copied, and to itself before and after."""
    if sealed:
        request.getfixturevalue("pseudonyms")
    put(landing / "events" / "a.csv", events("e1"))
    ours = put(landing.parent / "ours.csv", events("ours"))
    from shoplake.lake import files, sealed_files

    for module in (files, sealed_files):
        monkeypatch.setattr(module, "open_regular", lambda _path: ours.open("rb"))
    code, report, _ = take_in()
    assert (code, [one["file"] for one in report["waiting"]]) == (0, ["events/a.csv"])
    assert [path for path in Path(lake.kept_folder).rglob("*") if path.is_file()] == []
    assert [path for path in Path(lake.root).rglob("*") if path.is_file() and b"ours" in path.read_bytes()] == []
