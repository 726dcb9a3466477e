"""The standing platform as its users have it: up, REST, a killed stream, a file that arrives, down.

One platform for all tests of this file, in their order.
"""

import json
import os
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from model_registry import draw_errors, enter_version, open_own

from shoplake import processes
from shoplake.contract.tables import DAILY_SALES, FILES, LEDGER, SILVER_EVENTS
from shoplake.lake.arrow import changed_at, read_table

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

HEADER = "event_time,user_id,product_id,category,price,quantity,event_type\n"


@pytest.fixture(scope="module")
def platform_settings() -> dict[str, str]:
    return {
        "SHOPLAKE_KAFKA__PORT": "49092", "SHOPLAKE_AIRFLOW__PORT": "48081", "SHOPLAKE_DASHBOARD__PORT": "48501",
        "SHOPLAKE_AIRFLOW__EVENTS": "3000", "SHOPLAKE_AIRFLOW__RETRY_DELAY": "5",
        # No run by the clock before the next year: the one that is triggered is the only one.
        "SHOPLAKE_AIRFLOW__SCHEDULE": "0 3 1 1 *",
    }


def test_up_means_healthy_and_again_changes_nothing(platform: Any) -> None:
    before = {process.pid for process in platform.find_members()}
    services = platform.up()
    assert set(services) == {"broker", "airflow", "stream", "dashboard", "mlflow"}
    assert all(service["healthy"] for service in services.values())
    servers = {processes.read_state(platform.data / "stack" / f"{name}.json").pid  # type: ignore[union-attr]
               for name in ("api-server", "scheduler", "dashboard")}
    assert servers <= before
    assert platform.run("utils/stack.py", "status").returncode == 0


def test_the_login_is_told_and_is_nobodys_guess(platform: Any) -> None:
    note = platform.up()["airflow"]["note"]
    assert note == f"user operator, password in {platform.data / 'keys' / 'airflow-login.json'}"
    address = "http://" + processes.read_state(platform.data / "stack" / "api-server.json").address  # type: ignore[union-attr]
    for name in ("admin", "airflow", "operator"):
        for guess in ("admin", "airflow", "operator", ""):
            answer = httpx.post(f"{address}/auth/token", json={"username": name, "password": guess})
            assert answer.status_code in (400, 401), (name, guess)
    assert httpx.get(f"{address}/api/v2/dags").status_code == 401
    [(_, password)] = json.loads((platform.data / "keys" / "airflow-login.json").read_text()).items()
    secrets = [password, *((platform.data / "keys" / f"airflow-{name}.secret").read_text()
                           for name in ("fernet", "jwt", "session"))]
    told = [file for folder in ("stack", "airflow") for file in (platform.data / folder).rglob("*")
            if file.is_file() and any(secret in file.read_bytes().decode(errors="replace") for secret in secrets)]
    assert told == []
    for process in platform.find_members():
        with suppress(psutil.NoSuchProcess):
            seen = " ".join([*process.cmdline(), *process.environ().values()])
            assert not [secret for secret in secrets if secret in seen], process.name()


def test_everything_listens_on_loopback_only(platform: Any) -> None:
    broker = psutil.Process(platform.run_json("kafka/broker.py", "status")["pid"])
    members = [broker, *platform.find_members()]
    listening = [(process.name(), connection.laddr) for process in members
                 for connection in process.net_connections("tcp") if connection.status == psutil.CONN_LISTEN]
    states = [processes.read_state(file) for file in (platform.data / "stack").glob("*.json")]
    servers = {state.port for state in states if state}  # the parts of Airflow share the api-server's
    metrics = {int(port) for file in (platform.data / "airflow" / "logs").rglob("*.log")
               for port in re.findall(r"Prometheus metrics: http://127\.0\.0\.1:(\d+)", file.read_text())}
    assert len(servers) == 3, "Airflow, dashboard, MLflow"
    assert metrics
    assert servers | metrics <= {where[1].port for where in listening}
    loopback = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not [where for where in listening if where[1].ip not in loopback]


def test_the_daily_run_triggered_by_rest_heals_a_killed_task(platform: Any) -> None:
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

    platform.wait_for(kill_build, "build_gold to run", 240)
    platform.wait_for_run("ecommerce_pipeline", run_id, 400)
    assert platform.find_task("ecommerce_pipeline", run_id, "build_gold")["try_number"] == 2
    assert len(set(read_table(platform.lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())) == 41
    assert platform.run_json("utils/reconcile.py")["balanced"]


def test_an_event_by_hand_is_on_the_dashboard_within_15_seconds_of_its_batch(platform: Any, browser: Any) -> None:
    file = platform.data / "by_hand.csv"
    file.write_text(f"{HEADER}{datetime.now(UTC).isoformat()},u1,MADE-BY-HAND,garden,999999,1,order_created\n")
    page = browser.new_page()
    page.goto("http://" + processes.read_state(platform.data / "stack" / "dashboard.json").address)  # type: ignore[union-attr]
    page.get_by_role("heading", name="Live", exact=True).wait_for(timeout=60_000)
    before = read_table(platform.lake, LEDGER, ["batch_id"]).num_rows
    platform.run_json("kafka/producer.py", "--replay", str(file), "--source", "events")
    page.get_by_text("MADE-BY-HAND").first.wait_for(timeout=60_000)
    seen = datetime.now(UTC)
    page.close()
    # The page may show the window before the batch's ledger row is written.
    platform.wait_for(lambda: read_table(platform.lake, LEDGER, ["batch_id"]).num_rows > before, "its batch", 60)
    committed = changed_at(platform.lake, LEDGER)
    assert committed is not None
    seconds = (seen - committed).total_seconds()
    print(f"the event was seen {seconds:.1f} s after its batch")
    assert seconds < 15


def test_a_killed_stream_is_back_within_a_minute_and_the_ledger_balances(platform: Any) -> None:
    first = platform.stream_pid()
    assert first is not None
    before = platform.run_json("utils/reconcile.py")["bronze"]
    platform.run_json("kafka/producer.py", "--events", "200")
    os.kill(first, signal.SIGKILL)
    seconds = platform.wait_for(lambda: platform.stream_pid() not in (None, first), "another stream", 60)
    print(f"the stream was back after {seconds:.1f} s")
    platform.run_json("kafka/producer.py", "--events", "100")
    platform.wait_for(
        lambda: platform.run_json("utils/check_stream.py")["total_lag"] == 0, "the stream to catch up", 90)
    ledger = platform.run_json("utils/reconcile.py")
    assert ledger["balanced"]
    assert ledger["bronze"] == before + 300


def test_a_file_is_taken_in_once_and_a_broken_one_is_set_aside(platform: Any) -> None:
    landing = platform.data / "landing" / "events"
    landing.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"2026-10-0{day}T10:00:00Z,arrived,PFILE,garden,2.50,1,order_created\n" for day in range(1, 5))
    (landing / "broken.csv").write_text("no such columns\n1\n")
    (landing / "a.csv").write_text(HEADER + rows)
    (landing / "b.csv").write_text(HEADER + rows)
    platform.wait_for(lambda: not list(landing.iterdir()), "the landing folder to be empty", 300)
    files = {row["status"]: row for row in read_table(platform.lake, FILES).to_pylist()}
    assert set(files) == {"ingested", "rejected"}
    assert read_table(platform.lake, FILES).num_rows == 2
    assert files["rejected"]["reason"]
    assert (platform.data / "landing" / "rejected" / "events" / "broken.csv").exists()

    def gold_units() -> int:
        gold = read_table(platform.lake, DAILY_SALES, ["product_id", "units"]).to_pylist()
        return sum(row["units"] for row in gold if row["product_id"] == "PFILE")

    platform.wait_for(lambda: gold_units() == 4, "gold to be built from the file", 240)
    silver = read_table(platform.lake, SILVER_EVENTS, ["product_id"])["product_id"].to_pylist()
    assert silver.count("PFILE") == 4


def test_a_model_is_promoted_by_a_persons_word(platform: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(platform.data))
    registry = open_own()

    def enter(seed: int) -> int:
        errors = draw_errors(1, lambda rng, expected: expected * np.exp(rng.normal(0, 0.05, expected.shape)))
        return enter_version(registry, tmp_path, errors, seed).number

    def ask(reason: str) -> tuple[str, str]:
        run_id = platform.trigger("model_promotion", model="linear", reason=reason)
        path = f"dags/model_promotion/dagRuns/{run_id}/taskInstances/ask/-1/hitlDetails"
        platform.wait_for(lambda: platform.find_task("model_promotion", run_id, "ask")["state"] in (
            "awaiting_input", "deferred"), "the question", 300)
        return run_id, path

    number = enter(1)
    run_id, path = ask("it's $(touch better)")
    told = platform.call("GET", path)
    assert f"linear v{number} would be the champion" in told["body"]
    assert "of wmixt's error" in told["body"]
    assert registry.find_alias("linear", "champion") is None, "nobody has said yes yet"
    platform.call("PATCH", path, json={"chosen_options": ["Reject"]})
    platform.wait_for_run("model_promotion", run_id, 200)
    assert registry.find_alias("linear", "champion") is None

    run_id, path = ask("it's $(touch better)")
    platform.call("PATCH", path, json={"chosen_options": ["Approve"]})
    platform.wait_for_run("model_promotion", run_id, 300)
    [event] = registry.events("linear")
    assert (event["action"], event["version"], event["by"], event["reason"]) == (
        "promoted", number, "operator", "it's $(touch better)")
    assert registry.find_alias("linear", "champion").number == number  # type: ignore[union-attr]


def test_down_leaves_no_process_and_no_port_and_up_goes_on(platform: Any) -> None:
    broker = psutil.Process(platform.run_json("kafka/broker.py", "status")["pid"])
    members = [broker, *platform.find_members()]
    children = [child for member in members for child in member.children(recursive=True)]
    ports = {connection.laddr.port for process in members for connection in process.net_connections("tcp")
             if connection.status == psutil.CONN_LISTEN}
    runs = platform.call("GET", "dags/ecommerce_pipeline/dagRuns")["total_entries"]

    platform.down()
    assert not [process for process in (*members, *children) if process.is_running()
                and process.status() != psutil.STATUS_ZOMBIE]
    assert not [port for port in ports if processes.is_listening(port)]
    assert platform.run("utils/stack.py", "status").returncode == 1

    platform.up()
    assert platform.call("GET", "dags/ecommerce_pipeline/dagRuns")["total_entries"] >= runs
    assert platform.run_json("utils/reconcile.py")["balanced"]
