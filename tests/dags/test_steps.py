"""What the factory's steps really do under Airflow: which failures are tried again, and who is told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from shoplake.airflow_environment import airflow_environment
from shoplake.settings import load_settings

TINY = Path(__file__).parent / "tiny"


class Receiver(ThreadingHTTPServer):
    """A webhook on this machine that keeps what it was told."""

    def __init__(self, status: int) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


def receive(status: int) -> Iterator[Receiver]:
    server = Receiver(status)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    yield from receive(200)


@pytest.fixture
def broken_receiver() -> Iterator[Receiver]:
    yield from receive(500)


def test_only_what_trying_again_may_mend_is_tried_again_and_the_webhook_hears(
    data_dir: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__RETRY_DELAY", "1")
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", receiver.address)
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__OPENLINEAGE_FILE", "lineage/events.jsonl")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = airflow_environment(clean, load_settings(), Path(sys.executable).parent, 8081) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(TINY), "TRIES": str(tmp_path)}
    subprocess.run(["airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    done = subprocess.run(["airflow", "dags", "test", "tiny"], env=environment, capture_output=True, text=True,
                          check=False)
    log = done.stdout + done.stderr

    tries = {path.name: len(path.read_text().split()) for path in tmp_path.iterdir() if path.is_file()}
    assert tries == {"heals": 2, "is_killed_once": 2, "is_refused": 1, "is_misused": 1}, log[-3000:]
    drift, message = sorted(receiver.messages, key=lambda one: str(one["state"]))
    assert (drift["dag_id"], drift["state"], drift["task"]) == ("tiny", "drifting", "drifts")
    assert drift["reason"] == (
        "up to 2026-03-01 sales have left the forecasts of xgboost (less was sold than forecast)")
    assert message["dag_id"] == "tiny"
    assert message["state"] == "failed"
    assert message["run_id"].startswith("manual__")
    assert message["task"] in {"is_refused", "is_misused"}
    assert message["log_url"].startswith("http://127.0.0.1:8081/dags/tiny/runs/")
    assert receiver.address not in log, "the webhook's address is a secret"

    events = [json.loads(line) for line in (data_dir / "lineage" / "events.jsonl").read_text().splitlines()]
    ended = {event["job"]["name"]: event["eventType"] for event in events if event["eventType"] != "START"}
    assert ended["tiny.heals"] == "COMPLETE"
    assert ended["tiny.is_refused"] == "FAIL"
    assert ended["tiny.says_nothing"] == "COMPLETE", "a callback that fails harms no step"
    assert {event["job"]["namespace"] for event in events} == {"shoplake"}


@pytest.mark.parametrize("address", ["broken", "http://127.0.0.1:9/nobody", "no address at all", ""])
def test_a_webhook_that_fails_harms_nothing(
    address: str, broken_receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    import shoplake_callbacks  # importing Airflow sets logging up anew, so pytest's handler is put on afterwards

    monkeypatch.setattr(shoplake_callbacks.LOG, "handlers", [caplog.handler])
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", broken_receiver.address if address == "broken" else address)
    shoplake_callbacks.tell({"dag_id": "d", "run_id": "r", "state": "failed", "reason": "task_failure"})
    log = caplog.text
    assert "d r is failed: task_failure" in log
    assert ("nobody was told" in log) == (address == "")
    assert ("the webhook " in log) == (address != "")
    assert len(broken_receiver.messages) == (address == "broken")
    assert address == "" or load_settings().airflow.webhook_url.get_secret_value() not in log


async def _late() -> None:
    from shoplake_callbacks import report_late_run

    # As Airflow's triggerer calls it.
    await report_late_run(context={
        "dag_run": {"dag_id": "ecommerce_pipeline", "dag_run_id": "scheduled__2026-11-20", "state": "running"},
        "deadline": {"id": "1", "deadline_time": "2026-11-21T06:00:00Z"}})


def test_a_late_run_is_told(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", receiver.address)
    asyncio.run(_late())
    assert receiver.messages == [{
        "dag_id": "ecommerce_pipeline", "run_id": "scheduled__2026-11-20", "state": "late",
        "reason": "not done by 2026-11-21T06:00:00Z; it is running", "task": None, "log_url": None}]
