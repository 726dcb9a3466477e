"""The locks of a lake on gs://: leases that run out, and what their holders may do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shoplake.errors import LockError, StorageError
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.buckets import (
    find_object,
    read_object,
    write_object,
)
from shoplake.lake.leases import Lease
from shoplake.lake.locks import find_holder, hold_lock
from shoplake.settings import load_settings

HOLD = """
import sys
from shoplake.lake.addresses import locate_lake
from shoplake.lake.locks import hold_lock
from shoplake.settings import load_settings
with hold_lock(locate_lake(load_settings()), "ingest", timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lake(bucket: str) -> Lake:
    return locate_lake(load_settings())


def test_a_second_holder_is_refused_with_the_first_ones_name(lake: Lake) -> None:
    with hold_lock(lake, "ingest", timeout=0) as lock:
        lock.check()
        with pytest.raises(LockError, match=rf"held by process {os.getpid()} on .*dead, .* {lake.lease:g} s"):
            hold_lock(lake, "ingest", timeout=0.2).__enter__()
        with hold_lock(lake, "gold.daily_sales", timeout=0):
            pass
        assert find_holder(lake, "ingest", must_be_ready=True) is None
        lock.announce_ready()
        assert f"process {os.getpid()} on" in (find_holder(lake, "ingest", must_be_ready=True) or "")
    assert find_holder(lake, "ingest") is None
    assert find_object(lake, lake.lease_object("ingest")) is None


def test_one_at_a_time_holds_it(lake: Lake) -> None:
    inside, most, done = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        with hold_lock(lake, "ingest", timeout=30):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, sorted(done)) == (1, [0, 1, 2, 3])


def test_a_lease_is_renewed_for_as_long_as_it_is_held(lake: Lake) -> None:
    short = replace(lake, lease=1)
    with hold_lock(short, "ingest", timeout=0) as lock:
        time.sleep(2.2)
        lock.check()
        with pytest.raises(LockError):
            hold_lock(short, "ingest", timeout=0).__enter__()


def test_a_killed_holders_lease_runs_out(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LEASE", "2")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(LockError, match=f"process {process.pid} "):
        hold_lock(lake, "ingest", timeout=0).__enter__()
    with hold_lock(lake, "ingest", timeout=10):
        assert f"process {os.getpid()} " in (find_holder(lake, "ingest") or "")


def test_who_lost_a_lease_writes_no_more_and_takes_no_others_away(
    lake: Lake, monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = replace(lake, lease=1)
    held = hold_lock(short, "ingest", timeout=0)
    lock = held.__enter__()
    # As if this process had stood still: nothing is renewed.
    monkeypatch.setattr(lock, "_renew", lambda: None)
    time.sleep(1.5)
    with hold_lock(replace(lake, lease=60), "ingest", timeout=5) as successor:
        with pytest.raises(LockError, match="was lost"):
            lock.check()
        held.__exit__(None, None, None)
        successor.check()
        assert find_holder(lake, "ingest") is not None, "the one who lost it deleted the other's"


def test_a_lease_that_cannot_be_renewed_fails_before_it_runs_out(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("no answer")

    with hold_lock(replace(lake, lease=3), "ingest", timeout=0) as lock:
        monkeypatch.setattr("shoplake.lake.leases.Lease._renew", refuse)
        time.sleep(2.2)
        assert find_holder(lake, "ingest") is not None, "nobody else could have it yet"
        with pytest.raises(LockError, match="was lost"):
            lock.check()


def test_a_renewal_whose_answer_was_lost_counts_for_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lease(replace(lake, lease=60), "ingest")  # its own thread renews it after 15 s, when this test is over
    assert lock.acquire(0) is None

    def lose_answer(*arguments: Any) -> None:
        write_object(*arguments)
        raise StorageError("no answer")

    def refuse_after_writing(*arguments: Any) -> None:
        write_object(*arguments)

    renewed = lock._renewed
    with monkeypatch.context() as patched:
        patched.setattr("shoplake.lake.leases.write_object", lose_answer)
        with pytest.raises(StorageError):
            lock._renew()
        patched.setattr("shoplake.lake.leases.write_object", refuse_after_writing)
        lock._renew()
    assert lock._renewed == renewed, "no write is known to be as young as that"
    started = datetime.now(UTC)
    lock._renew()
    found = find_object(lake, lake.lease_object("ingest"))
    assert found is not None
    assert found.updated_at >= started, "the write of a lost answer was taken for the renewal"
    assert lock._renewed > renewed
    lock.check()
    lock.release()
    assert find_object(lake, lake.lease_object("ingest")) is None


def test_the_lock_says_who_holds_it_until_when(lake: Lake) -> None:
    with hold_lock(lake, "ingest", timeout=0):
        found = read_object(lake, lake.lease_object("ingest"))
        assert found is not None
        content = json.loads(found[0])
    assert (content["pid"], content["lease"]) == (os.getpid(), lake.lease)
    assert content["host"]
    assert datetime.fromisoformat(content["expires_at"]) > datetime.now(UTC)
