"""Each service that the project or its tests start on a machine listens on loopback only.

The standing platform with all of its servers is looked at in tests/live, the services of compose in tests/docker.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prometheus_client import CollectorRegistry

from shoplake import processes
from shoplake.embedded_broker import render_properties
from shoplake.settings import PROJECT_ROOT

OWN = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
WHOLE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])|\[::\]|INADDR_ANY")


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Give the addresses on which a process and all that it started listen."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        found |= {tuple(connection.laddr) for connection in one.net_connections("tcp")
                  if connection.status == psutil.CONN_LISTEN}
    return found


def server_at(port: int) -> psutil.Process:
    """Give the process that listens on a port."""
    [pid] = {connection.pid for connection in psutil.net_connections("tcp") if connection.status == psutil.CONN_LISTEN
             and connection.laddr.port == port and connection.pid}
    return psutil.Process(pid)


@pytest.mark.parametrize("service", [
    "broker", "gcs_emulator", "cloud_storage", pytest.param("bigquery_server", marks=pytest.mark.cloud),
    pytest.param("postgres", marks=pytest.mark.nightly)])
def test_a_service_listens_on_loopback_only(service: str, request: pytest.FixtureRequest) -> None:
    started: Any = request.getfixturevalue(service)
    address = started if isinstance(started, str) else getattr(started, "address", None)
    port = int(address.rsplit(":", 1)[1]) if address else started.port
    found = listening(server_at(port))
    assert port in {where[1] for where in found}
    assert {where[0] for where in found} <= OWN


def test_spark_listens_on_loopback_only_and_has_no_page(spark: Any) -> None:
    spark.range(10).repartition(3).count()  # the block manager and the executor are up
    found = listening(psutil.Process())
    assert len(found) >= 2
    assert {where[0] for where in found} <= OWN
    assert spark.sparkContext.uiWebUrl is None


def test_the_metrics_are_served_on_loopback_only() -> None:
    import runpy

    shell = runpy.run_path(str(PROJECT_ROOT / "spark" / "streaming_pipeline.py"))
    metrics = type("Metrics", (), {"registry": CollectorRegistry()})
    before = listening(psutil.Process())
    port = processes.find_free_port(49108, "a test's port")
    with shell["serve_metrics"](metrics, port):
        found = listening(psutil.Process()) - before
    assert port in {where[1] for where in found}
    assert {where[0] for where in found} <= OWN


def test_the_look_itself_finds_a_server_of_all_addresses(tmp_path: Path) -> None:
    code = "import socket, sys; s = socket.create_server(('0.0.0.0', 0)); print(s.getsockname()[1]); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                             text=True)
    assert child.stdout
    try:
        port = int(child.stdout.readline())
        assert ("0.0.0.0", port) in listening(psutil.Process())
        assert listening(server_at(port)) == {("0.0.0.0", port)}
    finally:
        child.communicate("")


def test_the_brokers_listeners_are_loopbacks() -> None:
    lines = dict(line.split("=", 1) for line in render_properties(1, 2, Path("x")).splitlines())
    listeners = [*lines["listeners"].split(","), *lines["advertised.listeners"].split(",")]
    assert len(listeners) == 3
    assert {re.fullmatch(r"\w+://(.+):\d+", one)[1] for one in listeners} == {"127.0.0.1"}  # type: ignore[index]


def test_every_address_is_named_in_containers_only() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    named = set()
    for name in filter(None, listed.stdout.split("\0")):
        file = PROJECT_ROOT / name
        if file.suffix not in (".md", ".png", ".ipynb") and not name.startswith("tests/") and file.is_file() \
                and WHOLE.search(file.read_bytes().decode(errors="replace")):
            named.add(name)
    assert named == {"docker/Dockerfile.ml", "docker/Dockerfile.spark", "docker/docker-compose.yml"}
    services = yaml.safe_load((PROJECT_ROOT / "docker" / "docker-compose.yml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 7
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
