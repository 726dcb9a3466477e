"""Locks across processes: on a local disk Delta does not arbitrate between writers."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from shoplake.errors import ConfigError, LockError
from shoplake.lake.addresses import Lake

INGEST = "ingest"  # bronze, silver, windows and ledger together
STREAM = "checkpoint-events"  # held for the life of the stream's driver


@contextmanager
def hold_lock(lake: Lake, name: str, timeout: float) -> Iterator[None]:
    """Hold the lake's lock `name` for the block; the operating system frees it when the process dies.

    Args:
        timeout: seconds to wait; 0 refuses at once.

    Raises:
        ConfigError: the lock's folder cannot be made.
        LockError: still held after `timeout`; the message names the holder.
    """
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
        waited = f"; waited {timeout:g} s (lake.lock_timeout)" if timeout else ""
        raise LockError(
            f"the lock {name!r} of {lake.root} is held by {_holder(path)}{waited}. Wait for it to end, or stop it."
        ) from error
    try:
        _holder_path(path).write_text(json.dumps({
            "pid": os.getpid(), "process_created": psutil.Process().create_time(), "command": " ".join(sys.argv)[:200],
            "since": datetime.now(UTC).isoformat(timespec="seconds"), "is_ready": False,
        }))
        yield
    finally:
        _holder_path(path).unlink(missing_ok=True)
        lock.release()


def announce_ready(lake: Lake, name: str) -> None:
    """Write beside the lock, which we hold, that what it is held for has begun."""
    path = _holder_path(lake.lock(name))
    path.write_text(json.dumps({**json.loads(path.read_text()), "is_ready": True}))


def find_holder(lake: Lake, name: str, must_be_ready: bool = False) -> str | None:
    """Name the living process that took the lake's lock `name` last; None when it ended.

    The lock itself is not tried, or a writer that comes at that moment would be refused.

    Args:
        must_be_ready: give None too for one that has not announced itself ready.
    """
    try:
        holder = json.loads(_holder_path(lake.lock(name)).read_text())
        is_alive = abs(psutil.Process(holder["pid"]).create_time() - holder["process_created"]) < 1
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    is_wanted = is_alive and (holder["is_ready"] or not must_be_ready)
    return _describe(holder) if is_wanted else None


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
