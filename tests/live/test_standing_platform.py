"""The standing platform as its users have it: up, REST, a killed stream, a file that arrives, down.

One platform for all tests of this file, in their order.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shoplake import processes
from shoplake.contract.tables import DAILY_SALES, FILES, LEDGER, SILVER_EVENTS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.locks import find_holder
from shoplake.settings import PROJECT_ROOT

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

EVENTS = 3000
HEADER = "event_time,user_id,product_id,category,price,quantity,event_type\n"


@dataclass(frozen=True)
class Platform:
    """A platform of the test's own: its data folder, and where its servers are."""

    data: Path
    environment: dict[str, str]
    services: dict[str, dict[str, Any]]

    @property
    def lake(self) -> Lake:
        return Lake(str(self.data / "lake"))

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, *words], cwd=PROJECT_ROOT, env=self.environment, capture_output=True,
                              text=True, check=False)

    def run_json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def find_members(self) -> list[psutil.Process]:
        """Find every process of the platform but the broker's."""
        states = [state for file in (self.data / "stack").glob("*.json") if (state := processes.read_state(file))]
        return processes.find_members(states, "STACK_OF", str(self.data))

    def stream_pid(self) -> int | None:
        holder = find_holder(self.lake, "checkpoint-events")
        return int(holder.split()[1]) if holder else None

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call Airflow's REST interface as the admin."""
        address = self.services["airflow"]["address"]
        passwords = json.loads((self.data / "airflow" / "simple_auth_manager_passwords.json.generated").read_text())
        token = httpx.post(f"{address}/auth/token", json={"username": "admin", "password": passwords["admin"]})
        token.raise_for_status()
        answer = httpx.request(method, f"{address}/api/v2/{path}", timeout=30,
                               headers={"Authorization": f"Bearer {token.json()['access_token']}"}, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Trigger a run by hand and give its id."""
        return str(self.call("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"])

    def find_task(self, dag_id: str, run_id: str, task_id: str) -> Any:
        return self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float) -> None:
        wait_for(lambda: self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"] in ("success", "failed"),
                 f"the run of {dag_id} to end", seconds)
        tasks = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        assert not {"failed", "upstream_failed"} & set(states.values()), states
        assert self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"] == "success"


def wait_for(condition: Callable[[], Any], what: str, seconds: float) -> float:
    """Wait until it holds; give the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"waited {seconds} s for {what}"
        time.sleep(0.5)
    return time.monotonic() - started


def run_stack(environment: dict[str, str], action: str) -> Any:
    done = subprocess.run([sys.executable, "utils/stack.py", action, "--json"], cwd=PROJECT_ROOT, env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data = tmp_path_factory.mktemp("platform") / "data"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPLAKE_", "AIRFLOW"))}
    return {**kept, "SHOPLAKE_DATA_DIR": str(data), "SHOPLAKE_KAFKA__PORT": "49092", "SHOPLAKE_AIRFLOW__PORT": "48081",
            "SHOPLAKE_DASHBOARD__PORT": "48501", "SHOPLAKE_AIRFLOW__RETRY_DELAY": "5",
            "SHOPLAKE_AIRFLOW__EVENTS": str(EVENTS), "SHOPLAKE_AIRFLOW__HISTORY_DAYS": "40",
            "SHOPLAKE_SPARK__TRIGGER_INTERVAL": "2",
            # No run by the clock before the next year: the one that is triggered is the only one.
            "SHOPLAKE_AIRFLOW__SCHEDULE": "0 3 1 1 *"}


@pytest.fixture(scope="module")
def platform(environment: dict[str, str]) -> Iterator[Platform]:
    data = Path(environment["SHOPLAKE_DATA_DIR"])
    try:
        services = run_stack(environment, "up")["services"]
        yield Platform(data, environment, {service["name"]: service for service in services})
    finally:
        run_stack(environment, "down")


def test_up_means_healthy_and_again_changes_nothing(platform: Platform) -> None:
    assert set(platform.services) == {"broker", "airflow", "stream", "dashboard"}
    before = {process.pid for process in platform.find_members()}
    services = run_stack(platform.environment, "up")["services"]
    assert all(service["healthy"] for service in services)
    assert {service["name"]: service["address"] for service in services} == {
        name: service["address"] for name, service in platform.services.items()}
    servers = {processes.read_state(platform.data / "stack" / f"{name}.json").pid  # type: ignore[union-attr]
               for name in ("api-server", "scheduler", "dashboard")}
    assert servers <= before
    assert platform.run("utils/stack.py", "status").returncode == 0


def test_everything_listens_on_loopback_only(platform: Platform) -> None:
    broker = psutil.Process(platform.run_json("kafka/broker.py", "status")["pid"])
    members = [broker, *platform.find_members()]
    listening = [(process.name(), connection.laddr) for process in members
                 for connection in process.net_connections("tcp") if connection.status == psutil.CONN_LISTEN]
    assert len(listening) >= 4
    loopback = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not [where for where in listening if where[1].ip not in loopback]


def test_the_daily_run_triggered_by_rest_heals_a_killed_task(platform: Platform) -> None:
    run_id = platform.trigger("ecommerce_pipeline")
    # It comes paused, for it invents events; the page asks whether to unpause when it is triggered there.
    platform.call("PATCH", "dags/ecommerce_pipeline", json={"is_paused": False})

    def kill_build() -> bool:
        killed = False
        for process in platform.find_members():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if any("batch_processing.py" in word for word in process.cmdline()):
                    process.kill()
                    killed = True
        return killed

    wait_for(kill_build, "build_gold to run", 240)
    platform.wait_for_run("ecommerce_pipeline", run_id, 400)
    assert platform.find_task("ecommerce_pipeline", run_id, "build_gold")["try_number"] == 2
    assert len(set(read_table(platform.lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())) == 41
    assert platform.run_json("utils/reconcile.py")["balanced"]


def test_a_killed_stream_is_back_within_a_minute_and_the_ledger_balances(platform: Platform) -> None:
    first = platform.stream_pid()
    assert first is not None
    before = read_table(platform.lake, LEDGER, ["batch_id"]).num_rows
    platform.run_json("kafka/producer.py", "--events", "200")
    os.kill(first, signal.SIGKILL)
    seconds = wait_for(lambda: platform.stream_pid() not in (None, first), "another stream", 60)
    print(f"the stream was back after {seconds:.1f} s")
    platform.run_json("kafka/producer.py", "--events", "100")
    wait_for(lambda: platform.run("utils/check_stream.py").returncode == 0
             and read_table(platform.lake, LEDGER, ["batch_id"]).num_rows > before, "the stream to catch up", 90)
    ledger = platform.run_json("utils/reconcile.py")
    assert ledger["balanced"]


def test_a_file_is_taken_in_once_and_a_broken_one_is_set_aside(platform: Platform) -> None:
    landing = platform.data / "landing" / "events"
    landing.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"2026-10-0{day}T10:00:00Z,arrived,PFILE,garden,2.50,1,order_created\n" for day in range(1, 5))
    (landing / "broken.csv").write_text("no such columns\n1\n")
    (landing / "a.csv").write_text(HEADER + rows)
    (landing / "b.csv").write_text(HEADER + rows)
    wait_for(lambda: not [file for file in landing.iterdir() if file.is_file()], "the landing folder to be empty", 300)
    files = {row["status"]: row for row in read_table(platform.lake, FILES).to_pylist()}
    assert set(files) == {"ingested", "rejected"}
    assert read_table(platform.lake, FILES).num_rows == 2
    assert files["rejected"]["reason"]
    assert (platform.data / "landing" / "rejected" / "events" / "broken.csv").exists()

    def gold_units() -> int:
        gold = read_table(platform.lake, DAILY_SALES, ["product_id", "units"]).to_pylist()
        return sum(row["units"] for row in gold if row["product_id"] == "PFILE")

    wait_for(lambda: gold_units() == 4, "gold to be built from the file", 240)
    silver = read_table(platform.lake, SILVER_EVENTS, ["product_id"])["product_id"].to_pylist()
    assert silver.count("PFILE") == 4


def test_down_leaves_no_process_and_no_port_and_up_goes_on(platform: Platform) -> None:
    broker = psutil.Process(platform.run_json("kafka/broker.py", "status")["pid"])
    members = [broker, *platform.find_members()]
    children = [child for member in members for child in member.children(recursive=True)]
    ports = {connection.laddr.port for process in members for connection in process.net_connections("tcp")
             if connection.status == psutil.CONN_LISTEN}
    runs = platform.call("GET", "dags/ecommerce_pipeline/dagRuns")["total_entries"]

    run_stack(platform.environment, "down")
    assert not [process for process in (*members, *children) if process.is_running()
                and process.status() != psutil.STATUS_ZOMBIE]
    assert not [port for port in ports if processes.is_listening(port)]
    assert platform.run("utils/stack.py", "status").returncode == 1

    services = {service["name"]: service for service in run_stack(platform.environment, "up")["services"]}
    again = Platform(platform.data, platform.environment, services)
    assert again.call("GET", "dags/ecommerce_pipeline/dagRuns")["total_entries"] >= runs
    assert again.run_json("utils/reconcile.py")["balanced"]
