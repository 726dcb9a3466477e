"""How spark/batch_processing.py builds the gold tables side by side: the order of things, without Spark."""

import logging
import runpy
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shoplake.batch import build
from shoplake.batch.build import GOLD_BUILDS, GoldBuild
from shoplake.errors import LockError
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT, load_settings

BUILD: Callable[..., dict[str, list[str]]] = runpy.run_path(
    str(PROJECT_ROOT / "spark" / "batch_processing.py"))["build"]


def test_a_table_that_fails_keeps_no_other_from_being_built_and_each_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    built, broken = [], {GOLD_BUILDS[0].table.name, GOLD_BUILDS[1].table.name}

    def build_table(_spark: Any, _lake: Lake, gold: GoldBuild, *_: Any) -> set[date]:
        if gold.table.name in broken:
            raise LockError(f"no {gold.table.name}")
        built.append(gold.table.name)
        return {date(2026, 3, 2), date(2026, 3, 1)}

    monkeypatch.setattr("shoplake.lake.delta.create_tables", lambda *_: None)
    monkeypatch.setattr(build, "build_gold_table", build_table)
    names = [gold.table.name for gold in GOLD_BUILDS]
    with caplog.at_level(logging.ERROR), pytest.raises(LockError, match=f"no {names[0]}"):
        BUILD(None, Lake(str(tmp_path)), load_settings(), None)
    assert sorted(built) == sorted(names[2:])
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} was not built: LockError: no {name}" for name in names[:2]]
    broken.clear()
    assert BUILD(None, Lake(str(tmp_path)), load_settings(), None) == {
        name: ["2026-03-01", "2026-03-02"] for name in names}
