"""A second writer waits for the first, and is refused when that does not end: by name."""

import subprocess
import sys
from typing import Any

import pytest

from shoplake.contract.tables import DAILY_SALES
from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import count_rows
from shoplake.lake.locks import INGEST

HOLD = """
import sys, time
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import hold_lock
with hold_lock(Lake(sys.argv[1]), sys.argv[2], timeout=0):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def hold(lake: Lake, name: str, seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, lake.root, name, str(seconds)], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.faults  # a minute or more
def test_a_second_writer_waits_then_is_refused_by_name(
    shells: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "2")
    shells.ok("kafka/producer.py", "--events", "200", "--from", "2026-06-01", "--to", "2026-06-01", "--seed", "1")
    holder = hold(shells.lake, INGEST, 600)
    try:
        assert shells.run("spark/streaming_pipeline.py", "--drain") == 1
        error = capsys.readouterr().err
        assert f"the lock 'ingest' of {shells.lake.root} is held by process {holder.pid} " in error
        assert "waited 2 s" in error
        assert count_rows(shells.lake)["offsets"] == 0
    finally:
        holder.kill()
        holder.wait()
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "60")
    with hold(shells.lake, INGEST, 3):
        shells.ok("spark/streaming_pipeline.py", "--drain")  # it waits
    assert count_rows(shells.lake)["offsets"] == 200

    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "2")
    holder = hold(shells.lake, DAILY_SALES.name, 600)
    try:
        assert shells.run("spark/batch_processing.py") == 1
        assert f"held by process {holder.pid} " in capsys.readouterr().err
    finally:
        holder.kill()
        holder.wait()
    shells.ok("spark/batch_processing.py")
    assert shells.rows(DAILY_SALES)
