"""A platform of the test's own: its servers' ports, its data folder, and Airflow's REST interface."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shoplake import processes
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import find_holder
from shoplake.settings import PROJECT_ROOT


@dataclass(frozen=True)
class Platform:
    """A platform of the test's own: its data folder, and where its servers are."""

    data: Path
    environment: dict[str, str]

    def up(self) -> dict[str, dict[str, Any]]:
        """Start it, or what of it does not run; give its services by name."""
        return {service["name"]: service for service in self.run_json("utils/stack.py", "up")["services"]}

    def down(self) -> None:
        self.run_json("utils/stack.py", "down")

    @property
    def lake(self) -> Lake:
        return Lake(str(self.data / "lake"))

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, *words], cwd=PROJECT_ROOT, env=self.environment, capture_output=True,
                              text=True, check=False)

    def run_json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        return json.loads(done.stdout)

    def find_members(self) -> list[psutil.Process]:
        """Find every process of the platform but the broker's."""
        states = [state for file in (self.data / "stack").glob("*.json") if (state := processes.read_state(file))]
        return processes.find_members(states, "STACK_OF", str(self.data))

    def stream_pid(self) -> int | None:
        holder = find_holder(self.lake, "checkpoint-events")
        return int(holder.split()[1]) if holder else None

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call Airflow's REST interface as the operator."""
        server = processes.find_running(self.data / "stack" / "api-server.json")
        assert server is not None
        address = f"http://{server.address}"
        [(name, password)] = json.loads((self.data / "keys" / "airflow-login.json").read_text()).items()
        token = httpx.post(f"{address}/auth/token", json={"username": name, "password": password})
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
        """Wait until the run ends, and see that it succeeded."""
        self.wait_for(lambda: self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"] in ("success", "failed"),
                 f"the run of {dag_id} to end", seconds)
        tasks = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        assert not {"failed", "upstream_failed"} & set(states.values()), states
        assert self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"] == "success"

    @staticmethod
    def wait_for(condition: Callable[[], Any], what: str, seconds: float) -> float:
        """Wait until it holds; give the seconds that it took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"waited {seconds} s for {what}"
            time.sleep(0.5)
        return time.monotonic() - started


@pytest.fixture(scope="module")
def platform(platform_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform with the module's own settings, its first ports among them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPLAKE_", "AIRFLOW"))}
    data = tmp_path_factory.mktemp("platform") / "data"
    started = Platform(data, {
        **kept, "SHOPLAKE_DATA_DIR": str(data), "SHOPLAKE_SPARK__TRIGGER_INTERVAL": "2",
        "SHOPLAKE_AIRFLOW__HISTORY_DAYS": "40", **platform_settings})
    try:
        started.up()
        yield started
    finally:
        started.down()
