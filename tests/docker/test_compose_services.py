"""The long-running services of docker-compose.yml with their very commands and environments, outside containers.

The images' steps are replayed in a folder, so what runs here is what the image would hold: its environment, and no file
that .dockerignore keeps out.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Compose, Kafka

    from tests.conftest import Postgres

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

EVENTS = 300
Keep = Callable[["subprocess.Popen[bytes]"], None]


@pytest.fixture(scope="module")
def prepared(moved: "Compose") -> "Compose":
    done = moved.run("secrets")
    assert done.returncode == 0, done.stderr
    return moved


@pytest.fixture(scope="module")
def spark_image(prepared: "Compose", build_outside: Callable[[str, str], Path]) -> "Compose":
    """Give the compose file with the image of Dockerfile.spark in the place of the checkout."""
    project = build_outside("Dockerfile.spark", "spark") / "opt" / "shoplake"
    return prepared.also({"/opt/shoplake": str(project)})


def start(compose: "Compose", name: str, folder: Path, keep: Keep, *more: str) -> "subprocess.Popen[bytes]":
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = compose.start(name, output, *more)
    keep(process)
    compose.wait_until_healthy(name, process, log, 180)
    return process


def listening_elsewhere(process: "subprocess.Popen[bytes]") -> set[str]:
    """Give the addresses beyond this machine on which a service, or a process that it started, listens."""
    mine = psutil.Process(process.pid)
    return {f"{found.laddr.ip}:{found.laddr.port}" for one in [mine, *mine.children(recursive=True)]
            for found in one.net_connections("inet")
            if found.status == psutil.CONN_LISTEN and found.laddr.ip not in ("127.0.0.1", "::1")}


def test_the_stream_of_the_image_takes_in_what_the_host_sent(
    moved: "Compose", spark_image: "Compose", kafka: "Kafka",
) -> None:
    made = spark_image.run("topics")
    assert made.returncode == 0, made.stderr
    to_host = spark_image.also({"kafka:29092": kafka.host})
    sent = to_host.run("spark", "python", "kafka/producer.py", "--events", str(EVENTS), "--json")
    assert sent.returncode == 0, sent.stderr
    drained = spark_image.run("spark", "spark-submit", "spark/streaming_pipeline.py", "--drain", "--json")
    assert drained.returncode == 0, drained.stderr[-3000:]
    proof = spark_image.run("spark", "python", "utils/reconcile.py", "--json")
    found = json.loads(proof.stdout)
    assert found["balanced"]
    assert found["bronze"] >= EVENTS


def test_jupyter_wants_its_token_and_serves_the_tour(
    spark_image: "Compose", tmp_path: Path, run_until_the_end: Keep,
) -> None:
    as_root = ["--allow-root"] if os.geteuid() == 0 else []  # the image's user is not
    process = start(spark_image, "spark", tmp_path, run_until_the_end, *as_root)
    address = f"http://127.0.0.1:{spark_image.moved['8888']}"
    assert httpx.get(f"{address}/api/contents").status_code == 403
    token = Path(spark_image.move("/secrets/jupyter/token")).read_text()
    with httpx.Client(base_url=address, headers={"Authorization": f"token {token}"}, timeout=60) as client:
        assert "tour.ipynb" in {entry["name"] for entry in client.get("/api/contents").json()["content"]}
        kernel = client.post("/api/kernels", json={"name": "python3"})
        assert kernel.status_code == 201, kernel.text
        assert client.delete(f"/api/kernels/{kernel.json()['id']}").status_code == 204
    assert listening_elsewhere(process) == set()
    assert token not in " ".join(psutil.Process(process.pid).cmdline())


def test_the_dashboard_serves(prepared: "Compose", tmp_path: Path, run_until_the_end: Keep) -> None:
    process = start(prepared, "dashboard", tmp_path, run_until_the_end)
    address = f"http://127.0.0.1:{prepared.moved['8501']}"
    assert httpx.get(f"{address}/").headers["location"] == "login?to="
    password = Path(prepared.move("/secrets/dashboard/password")).read_text()
    with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as client:
        page = client.post("/login", data={"name": "operator", "password": password})
    assert (page.status_code, 'id="root"' in page.text) == (200, True)
    assert listening_elsewhere(process) == set()


def test_mlflow_keeps_runs(
    prepared: "Compose", build_outside: Callable[[str, str], Path], tmp_path: Path, run_until_the_end: Keep,
) -> None:
    root = build_outside("Dockerfile.ml", "mlflow")
    image = root / "opt" / "mlflow"
    (root / "mlflow").mkdir(exist_ok=True)
    programs = prepared.also({":////mlflow/": f":///{root}/mlflow/", "=/mlflow/": f"={root}/mlflow/"})
    # Its own environment comes first, as in its image, and its own copy of the health check is the working folder's.
    command = [str(image / ".venv" / "bin" / programs.command("mlflow")[0]), *programs.command("mlflow")[1:]]
    log = tmp_path / "mlflow.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=image, env=programs.environment("mlflow"), stdout=output, stderr=output,
                                   start_new_session=True)
    run_until_the_end(process)
    programs.wait_until_healthy("mlflow", process, log, 180)
    address = f"http://127.0.0.1:{programs.moved['5000']}/api/2.0/mlflow"
    made = httpx.post(f"{address}/experiments/create", json={"name": "demand"})
    assert made.status_code == 200, made.text
    found = httpx.get(f"{address}/experiments/get-by-name", params={"experiment_name": "demand"}).json()
    assert found["experiment"]["artifact_location"].startswith("mlflow-artifacts:/")
    refused = httpx.get(f"{address}/experiments/get-by-name", headers={"Host": "elsewhere.example"})
    assert refused.status_code == 403, "a page of another site could read it through the browser"
    assert listening_elsewhere(process) == set()


@pytest.fixture(scope="module")
def airflow(
    prepared: "Compose", postgres: "Postgres", tmp_path_factory: pytest.TempPathFactory, run_until_the_end: Keep,
) -> dict[str, "subprocess.Popen[bytes]"]:
    """Start Airflow's database and its four services, in the order of the compose file."""
    connection = Path(prepared.move("/secrets/airflow/sql_alchemy_conn"))
    password = Path(prepared.move("/secrets/postgres/password")).read_text()
    made = postgres.make_database("airflow", password)
    address = f"127.0.0.1:{postgres.port}"
    connection.write_text(connection.read_text().replace("postgres:5432", address))
    assert connection.read_text() == made
    done = prepared.run("airflow-init")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path_factory.mktemp("airflow-logs")
    names = [name for name in prepared.services if name.startswith("airflow-") and name != "airflow-init"]
    started = {}
    for name in names:
        with (folder / f"{name}.log").open("wb") as output:
            started[name] = prepared.start(name, output)
        run_until_the_end(started[name])
    for name in names:
        prepared.wait_until_healthy(name, started[name], folder / f"{name}.log", 300)
    return started


class Api:
    """Airflow's REST interface, as the operator whose password was made at the first start."""

    def __init__(self, compose: "Compose") -> None:
        self.address = f"http://127.0.0.1:{compose.moved['8080']}"
        password = Path(compose.move("/secrets/airflow/password")).read_text()
        login = httpx.post(f"{self.address}/auth/token", json={"username": "operator", "password": password})
        login.raise_for_status()
        self.headers = {"Authorization": f"Bearer {login.json()['access_token']}"}

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(
            method, f"{self.address}/api/v2/{path}", headers=self.headers, timeout=60, **options)
        assert answer.is_success, answer.text
        return answer.json()


def test_airflow_runs_a_dag(prepared: "Compose", airflow: dict[str, "subprocess.Popen[bytes]"]) -> None:
    assert len(airflow) == 4
    assert set().union(*map(listening_elsewhere, airflow.values())) == set()
    api = Api(prepared)
    assert {pool["name"] for pool in api.call("GET", "pools")["pools"]} >= {"ingest", "gold", "predictions"}
    deadline = time.monotonic() + 180
    while len(api.call("GET", "dags")["dags"]) < 5 and time.monotonic() < deadline:
        time.sleep(2)
    assert api.call("GET", "importErrors")["import_errors"] == []
    assert {"ecommerce_pipeline", "spark_streaming", "dashboard_report"} <= {
        dag["dag_id"] for dag in api.call("GET", "dags")["dags"]}
    api.call("PATCH", "dags/dashboard_report", json={"is_paused": False})
    run = api.call("POST", "dags/dashboard_report/dagRuns", json={"logical_date": None})["dag_run_id"]
    state = "queued"
    while state not in ("success", "failed") and time.monotonic() < deadline + 180:
        time.sleep(2)
        state = api.call("GET", f"dags/dashboard_report/dagRuns/{run}")["state"]
    tasks = api.call("GET", f"dags/dashboard_report/dagRuns/{run}/taskInstances")["task_instances"]
    # The api-server reads the task's log from the volume that it shares with the scheduler.
    logs = [json.dumps(api.call("GET", f"dags/dashboard_report/dagRuns/{run}/taskInstances/{task['task_id']}/logs/1"))
            for task in tasks]
    assert state == "success", logs
    assert all("report.py" in log for log in logs[:1]), logs
