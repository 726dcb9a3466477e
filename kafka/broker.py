"""Start, stop or look at the embedded broker: a real Apache Kafka in one JVM process, on loopback only.

It is for the laptop and for tests (kafka.bootstrap_servers: embedded). Data is kept between starts under
data/kafka; the port may move, and clients read it from the state file there. `status` exits 1 when nothing runs.
`topics` makes the topics of kafka/topics.yaml that the settings' broker lacks, be it this one or another.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from shoplake import embedded_broker, outcome, processes, topics
from shoplake.errors import EXIT_FAILURE, EXIT_OK, ConfigError, LockError, SourceError
from shoplake.logs import configure_logging
from shoplake.processes import ServerState
from shoplake.settings import EMBEDDED, PROFILES, PROJECT_ROOT, Settings, load_settings
from shoplake.yaml_files import read_yaml

_STOP_TIMEOUT = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run the action; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("start", "stop", "status", "topics"))
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return outcome.run_to_exit_code(lambda: _run_action(flags.action, flags.profile, flags.json))


def _run_action(action: str, profile: str | None, as_json: bool) -> int:
    settings = load_settings(profile)
    configure_logging(settings.log_level)
    if action == "topics":
        return _make_topics(settings, as_json)
    if settings.kafka.bootstrap_servers != EMBEDDED:
        return _show_external(action, settings, as_json)
    state: ServerState | None
    if action == "start":
        word, state = _start(settings)
    elif action == "stop":
        _stop(settings)
        word, state = "stopped", None
    else:
        state = processes.find_running(settings.broker_state_path)
        word = "running" if state else "stopped"
    result = {
        "status": word, "running": state is not None, "address": state and state.address, "pid": state and state.pid,
        "started_at": state and state.started_at, "data": str(settings.broker_path),
    }
    where = f": {state.address}, process {state.pid}, since {state.started_at}" if state else ""
    outcome.print_result(result, f"broker {word}{where}; data in {settings.broker_path}", as_json)
    return EXIT_FAILURE if action == "status" and state is None else EXIT_OK


def _show_external(action: str, settings: Settings, as_json: bool) -> int:
    address = settings.kafka.bootstrap_servers
    if action != "status":
        raise ConfigError(
            f"kafka.bootstrap_servers of the profile {settings.profile} is {address}, an external broker, which this "
            f"command does not {action}; set it to {EMBEDDED!r} for the embedded one"
        )
    running = _list_topics(settings, timeout=10) is not None
    status = "running" if running else "unreachable"
    result = {"status": status, "running": running, "address": address}
    outcome.print_result(result, f"external broker {address}: {status}", as_json)
    return EXIT_OK if running else EXIT_FAILURE


def _make_topics(settings: Settings, as_json: bool) -> int:
    address = settings.bootstrap_servers
    if _list_topics(settings, timeout=10) is None:
        raise SourceError(f"no broker answers on {address}, which kafka.bootstrap_servers names; is it started?")
    created = _create_topics(settings)
    text = f"topics created on {address}: {', '.join(created) or 'none was missing'}"
    outcome.print_result({"address": address, "created": created}, text, as_json)
    return EXIT_OK


@contextmanager
def _hold_lock(settings: Settings) -> Iterator[None]:
    """Let one start or stop work at a time: a second start waits for the first and finds its broker."""
    from filelock import FileLock, Timeout

    try:
        settings.broker_path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the broker's folder {settings.broker_path} cannot be made: {error.strerror}; set another data_dir"
        ) from error
    patience = settings.kafka.start_timeout + _STOP_TIMEOUT
    try:
        held = FileLock(settings.broker_path / "broker.lock").acquire(timeout=patience)
    except Timeout as error:
        raise LockError(
            f"another start or stop of the broker in {settings.broker_path} does not end; wait for it and try again"
        ) from error
    with held:
        yield


def _start(settings: Settings) -> tuple[str, ServerState]:
    with _hold_lock(settings):
        running = processes.find_running(settings.broker_state_path)
        if running:
            return "already running", running
        _clear_leftovers(settings)
        return "started", _launch(settings)


def _stop(settings: Settings) -> None:
    with _hold_lock(settings):
        running = processes.find_running(settings.broker_state_path)
        # First the file: who reads it from now on is told that no broker runs.
        settings.broker_state_path.unlink(missing_ok=True)
        if running:
            processes.end_server(running, _STOP_TIMEOUT)
        _clear_leftovers(settings)


def _launching_path(settings: Settings) -> Path:
    return settings.broker_path / "launching.json"


def _clear_leftovers(settings: Settings) -> None:
    """End a broker whose `start` was killed before it could, and remove what dead ones wrote."""
    settings.broker_state_path.unlink(missing_ok=True)
    left = processes.read_state(_launching_path(settings))
    if left:
        processes.end_server(left, _STOP_TIMEOUT)
    _launching_path(settings).unlink(missing_ok=True)


def _launch(settings: Settings) -> ServerState:
    from shoplake.installation import locate_installation
    from shoplake.java import find_java

    places = locate_installation(Path(sys.prefix))
    if not any(places.kafka_jars.glob("kafka_*.jar")):
        raise ConfigError(f"the embedded broker's jars are not in {places.kafka_jars}; run make setup")
    search = find_java(os.environ, places.bundled_java)
    for line in search.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    port = processes.find_free_port(settings.kafka.port, "kafka.port")
    while (state := _launch_once(settings, search.java.command, places.kafka_jars, port)) is None:
        port = processes.find_free_port(port + 1, "kafka.port")
    if port != settings.kafka.port:
        print(f"port {settings.kafka.port} is taken; the broker listens on {port}", file=sys.stderr)
    return state


def _launch_once(settings: Settings, java: Path, jars: Path, port: int) -> ServerState | None:
    """Run the broker until it answers; None when another process took the port in the meantime."""
    folder = settings.broker_path
    log = folder / "broker.log"
    controller_port = processes.find_free_port(port + 1, "kafka.port")
    properties = folder / "server.properties"
    properties.write_text(embedded_broker.render_properties(port, controller_port, folder / "log"))
    log_start = log.stat().st_size if log.exists() else 0
    if not (folder / "log" / "meta.properties").exists():
        embedded_broker.format_storage(java, jars, properties)
    command, is_up = embedded_broker.broker_command(java, jars, properties), False
    with processes.deferred_interrupts() as allow_interrupts:
        with log.open("ab") as output:
            process = subprocess.Popen(command, cwd=folder, start_new_session=True, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output)
        try:
            allow_interrupts()  # not before: who knows no process can end none
            state = processes.describe_server(process.pid, port)
            processes.write_state(_launching_path(settings), state)
            problem = _wait_until_it_answers(process, state, settings)
            tail = processes.read_tail(log, log_start)
            if problem and "Address already in use" in tail:
                return None
            if problem:
                raise SourceError(f"the broker {problem}. The end of its log {log}:\n{tail}")
            _create_topics(settings, state.address)
            processes.write_state(settings.broker_state_path, state)
            is_up = True
            return state
        finally:  # whatever ends a start early, Ctrl-C too, leaves no broker behind
            if not is_up:
                process.kill()
                process.wait()
            _launching_path(settings).unlink(missing_ok=True)


def _wait_until_it_answers(
    process: "subprocess.Popen[bytes]", state: ServerState, settings: Settings,
) -> str | None:
    """Give None when the broker answers, else what went wrong."""
    timeout = settings.kafka.start_timeout
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f"ended at once with exit code {process.returncode}"
        is_up = processes.is_listening(state.port) and _list_topics(settings, 2, state.address) is not None
        if is_up and time.monotonic() < deadline:
            return None
        time.sleep(0.1)
    return f"did not answer on {state.address} within kafka.start_timeout ({timeout:g} s)"


def _list_topics(settings: Settings, timeout: float, address: str = "") -> list[str] | None:
    """Ask the broker for its topics; None when it does not answer."""
    import logging

    import kafka

    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # not answering yet is no news
    try:
        with closing(topics.connect(
                kafka, kafka.KafkaAdminClient, settings, timeout=timeout, address=address)) as client:
            return list(client.list_topics())
    except (SourceError, kafka.errors.KafkaError):
        return None


def _create_topics(settings: Settings, address: str = "") -> list[str]:
    """Create the topics that the broker lacks, with its own number of copies; give their names once it serves all."""
    import kafka
    from kafka.admin import NewTopic
    from kafka.errors import TopicAlreadyExistsError

    timeout = settings.kafka.start_timeout
    with closing(
            topics.connect(kafka, kafka.KafkaAdminClient, settings, timeout=2 * timeout, address=address)) as client:
        wanted = read_yaml(PROJECT_ROOT / "kafka" / "topics.yaml")
        missing = [NewTopic(name, wanted[name]["partitions"], -1, topic_configs=wanted[name]["config"])
                   for name in sorted(wanted.keys() - set(client.list_topics()))]
        for topic in missing:
            with suppress(TopicAlreadyExistsError):  # the client's own second try, when the first answer was late
                client.create_topics([topic], timeout_ms=timeout * 1000, wait_for_metadata=True)
        deadline = time.monotonic() + timeout
        while not topics.have_leaders(client, wanted) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [topic.name for topic in missing]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
