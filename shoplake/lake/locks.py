"""Locks across processes: on a local disk Delta does not arbitrate between writers, and nowhere across tables.

On a local disk the operating system holds a lock, and frees it when the process dies. In a bucket it is a lease
(`shoplake.lake.leases`), which runs out: whoever writes under it asks `check` before each commit.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil
from filelock import FileLock, Timeout

from shoplake.errors import ConfigError, LockError
from shoplake.lake.addresses import Lake
from shoplake.processes import own_command

INGEST = "ingest"  # bronze, silver, windows and ledger together
LANDING = "landing"  # held while files that have arrived are taken in
STREAM = "checkpoint-events"  # held for the life of the stream's driver


class HeldLock(Protocol):
    """A lock that we hold."""

    def check(self) -> None:
        """Refuse to go on where it may be another's by now: call it before each commit.

        Raises:
            LockError: it was lost.
        """

    def announce_ready(self) -> None:
        """Write beside the lock that what it is held for has begun."""


@contextmanager
def hold_lock(lake: Lake, name: str, timeout: float) -> Iterator[HeldLock]:
    """Hold the lake's lock `name` for the block.

    Args:
        timeout: seconds to wait; 0 refuses at once.

    Raises:
        ConfigError: the lock's folder cannot be made, or the bucket not be used.
        LockError: still held after `timeout`; the message names the holder.
    """
    if lake.is_local:
        with _hold_file(lake, name, timeout) as held:
            yield held
        return
    from shoplake.lake.leases import Lease

    lease = Lease(lake, name)
    if holder := lease.acquire(timeout):
        raise _refused(lake, name, holder, timeout)
    try:
        yield lease
    finally:
        lease.release()


class _HeldFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Do nothing: the operating system takes no lock away."""

    def announce_ready(self) -> None:
        _write_holder(self._path, {**json.loads(_holder_path(self._path).read_text()), "is_ready": True})


@contextmanager
def _hold_file(lake: Lake, name: str, timeout: float) -> Iterator[HeldLock]:
    path = lake.lock(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {path.parent} of the lake: {error.strerror}. Set lake.root (SHOPLAKE_LAKE__ROOT) "
            "or data_dir (SHOPLAKE_DATA_DIR) to a folder that you can write"
        ) from error
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise _refused(lake, name, _holder(path), timeout) from error
    try:
        _write_holder(path, {
            "pid": os.getpid(), "process_created": psutil.Process().create_time(), "command": own_command(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"), "is_ready": False,
        })
        yield _HeldFile(path)
    finally:
        _holder_path(path).unlink(missing_ok=True)
        lock.release()


def find_holder(lake: Lake, name: str, must_be_ready: bool = False) -> str | None:
    """Name the living process that took the lake's lock `name` last; None when it ended, or its lease ran out.

    The lock itself is not tried, or a writer that comes at that moment would be refused.

    Args:
        must_be_ready: give None too for one that has not announced itself ready.
    """
    if not lake.is_local:
        from shoplake.lake.leases import read_lease

        found = read_lease(lake, name)
        is_held = found and not found.has_run_out and (found.is_ready or not must_be_ready)
        return found.holder if found and is_held else None
    try:
        holder = json.loads(_holder_path(lake.lock(name)).read_text())
        is_alive = abs(psutil.Process(holder["pid"]).create_time() - holder["process_created"]) < 1
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    is_wanted = is_alive and (holder["is_ready"] or not must_be_ready)
    return _describe(holder) if is_wanted else None


def _refused(lake: Lake, name: str, holder: str, timeout: float) -> LockError:
    waited = f"; waited {timeout:g} s (lake.lock_timeout)" if timeout else ""
    dead = "" if lake.is_local else f" If it is dead, the lock runs out within {lake.lease:g} s (lake.lease)."
    return LockError(
        f"the lock {name!r} of {lake.root} is held by {holder}{waited}. Wait for it to end, or stop it.{dead}")


def _write_holder(path: Path, holder: dict[str, Any]) -> None:
    # Never through a link that somebody left in its place, and never half.
    unfinished = _holder_path(path).with_suffix(f".{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("x") as file:
        json.dump(holder, file)
    os.replace(unfinished, _holder_path(path))


def _holder_path(path: Path) -> Path:
    return path.with_suffix(".holder.json")


def _holder(path: Path) -> str:
    try:
        holder = json.loads(_holder_path(path).read_text())
        return _describe(holder)
    except (OSError, ValueError, KeyError):
        return "another process that left no name yet"


def _describe(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} ({holder['command']}) since {holder['since']}"
