"""Servers of the laptop: where one listens, whether it still runs, and how it ends with all that it started.

Used by kafka/broker.py and utils/stack.py. A server is known by a state file, which names its process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from shoplake.errors import ConfigError

HOST = "127.0.0.1"
_LAST_PORT = 65535


def own_command() -> str:
    """Name this process's program and its flags without their values, which may be somebody's data or secret."""
    flags = [argument.split("=")[0] for argument in sys.argv[1:] if argument.startswith("--")]
    return " ".join([Path(sys.argv[0]).name, *flags])[:200]


@dataclass(frozen=True)
class ServerState:
    """One server process: where it listens, and the create time (UNIX seconds) that tells it from a reused pid."""

    pid: int
    process_created: float
    port: int
    started_at: str

    @property
    def address(self) -> str:
        """Host and port, as Kafka's clients take it."""
        return f"{HOST}:{self.port}"

    def find_process(self) -> psutil.Process | None:
        """Give the server's process; None when it ended or its pid belongs to another process now."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.process_created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if is_same else None


def describe_server(pid: int, port: int) -> ServerState:
    """Describe the running process `pid` as a server."""
    return ServerState(pid, psutil.Process(pid).create_time(), port, datetime.now(UTC).isoformat(timespec="seconds"))


def start_server(command: list[str], port: int, folder: Path, environment: Mapping[str, str], log: Path) -> ServerState:
    """Start a server in a session of its own, its output going to `log`; the one before's log is kept beside it."""
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    return describe_server(process.pid, port)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C and TERM back until the function given is called; from then on both raise KeyboardInterrupt.

    For the moment between a process's start and the `try` that ends it. Only in a program's main thread.
    """
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]

    def allow() -> None:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt

    try:
        yield allow
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def read_state(file: Path) -> ServerState | None:
    """Read a state file; None when there is none, or none that can be read (it is written whole or not at all)."""
    try:
        return ServerState(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def find_running(file: Path) -> ServerState | None:
    """Read a state file; None when its server does not run."""
    state = read_state(file)
    return state if state and state.find_process() else None


def write_state(file: Path, state: ServerState) -> None:
    """Write the state file in one step: a reader sees the old one or the new one."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(state)))
    part.replace(file)


def find_process(pid: int, flag: str) -> psutil.Process:
    """Give the process `pid`, which the flag named.

    Raises:
        ConfigError: there is none.
    """
    try:
        return psutil.Process(pid)
    except (psutil.NoSuchProcess, ValueError) as error:
        raise ConfigError(f"{flag} {pid}: there is no such process; give the pid of one that runs") from error


def has_ended(process: psutil.Process) -> bool:
    """Tell whether it is gone, also where its pid belongs to another by now or nobody has looked after it yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_server(state: ServerState, timeout: float) -> None:
    """Ask the server to end, so that it writes its data down; kill it when it does not within `timeout` seconds."""
    process = state.find_process()
    if process is not None:
        end_processes([process], timeout)


def end_processes(processes: Iterable[psutil.Process], timeout: float) -> None:
    """Ask all to end at once; kill those that live after `timeout` seconds."""
    asked = list(processes)
    for process in asked:
        _signal(process, "terminate")
    _, left = psutil.wait_procs(asked, timeout)
    for process in left:
        _signal(process, "kill")
    psutil.wait_procs(left, timeout)


def _signal(process: psutil.Process, method: str) -> None:
    try:
        getattr(process, method)()
    except psutil.NoSuchProcess:
        return


def find_members(states: Iterable[ServerState], variable: str, value: str) -> list[psutil.Process]:
    """Find the servers' processes and all that they started, orphans too; never ourselves.

    A process belongs to them if it is in a session that one of them leads or led, or if `variable` is `value` in its
    first environment: one that left the session inherits that, and one that overwrote its environment with a title
    is in the session.
    """
    leaders = {state.pid for state in states if state.find_process() or not psutil.pid_exists(state.pid)}
    found = []
    for process in psutil.process_iter():
        try:
            is_member = os.getsid(process.pid) in leaders or process.environ().get(variable) == value
            is_zombie = process.status() == psutil.STATUS_ZOMBIE  # ended; whoever started it has not looked yet
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, ProcessLookupError, PermissionError):
            continue
        if is_member and not is_zombie and process.pid != os.getpid():
            found.append(process)
    return found


def find_free_port(first: int, setting: str) -> int:
    """Give the first port from `first` on that nobody listens on.

    Args:
        setting: the key that holds `first`, for the message.

    Raises:
        ConfigError: none is free.
    """
    for port in range(first, _LAST_PORT + 1):
        with socket.socket() as probe:
            # As servers do: a port of which only closed connections linger is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    variable = f"SHOPLAKE_{setting.replace('.', '__').upper()}"
    raise ConfigError(f"no port is free from {first} to {_LAST_PORT}; set a lower {setting} ({variable})")


def fetch_page(address: str) -> str | None:
    """Get a loopback page's text; None when nothing answers, or an error."""
    import httpx

    try:
        return httpx.get(address, timeout=5, trust_env=False).raise_for_status().text
    except httpx.HTTPError:
        return None


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def read_tail(log: Path, start: int = 0, lines: int = 12) -> str:
    """Give the last lines that `log` got after byte `start`."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])
