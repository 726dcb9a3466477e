"""Locks of a lake in a bucket: an object that only one writer can make, and that runs out unless it is renewed.

The holder renews it from a thread, each time in the place of the very generation that it wrote before. One that was not
renewed for `lake.lease` seconds may be taken over, in the same way. Ages go by Cloud Storage's own time of the last
write against the clock of the one who wants the lock; the holder counts by a clock that no one can set, and gives up
after two thirds of the lease, so that clocks may differ by the last third.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shoplake.errors import LockError, ShoplakeError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import NEW, StoredObject, delete_object, read_object, write_object
from shoplake.processes import own_command

LOG = logging.getLogger("shoplake.leases")
_POLL_SECONDS = 0.5


class Lease:
    """One lock object, while we hold it."""

    def __init__(self, lake: Lake, name: str) -> None:
        """Prepare it; nothing is held yet."""
        # A write that hangs must not outlive the lease that it is to renew.
        self._lake, self._name = replace(lake, timeout=min(lake.timeout, lake.lease / 4)), name
        self._address = lake.lease_object(name)
        self._token = uuid.uuid4().hex
        self._since = datetime.now(UTC)
        self._is_ready = False
        self._generation = NEW
        self._renewed = 0.0
        self._is_lost = False
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._keep_alive, name=f"lease-{name}", daemon=True)

    def acquire(self, timeout: float) -> str | None:
        """Take the lock within `timeout` seconds; give None, or else who holds it."""
        deadline = time.monotonic() + timeout
        while True:
            holder = self._try()
            if holder is None:
                self._thread.start()
                return None
            if time.monotonic() >= deadline:
                return holder
            time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    def check(self) -> None:
        """Refuse to go on where the lock may be another's by now.

        Raises:
            LockError: the lease was taken over, or could not be renewed in time.
        """
        age = time.monotonic() - self._renewed
        if self._is_lost or age > self._lake.lease * 2 / 3:
            raise LockError(
                f"the lock {self._name!r} of {self._lake.root} was lost after {age:.0f} s without renewal (lake.lease "
                f"is {self._lake.lease:g} s): nothing more is written. Run the command again; it goes on from there")

    def announce_ready(self) -> None:
        """Write into the lock that what it is held for has begun."""
        self._is_ready = True
        self._renew()

    def release(self) -> None:
        """Stop renewing, and delete the object if it is still ours."""
        self._stop.set()
        self._thread.join()
        try:
            if not self._is_lost:
                delete_object(self._lake, self._address, self._generation)
        except ShoplakeError as error:
            LOG.warning("the lock %r was not given back and runs out in %g s: %s", self._name, self._lake.lease, error)

    def _try(self) -> str | None:
        started = time.monotonic()
        found = read_lease(self._lake, self._name)
        if found and not found.has_run_out:
            return found.holder
        written = self._write(found.stored.generation if found else NEW)
        if written is None:
            found = read_lease(self._lake, self._name)
            if found is None:
                return "another process that has just let go"
            if found.token != self._token:
                return found.holder
            written = found.stored  # the answer to our own write had been lost, and it was tried again
        self._generation, self._renewed = written.generation, started
        return None

    def _write(self, replaces: int) -> StoredObject | None:
        now = datetime.now(UTC)
        content = json.dumps({
            "token": self._token, "host": socket.gethostname(), "pid": os.getpid(), "command": own_command(),
            "since": self._since.isoformat(timespec="seconds"), "lease": self._lake.lease,
            "expires_at": (now + timedelta(seconds=self._lake.lease)).isoformat(timespec="seconds"),
            "is_ready": self._is_ready,
        })
        return write_object(self._lake, self._address, content.encode(), replaces)

    def _renew(self) -> None:
        with self._writing:
            for _ in range(2):
                started = time.monotonic()
                written = self._write(self._generation)
                if written is not None:
                    self._generation, self._renewed = written.generation, started
                    return
                found = read_lease(self._lake, self._name)
                if found is None or found.token != self._token:
                    self._is_lost = True
                    return
                # Our own write, whose answer was lost, nobody knows how long ago: it counts for nothing, and we write
                # over it.
                self._generation = found.stored.generation

    def _keep_alive(self) -> None:
        while not self._is_lost and not self._stop.wait(self._lake.lease / 4):
            try:
                self._renew()
            except ShoplakeError:  # the store does not answer: `check` says so when it is too late
                continue


class FoundLease:
    """A lock object as it was read."""

    def __init__(self, stored: StoredObject, content: dict[str, Any]) -> None:
        """Keep it."""
        self.stored = stored
        self._content = content

    @property
    def token(self) -> str:
        """The holder's own mark."""
        return str(self._content.get("token", ""))

    @property
    def is_ready(self) -> bool:
        """Whether what the lock is held for has begun."""
        return bool(self._content.get("is_ready"))

    @property
    def has_run_out(self) -> bool:
        """Whether it was not renewed for the time that its holder promised."""
        age = (datetime.now(UTC) - self.stored.updated_at).total_seconds()
        return age > float(self._content.get("lease", 0))

    @property
    def holder(self) -> str:
        """The holder, for a person to read."""
        content = self._content
        return (f"process {content.get('pid')} on {content.get('host')} ({content.get('command')}) "
                f"since {content.get('since')}")


def read_lease(lake: Lake, name: str) -> FoundLease | None:
    """Read a lock's object; None where nobody has it."""
    found = read_object(lake, lake.lease_object(name))
    if found is None:
        return None
    try:
        content = json.loads(found[0])
    except ValueError:
        content = {}
    return FoundLease(found[1], content if isinstance(content, dict) else {})
