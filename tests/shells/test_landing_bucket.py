"""utils/ingest_landing.py on a bucket: the same outcomes as on a folder, and an object moves as it was seen."""

import json
import runpy
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from shoplake.contract.tables import FILES
from shoplake.lake import buckets, landing
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import read_table
from shoplake.lake.buckets import NEW, list_objects, read_object, write_object
from shoplake.settings import PROJECT_ROOT, load_settings

SHELL = PROJECT_ROOT / "utils" / "ingest_landing.py"
HEADER = "event_time,user_id,product_id,category,price,quantity,event_type,event_id\n"
TakeIn = Callable[[], tuple[int, dict[str, Any], str]]


def events(*ids: str) -> bytes:
    return (HEADER + "".join(
        f"2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created,{event_id}\n" for event_id in ids)).encode()


@pytest.fixture
def lake(bucket: str) -> Lake:
    return locate_lake(load_settings())


@pytest.fixture
def place(bucket: str) -> str:
    return f"gs://{bucket}/landing"


@pytest.fixture
def take_in(capfd: pytest.CaptureFixture[str]) -> TakeIn:
    def take_in() -> tuple[int, dict[str, Any], str]:
        code: int = runpy.run_path(str(SHELL))["main"](["--json"])
        output = capfd.readouterr()
        return code, json.loads(output.out) if output.out else {}, output.err

    return take_in


def names_in(lake: Lake, place: str) -> set[str]:
    return {one.address.removeprefix(f"{place}/") for one in list_objects(lake, f"{place}/")}


def sent_ids(broker: str, topic: str) -> Counter[str]:
    from kafka import KafkaConsumer, TopicPartition

    seen: Counter[str] = Counter()
    with closing(KafkaConsumer(bootstrap_servers=broker)) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(3)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=1000).values():
                seen.update(json.loads(record.value)["event_id"] for record in batch)
    return seen


def test_each_object_goes_its_way_and_none_stops_the_others(
    broker: str, topic: str, lake: Lake, place: str, take_in: TakeIn, monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On Dataproc's side of the settings no Spark is here: a file too large for Kafka's taste goes through it too.
    monkeypatch.setenv("SHOPLAKE_SOURCES__REPLAY_MAX_BYTES", "10")
    monkeypatch.setenv("SHOPLAKE_SPARK__RUNNER", "dataproc")
    monkeypatch.setenv("SHOPLAKE_GCP__DATAPROC__SERVICE_ACCOUNT", "spark@example.iam.gserviceaccount.com")
    monkeypatch.setenv("SHOPLAKE_GCP__DATAPROC__CODE_URI", "gs://bucket/code")
    for name, content in {
        "events/good.csv": events("e1", "e2"), "events/other name.csv": events("e1", "e2"),
        "events/deep/er.csv": events("e3"), "events/broken.csv": HEADER.encode() + b"not one\n",
        "events/upload.csv.part": events("early"), "events/.hidden.csv": events("hidden"), "events/": b"",
        "sales/data.csv": events("stray"), "data.csv": events("lost"), "done/events/old.csv": events("old"),
    }.items():
        assert write_object(lake, f"{place}/{name}", content, NEW)
    code, report, _ = take_in()
    assert code == 0
    # Objects of one second may come in any order, so which of two equal ones is the first is open.
    assert {name: len(entries) for name, entries in report.items()} == {
        "ingested": 2, "repeated": 1, "rejected": 3, "waiting": 1, "failed": 0}
    assert {entry["file"] for entry in report["rejected"]} == {"events/broken.csv", "sales/data.csv", "data.csv"}
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1, "e3": 1}
    rejected = {"rejected/events/broken.csv", "rejected/sales/data.csv", "rejected/data.csv"}
    assert names_in(lake, place) == rejected | {f"{name}.reason.txt" for name in rejected} | {
        "done/events/good.csv", "done/events/other name.csv", "done/events/deep_er.csv", "done/events/old.csv",
        "events/upload.csv.part", "events/.hidden.csv", "events/"}
    reason = read_object(lake, f"{place}/rejected/events/broken.csv.reason.txt")
    assert reason is not None
    assert b"none of the 1 lines of events/broken.csv" in reason[0]
    assert Counter(read_table(lake, FILES)["status"].to_pylist()) == {"ingested": 2, "rejected": 3}
    kept = {one.address.rsplit("/", 1)[1] for one in list_objects(lake, f"{lake.root}/bronze/files/")}
    assert kept == {entry["sha256"] for entry in report["ingested"]}
    assert names_in(lake, f"{lake.root}/_locks") == set()

    write_object(lake, f"{place}/events/good.csv", events("e1", "e2"), NEW)
    code, report, _ = take_in()
    assert (code, len(report["repeated"])) == (0, 1)
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1, "e3": 1}
    assert report["repeated"][0]["moved_to"].startswith(f"{place}/done/events/good."), "the first one stays"


def test_an_object_that_is_replaced_while_it_is_taken_in_stays(
    broker: str, topic: str, lake: Lake, place: str, take_in: TakeIn, monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = write_object(lake, f"{place}/events/day.csv", events("e1"), NEW)
    assert first is not None
    move_object = buckets.move_object

    def replace_before_moving(*arguments: Any) -> bool:
        write_object(lake, f"{place}/events/day.csv", events("e2"), first.generation)
        return move_object(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(landing, "move_object", replace_before_moving)
        code, report, _ = take_in()
    assert (code, report["ingested"][0]["moved_to"]) == (0, None)
    assert names_in(lake, place) == {"events/day.csv"}
    assert len(take_in()[1]["ingested"]) == 1
    assert sent_ids(broker, topic) == {"e1": 1, "e2": 1}
    assert names_in(lake, place) == {"done/events/day.csv"}


def test_killed_between_copy_and_deletion_an_object_is_not_sent_again(
    broker: str, topic: str, lake: Lake, place: str, take_in: TakeIn, monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_object(lake, f"{place}/events/day.csv", events("e1"), NEW)
    delete_object = buckets.delete_object

    # That file's alone: locks delete objects too, and whoever is first imported meanwhile keeps what it finds here.
    def die_at_the_file(lake: Lake, address: str, generation: int) -> bool:
        if address == f"{place}/events/day.csv":
            raise KeyboardInterrupt
        return delete_object(lake, address, generation)

    with monkeypatch.context() as patched:
        patched.setattr(buckets, "delete_object", die_at_the_file)
        assert take_in()[0] == 130
    assert names_in(lake, place) == {"events/day.csv", "done/events/day.csv"}
    assert len(take_in()[1]["repeated"]) == 1
    assert sent_ids(broker, topic) == {"e1": 1}
    assert not any(name.startswith("events/") for name in names_in(lake, place))
