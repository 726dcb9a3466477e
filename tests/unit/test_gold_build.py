"""How the batch job builds the gold tables side by side: the order of things, without Spark."""

import logging
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shoplake.batch import job
from shoplake.batch.build import GOLD_BUILDS, GoldBuild
from shoplake.batch.job import build_tables, choose_tables
from shoplake.contract.tables import PRODUCTS_DIM, SESSIONS
from shoplake.errors import ConfigError, LockError
from shoplake.lake.addresses import Lake
from shoplake.settings import load_settings


def test_a_table_that_fails_keeps_no_other_from_being_built_and_each_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    built, broken = [], {GOLD_BUILDS[0].table.name, GOLD_BUILDS[1].table.name}

    def build_table(_spark: Any, _lake: Lake, gold: GoldBuild, *_: Any) -> set[date]:
        if gold.table.name in broken:
            raise LockError(f"no {gold.table.name}")
        built.append(gold.table.name)
        return {date(2026, 3, 2), date(2026, 3, 1)}

    monkeypatch.setattr(job, "create_tables", lambda *_: None)
    monkeypatch.setattr(job, "build_gold_table", build_table)
    monkeypatch.setattr(job, "find_as_of", lambda _: None)
    daily = [gold.table for gold in GOLD_BUILDS]
    names = [gold.table.name for gold in GOLD_BUILDS]
    with caplog.at_level(logging.ERROR), pytest.raises(LockError, match=f"no {names[0]}"):
        build_tables(None, Lake(str(tmp_path)), load_settings(), daily)  # type: ignore[arg-type]
    assert sorted(built) == sorted(names[2:])
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} was not built: LockError: no {name}" for name in names[:2]]
    broken.clear()
    rebuilt = build_tables(None, Lake(str(tmp_path)), load_settings(), daily)  # type: ignore[arg-type]
    assert rebuilt == {name: ["2026-03-01", "2026-03-02"] for name in names}


def test_tables_are_chosen_by_name_and_all_without_one() -> None:
    assert len(choose_tables(None)) > 10
    assert choose_tables(["silver.products_dim", "gold.sessions"]) == (SESSIONS, PRODUCTS_DIM)
    with pytest.raises(ConfigError, match=r"gold\.nothing, silver\.events is not built by this job"):
        choose_tables(["silver.events", "gold.nothing"])
