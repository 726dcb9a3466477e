"""Who holds a lock of the lake."""

import subprocess
import sys
from pathlib import Path

import pytest

from shoplake.errors import LockError
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import find_holder, hold_lock

HOLD = """
import sys
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import hold_lock
with hold_lock(Lake(sys.argv[1]), "checkpoint-events", timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_holder_is_named_while_it_lives(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert find_holder(lake, "checkpoint-events") is None
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        holder = find_holder(lake, "checkpoint-events")
        assert holder is not None
        assert f"process {process.pid} " in holder
        assert find_holder(lake, "ingest") is None
        with (pytest.raises(LockError, match=f"process {process.pid} "),
              hold_lock(lake, "checkpoint-events", timeout=0)):
            pass
        process.kill()
    assert find_holder(lake, "checkpoint-events") is None, "it was killed and left its name"
    with hold_lock(lake, "checkpoint-events", timeout=0):
        assert find_holder(lake, "checkpoint-events") is not None
    assert find_holder(lake, "checkpoint-events") is None, "it let go, and lives"


def test_a_holder_is_ready_when_it_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with hold_lock(lake, "checkpoint-events", timeout=0) as lock:
        assert find_holder(lake, "checkpoint-events", must_be_ready=True) is None
        lock.announce_ready()
        assert find_holder(lake, "checkpoint-events", must_be_ready=True) is not None
