"""A file in the landing folder fires the watcher once, and its DAG takes it to silver and says so once."""

import asyncio
import json
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from landing_trigger import LandingTrigger
from shoplake_steps import LANDING, SILVER

from shoplake.airflow_environment import airflow_environment
from shoplake.contract.tables import FILES, LEDGER, SILVER_EVENTS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT, load_settings

DAGS = PROJECT_ROOT / "airflow" / "dags"
EVENTS_CSV = (
    "event_time,user_id,product_id,category,price,quantity,event_type\n"
    "2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created\n"
    "2026-03-01T10:00:01Z,u2,p1,toys,2.50,1,order_created\n"
    "this line is broken\n"
)
RETAIL = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
)


class Watching:
    """The trigger as the triggerer runs it: made from its serialized form, its events counted."""

    def __init__(self, landing: Path, settle: float) -> None:
        from airflow.sdk.module_loading import import_string

        name, arguments = LandingTrigger(str(landing), 0.02, settle).serialize()
        self._trigger = import_string(name)(**json.loads(json.dumps(arguments)))
        self.new_files: list[int] = []

    async def __aenter__(self) -> "Watching":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), "a watcher looks for ever"
        self._task.cancel()

    async def _run(self) -> None:
        async for event in self._trigger.run():
            self.new_files.append(event.payload["new_files"])

    async def until(self, expected: list[int]) -> None:
        """Wait for the events, and some looks longer."""
        for _ in range(500):
            if len(self.new_files) >= len(expected):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert self.new_files == expected


def test_the_watcher_fires_once_for_what_lies_there(tmp_path: Path) -> None:
    async def watch() -> None:
        landing = tmp_path / "landing"
        async with Watching(landing, 0) as watching:
            await watching.until([])  # the folder is not there yet
            (landing / "events").mkdir(parents=True)
            (landing / "events" / "half.csv.part").touch()
            (landing / "done" / "events").mkdir(parents=True)
            (landing / "done" / "events" / "old.csv").touch()
            await watching.until([])
            (landing / "events" / "a.csv").touch()
            await watching.until([1])  # and not again while it lies there, which is the clock's business
            (landing / "events" / "half.csv.part").rename(landing / "events" / "half.csv")
            await watching.until([1, 1])
            (landing / "events" / "a.csv").rename(landing / "done" / "events" / "a.csv")
            await watching.until([1, 1])
            (landing / "events" / "half.csv").write_text("other content")
            await watching.until([1, 1, 1])

    asyncio.run(watch())


def test_the_watcher_waits_until_a_file_is_whole(tmp_path: Path) -> None:
    async def watch() -> None:
        file = tmp_path / "events" / "a.csv"
        file.parent.mkdir()
        async with Watching(tmp_path, 0.5) as watching:
            for _ in range(5):
                with file.open("a") as growing:
                    growing.write("more")
                await asyncio.sleep(0.1)
            assert watching.new_files == []
            await watching.until([1])

    asyncio.run(watch())


def test_a_landing_folder_that_cannot_be_read_does_not_end_the_watch(tmp_path: Path) -> None:
    async def watch() -> None:
        landing = tmp_path / "landing"
        landing.touch()  # a file where the folder should be
        async with Watching(landing, 0) as watching:
            await asyncio.sleep(0.1)
            landing.unlink()
            (landing / "events").mkdir(parents=True)
            (landing / "events" / "a.csv").touch()
            await watching.until([1])

    asyncio.run(watch())


@pytest.fixture
def file_arrival() -> dict[str, Any]:
    return runpy.run_path(str(DAGS / "file_arrival_dag.py"))


def test_a_file_or_the_clock_starts_it_and_what_it_took_in_starts_gold(file_arrival: dict[str, Any]) -> None:
    arrival = file_arrival["dag"]
    order = ["take_in", "is_anything_new", "drain", "announce", "was_all_taken_in"]
    assert [task.task_id for task in arrival.topological_sort()] == order
    for before, after in pairwise(order):
        assert after in arrival.get_task(before).downstream_task_ids
    assert sum(len(task.downstream_task_ids) for task in arrival.tasks) == len(order), "and from the first to the last"
    assert arrival.max_active_runs == 1
    watched = arrival.timetable.asset_condition
    assert (watched.name, [watcher.name for watcher in watched.watchers]) == ("landing", ["landing_folder"])
    assert watched.watchers[0].trigger.landing == str(load_settings().landing_path)
    assert arrival.timetable.timetable.expression == "*/10 * * * *"
    assert {task.task_id for task in arrival.tasks if task.outlets} == {"announce"}

    refresh = runpy.run_path(str(DAGS / "gold_refresh_dag.py"))["dag"]
    assert [task.task_id for task in refresh.topological_sort()] == ["build_gold", "reconcile", "publish"]
    assert [asset.name for asset in refresh.timetable.asset_condition.objects] == ["silver"]
    assert refresh.timetable.asset_condition.objects == tuple(arrival.get_task("announce").outlets)
    assert [asset.name for asset in refresh.get_task("publish").outlets] == ["gold"]
    assert {task.pool for task in (*arrival.tasks, *refresh.tasks)} == {"ingest", "gold", "default_pool"}


def test_no_files_name_stands_in_a_command(file_arrival: dict[str, Any]) -> None:
    assert file_arrival["take_in"].bash_command == "python utils/ingest_landing.py --json"


@pytest.mark.usefixtures("google_provider")
@pytest.mark.parametrize("profile", ["dev", "staging", "prod"])
def test_in_the_cloud_the_buckets_notification_starts_it(monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    monkeypatch.setenv("SHOPLAKE_PROFILE", profile)
    watched = runpy.run_path(str(DAGS / "file_arrival_dag.py"))["dag"].timetable.asset_condition
    assert watched.uri == LANDING.uri
    options = watched.watchers[0].trigger.options
    assert (options["scheme"], options["project_id"], options["subscription"], options["ack_messages"]) == (
        "google+pubsub", f"shoplake-{profile}", "shoplake-landing", True)


class Announced(list[Any]):
    """Earlier events of an asset, newest first, as Airflow gives them."""

    def ascending(self, _: bool) -> "Announced":
        return self

    def limit(self, _: int) -> "Announced":
        return self


@pytest.mark.parametrize(("announced", "expected"), [
    ([], True),  # the first file ever
    ([{}], True),  # an event made by hand says nothing of files
    ([{"files_until": "2026-11-21T11:59:59.999999+00:00"}], True),
    ([{"files_until": "2026-11-21T12:00:00+00:00"}], False),
    ([{}, {"files_until": "2026-11-21T12:00:00+00:00"}], False),
])
def test_only_files_that_were_not_announced_yet_go_on(
    file_arrival: dict[str, Any], data_dir: Path, write_table: Any, announced: list[dict[str, str]], expected: bool,
) -> None:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    lake = Lake(str(data_dir / "lake"))
    events = {SILVER: Announced(SimpleNamespace(extra=extra) for extra in announced)}
    assert file_arrival["newest_unannounced"](events) is None, "nothing was ever taken in"
    row = {"source": "events", "file_sha256": "a", "file_name": "a", "byte_count": 1, "arrived_at": moment,
           "recorded_at": moment, "status": "ingested"}
    later = {**row, "file_sha256": "b", "status": "rejected", "recorded_at": datetime(2026, 12, 1, tzinfo=UTC)}
    write_table(lake, FILES, [row, later])
    newest = file_arrival["newest_unannounced"](events)
    assert newest == (moment.isoformat() if expected else None)


@contextmanager
def new_topic(broker: str) -> Iterator[str]:
    from kafka.admin import KafkaAdminClient, NewTopic

    name = f"test_{uuid4().hex}"
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.create_topics([NewTopic(name, 3, 1)], timeout_ms=30_000, wait_for_metadata=True)
        yield name
        admin.delete_topics([name])


class Airflow:
    """An Airflow of the test's own: its commands, and the events of its assets."""

    def __init__(self, data: Path, **settings: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.environment = airflow_environment(clean, load_settings(), Path(sys.executable).parent, 48099) | settings
        self._database = data / "airflow" / "airflow.db"
        self.run("db", "migrate")

    def run(self, *words: str, expected: int = 0, **settings: str) -> None:
        done = subprocess.run(["airflow", *words], cwd=PROJECT_ROOT, env=self.environment | settings,
                              capture_output=True, text=True, check=False)
        assert done.returncode == expected, done.stdout[-4000:] + done.stderr[-4000:]

    def events_of(self, asset: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._database)) as database:
            found = database.execute(
                "SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE a.name = ?", [asset])
            return [json.loads(extra) for (extra,) in found]


@pytest.mark.live
def test_airflows_triggerer_hears_of_a_file_without_the_clock(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "landing" / "events"
    folder.mkdir(parents=True)
    airflow = Airflow(data_dir)
    (folder / "a.csv").write_text(EVENTS_CSV)
    airflow.run("dags", "reserialize")  # no scheduler runs: only the watcher can make an event
    with (tmp_path / "triggerer.log").open("w") as log:
        triggerer = subprocess.Popen(
            ["airflow", "triggerer", "--skip-serve-logs"], env=airflow.environment, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while not airflow.events_of("landing") and time.monotonic() < deadline:
                time.sleep(0.5)
        finally:
            os.killpg(triggerer.pid, signal.SIGTERM)
            triggerer.wait(60)
    assert airflow.events_of("landing") == [{"from_trigger": True, "payload": {"new_files": 1}}]


@pytest.mark.live
def test_a_file_comes_into_silver_and_is_announced_once(broker: str, data_dir: Path) -> None:
    landing, lake = data_dir / "landing", Lake(str(data_dir / "lake"))
    (landing / "events").mkdir(parents=True)
    with new_topic(broker) as topic:
        airflow = Airflow(data_dir, SHOPLAKE_SOURCES__LANDING_SETTLE="0", SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS=broker,
                          SHOPLAKE_KAFKA__TOPIC=topic)
        airflow.run("pools", "import", str(PROJECT_ROOT / "airflow" / "pools.json"))
        for name in ("a.csv", "b.csv"):
            (landing / "events" / name).write_text(EVENTS_CSV)
        airflow.run("dags", "test", "file_arrival")
        assert read_table(lake, FILES).num_rows == 1
        assert sorted(read_table(lake, SILVER_EVENTS)["user_id"].to_pylist()) == ["u1", "u2"]
        assert sum(read_table(lake, LEDGER)["quarantine_count"].to_pylist()) == 1
        announced = airflow.events_of("silver")
        assert announced == [{"files_until": read_table(lake, FILES)["recorded_at"].to_pylist()[0].isoformat()}]

        batches = read_table(lake, LEDGER).num_rows
        (landing / "events" / "again.csv").write_text(EVENTS_CSV)
        airflow.run("dags", "test", "file_arrival")
        assert airflow.events_of("silver") == announced, "nothing new: gold is not built for nothing"
        assert read_table(lake, LEDGER).num_rows == batches
        assert len(list((landing / "done" / "events").iterdir())) == 3

        kept = Path(lake.kept_files("online_retail"))
        kept.touch()  # a file where the folder of that source's copies should be
        (landing / "online_retail" / "bad.csv").write_text(RETAIL)
        (landing / "events" / "good.csv").write_text(EVENTS_CSV.replace("u2", "u3"))
        airflow.run("dags", "test", "file_arrival", expected=1, SHOPLAKE_SHOP__CURRENCY="GBP",
                    SHOPLAKE_AIRFLOW__RETRIES="0")
        assert (landing / "online_retail" / "bad.csv").exists()
        assert len(airflow.events_of("silver")) == len(announced) + 1, "the one beside it goes on; the run is red"
