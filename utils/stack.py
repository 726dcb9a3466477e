"""Start, stop or look at the standing platform on this machine: broker, Airflow with the stream, dashboard, MLflow.

No Docker; all listens on 127.0.0.1, on the next free port if one is taken. `up` returns when all is healthy, or exits 1
naming what is not. What is in data/ survives `down`, and `up` goes on with it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shoplake import processes
from shoplake.errors import EXIT_FAILURE, EXIT_OK, ConfigError, ShoplakeError
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import EMBEDDED, PROFILE_VARIABLE, PROFILES, PROJECT_ROOT, Settings, load_settings

MARK = "STACK_OF"  # in the environment of all that `up` starts, so that `down` finds every process of it
BINARIES = Path(sys.executable).parent
# `airflow standalone` is these four, but its log servers listen on every address (docs/adr/0014). Tasks run here, so
# the page reads their logs from the disk.
AIRFLOW_PARTS = {
    "api-server": (), "dag-processor": (), "scheduler": ("--skip-serve-logs",), "triggerer": ("--skip-serve-logs",),
}
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Service:
    """One line of the table: whether it is healthy, where it is, and what is wrong or worth knowing."""

    name: str
    healthy: bool
    address: str
    note: str


def main(argv: list[str] | None = None) -> int:
    """Run the action; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--profile", choices=PROFILES, help="only local has a platform on this machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: run_action(arguments))


def run_action(arguments: argparse.Namespace) -> int:
    """Do it under the platform's lock, and print the table of services."""
    settings = load_settings(arguments.profile)
    if settings.profile != "local":
        raise ConfigError(f"the profile {settings.profile} runs in the cloud (docs/cloud.md); a platform on this "
                          "machine is of the profile local")
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import hold_lock

    if arguments.action == "status":
        services = inspect(settings)
    else:
        stack_path(settings).mkdir(parents=True, exist_ok=True)
        stack_path(settings).chmod(0o700)  # the logs of the servers
        with hold_lock(locate_lake(settings), "stack", timeout=0):
            services = start(settings) if arguments.action == "up" else stop(settings)
    is_as_wished = all(service.healthy for service in services)
    print_result({"healthy": is_as_wished, "services": [asdict(service) for service in services],
                  "data": str(settings.data_path)}, render_table(services, settings), arguments.json)
    sick = ", ".join(service.name for service in services if not service.healthy)
    if arguments.action == "up" and sick:
        raise ShoplakeError(f"not healthy within stack.start_timeout ({settings.stack.start_timeout} s): {sick}. "
                            f"Logs: {stack_path(settings)}. What runs goes on; stop it with: make down")
    return EXIT_OK if is_as_wished else EXIT_FAILURE


def start(settings: Settings) -> list[Service]:
    """Start what does not run yet, and wait until all is healthy or the time is over."""
    from shoplake.registry.page import FIRST_PORT, has_page, make_environment, page_command

    make_environment(say)
    deadline = time.monotonic() + settings.stack.start_timeout
    if settings.kafka.bootstrap_servers == EMBEDDED:
        run_broker("start")
    start_airflow(settings)
    start_page(settings, "dashboard", settings.dashboard.port, lambda port: [
        str(BINARIES / "streamlit"), "run", "dashboard/app.py", "--server.port", str(port)])
    if has_page(settings):
        start_page(settings, "mlflow", FIRST_PORT, partial(page_command, settings))
    say("waiting until all is healthy; the stream's first start takes the longest")
    while not all(service.healthy for service in inspect(settings)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return inspect(settings)


def stop(settings: Settings) -> list[Service]:
    """End all that `up` started, the stream and running tasks too; give no service."""
    files = [state_path(settings, name) for name in (*AIRFLOW_PARTS, "dashboard", "mlflow")]
    states = [state for state in map(processes.read_state, files) if state]
    # Again, because a task may just have been started.
    while members := processes.find_members(states, MARK, str(settings.data_path)):
        say(f"ending {len(members)} processes")
        processes.end_processes(members, settings.stack.stop_timeout)
    for file in files:
        file.unlink(missing_ok=True)
    if settings.kafka.bootstrap_servers == EMBEDDED:
        run_broker("stop")
    return []


def start_airflow(settings: Settings) -> None:
    """Start the parts of Airflow that do not run, the first time with their database and pools."""
    from shoplake.airflow_environment import airflow_environment

    running = {part: processes.find_running(state_path(settings, part)) for part in AIRFLOW_PARTS}
    # A part that runs knows the api-server's port, so one that died comes back on it.
    known = next((state.port for state in running.values() if state), None)
    port = known or processes.find_free_port(settings.airflow.port, "airflow.port")
    environment = airflow_environment(child_environment(), settings, BINARIES, port)
    airflow = str(BINARIES / "airflow")
    if not any(running.values()):
        say(f"Airflow on {processes.HOST}:{port}")
        for words in (["db", "migrate"], ["pools", "import", str(PROJECT_ROOT / "airflow" / "pools.json")]):
            done = subprocess.run([airflow, *words], env=environment, capture_output=True, text=True, check=False)
            if done.returncode != EXIT_OK:
                raise ShoplakeError(f"airflow {' '.join(words)} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
    for part, flags in AIRFLOW_PARTS.items():
        if running[part] is None:
            launch(settings, part, port, [airflow, part, *flags], environment)


def start_page(settings: Settings, name: str, wanted: int, command: Callable[[int], list[str]]) -> None:
    """Start a server of pages, if it does not run."""
    if processes.find_running(state_path(settings, name)):
        return
    port = processes.find_free_port(wanted, f"the port of {name}")
    say(f"{name} on {processes.HOST}:{port}")
    launch(settings, name, port, command(port), child_environment())


def launch(settings: Settings, name: str, port: int, command: list[str], environment: Mapping[str, str]) -> None:
    """Start a server in the project's root, and write down that it runs."""
    state = processes.start_server(command, port, PROJECT_ROOT, {**environment, MARK: str(settings.data_path)},
                                   stack_path(settings) / f"{name}.log")
    processes.write_state(state_path(settings, name), state)


def inspect(settings: Settings) -> list[Service]:
    """Ask every service how it is."""
    from shoplake.registry.page import has_page

    pages = [inspect_page(settings, "dashboard", "_stcore/health")]
    pages += [inspect_page(settings, "mlflow", "health")] if has_page(settings) else []
    return [inspect_broker(settings), inspect_airflow(settings), inspect_stream(settings), *pages]


def inspect_broker(settings: Settings) -> Service:
    """Look for the embedded broker's process; ask an outside one."""
    if settings.kafka.bootstrap_servers == EMBEDDED:
        state = processes.find_running(settings.broker_state_path)
        return Service("broker", state is not None, state.address if state else "", "" if state else "stopped")
    status = run_broker("status")
    return Service("broker", status["running"], status["address"], status["status"])


def inspect_airflow(settings: Settings) -> Service:
    """Ask Airflow for the health of its parts, and tell where the login is."""
    from shoplake.airflow_environment import login_file

    state = processes.find_running(state_path(settings, "api-server"))
    if state is None:
        return Service("airflow", False, "", "stopped")
    answer = processes.fetch_page(f"http://{state.address}/api/v2/monitor/health")
    parts = json.loads(answer) if answer else {}
    sick = [part for part in ("metadatabase", "scheduler", "dag_processor", "triggerer")
            if parts.get(part, {}).get("status") != "healthy"]
    login = f"user {settings.airflow.user}, password in {login_file(settings)}"
    return Service("airflow", not sick, f"http://{state.address}",
                   f"not healthy: {', '.join(sick)}" if answer and sick else login if answer else "does not answer yet")


def inspect_stream(settings: Settings) -> Service:
    """Look for the driver that holds the stream's checkpoint and has started its query."""
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import STREAM, find_holder

    holder = find_holder(locate_lake(settings), STREAM, must_be_ready=True)
    state = processes.find_running(state_path(settings, "api-server"))
    page = f"http://{state.address}/dags/spark_streaming" if state else ""
    note = holder or "no query runs; Airflow's DAG spark_streaming starts it, unless it is paused"
    return Service("stream", holder is not None, page, note)


def inspect_page(settings: Settings, name: str, path: str) -> Service:
    """Ask a server of pages."""
    state = processes.find_running(state_path(settings, name))
    if state is None:
        return Service(name, False, "", "stopped")
    healthy = (processes.fetch_page(f"http://{state.address}/{path}") or "").lower() == "ok"
    return Service(name, healthy, f"http://{state.address}", "" if healthy else "does not answer yet")


def run_broker(action: str) -> dict[str, Any]:
    """Start, stop or ask the broker.

    Raises:
        ShoplakeError: it failed; what it said is in the message.
    """
    done = subprocess.run([sys.executable, "kafka/broker.py", action, "--json"], cwd=PROJECT_ROOT,
                          env=child_environment(), capture_output=True, text=True, check=False)
    if not done.stdout.strip():  # status exits 1 when nothing runs, and that is an answer
        raise ShoplakeError(f"python kafka/broker.py {action} ended with {done.returncode}: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def render_table(services: list[Service], settings: Settings) -> str:
    """Write the services as a table for a person."""
    if not services:
        return f"the platform is down; its data stay in {settings.data_path}"
    width = max(len(service.address) for service in services)
    return "\n".join(f"{service.name:9}  {'healthy' if service.healthy else 'NOT healthy':11}  "
                     f"{service.address:{width}}  {service.note}" for service in services)


def child_environment() -> dict[str, str]:
    """Give our environment, with the profile that a flag may have chosen, and MLflow without workers for jobs."""
    return {**os.environ, PROFILE_VARIABLE: "local", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def stack_path(settings: Settings) -> Path:
    """Give the folder of the servers' states and logs."""
    return settings.data_path / "stack"


def state_path(settings: Settings, name: str) -> Path:
    """Give the file that names the server's process."""
    return stack_path(settings) / f"{name}.json"


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(f"stack: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
