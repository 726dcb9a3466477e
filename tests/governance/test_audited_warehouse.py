"""Questions to the warehouse and what operators do, told in ops.audit; and utils/verify_audit.py."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from audit_log import read_acts, read_details, read_lines

from shoplake.contract.tables import AUDIT, DAILY_SALES
from shoplake.errors import AuditError, LockError, WarehouseError
from shoplake.governance.audit import record
from shoplake.governance.audit_lines import Act
from shoplake.lake.addresses import Lake
from shoplake.lake.locks import hold_lock
from shoplake.settings import PROJECT_ROOT, Settings, load_settings
from shoplake.warehouse import audited, open_warehouse

SQL = "SELECT COUNT(*) AS n FROM gold.daily_sales WHERE event_date = '2026-03-01' AND product_id = 'Geheim'"


@pytest.fixture
def verify_audit(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    main = runpy.run_path(str(PROJECT_ROOT / "utils" / "verify_audit.py"))["main"]

    def run(*flags: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = main([*flags, "--json"])
        seen = capsys.readouterr()
        return code, json.loads(seen.out), seen.err

    return run


def test_a_question_is_told_by_its_texts_digest_and_its_tables(lake: Lake, settings: Settings) -> None:
    with open_warehouse(settings) as warehouse:
        warehouse.query(SQL)
        warehouse.query(SQL)
        warehouse.query(f"{SQL} -- FROM gold.sessions")
        with pytest.raises(WarehouseError):
            warehouse.query("SELECT Geheim FROM bronze.events")
    lines = read_lines(lake)[1:]
    assert [(line["action"], line["outcome"]) for line in lines] == [("query", "done")] * 3 + [("query", "failed")]
    assert [json.loads(line["details"]) for line in lines] == [
        *[{"role": "admin", "tables": ["gold.daily_sales"], "rows": 1}] * 3,
        {"role": "admin", "tables": [], "error": "QueryRefusedError"}]
    digests = [line["subject"] for line in lines]
    assert (digests[0] == digests[1], len(set(digests))) == (True, 3)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in digests)
    assert not re.search("Geheim|2026-03-01", json.dumps(lines, default=str))


def test_a_publication_is_told_before_and_after(lake: Lake, settings: Settings) -> None:
    with open_warehouse(settings) as warehouse:
        warehouse.publish([DAILY_SALES])
    assert [(line["action"], line["subject"], line["outcome"]) for line in read_lines(lake)[1:]] == [
        ("publish", "gold.daily_sales", "begun"), ("publish", "gold.daily_sales", "done")]


def test_the_first_question_is_written_at_once_and_the_others_soon(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers: list[Timer] = []

    class Noted(Timer):
        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr(audited, "Timer", Noted)
    with open_warehouse(settings) as warehouse:
        warehouse.query(SQL)
        assert len(read_lines(lake)) == 2
        warehouse.query(SQL)
        warehouse.query(SQL)
        (timer,) = timers
        assert len(read_lines(lake)) == 2
        timer.function()
        assert len(read_lines(lake)) == 4
        warehouse.query(SQL)
        assert len(timers) == 2
    assert len(read_lines(lake)) == 5


def test_many_questions_wait_for_no_timer(lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "_MOST", 3)
    with open_warehouse(settings) as warehouse:
        for _ in range(5):
            warehouse.query(SQL)
        assert len(read_lines(lake)) == 5


def test_what_was_asked_last_is_written_when_the_process_ends(lake: Lake, settings: Settings) -> None:
    code = ("from shoplake.settings import load_settings\nfrom shoplake.warehouse import open_warehouse\n"
            "warehouse = open_warehouse(load_settings())\n"
            "for _ in range(3):\n    warehouse.query('SELECT 1 AS one')\n")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [line["action"] for line in read_lines(lake)] == ["configuration", "query", "query", "query"]


def test_questions_that_cannot_be_written_are_not_answered_and_are_kept(
    lake: Lake, settings: Settings, verify_audit: Callable[..., Any],
) -> None:
    for name in ("m", "n"):
        record([Act("promote", name)], lake, settings)
    away = f"{lake.table(AUDIT)}.away"
    with open_warehouse(settings) as warehouse:
        shutil.move(lake.table(AUDIT), away)
        for _ in range(2):
            with pytest.raises(AuditError):
                warehouse.query(SQL)
        shutil.move(away, lake.table(AUDIT))
        warehouse.query(SQL)
    assert [line["action"] for line in read_lines(lake)] == ["configuration", *["promote"] * 2, *["query"] * 3]


def test_a_warehouse_whose_log_is_gone_does_not_open(lake: Lake, settings: Settings) -> None:
    for name in ("m", "n"):
        record([Act("promote", name)], lake, settings)
    shutil.rmtree(lake.table(AUDIT))
    with pytest.raises(AuditError):
        open_warehouse(settings)


def test_somebody_elses_question_is_in_no_message(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["sql/run_analytics.py", "--sql", "SELECT 'Geheim'", "--param=day=Geheim"])
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    with hold_lock(lake, AUDIT.name, 0), pytest.raises(LockError, match=r"run_analytics\.py --sql --param") as raised:
        open_warehouse(load_settings())
    assert "Geheim" not in str(raised.value)


def test_no_lock_is_written_through_a_link(lake: Lake, settings: Settings, data_dir: Path) -> None:
    record([Act("promote", "m")], lake, settings)
    key = data_dir / "keys" / "governance.key"
    before = key.read_text()
    Path(lake.root, "_locks", "ops.audit.holder.json").symlink_to(key)
    record([Act("promote", "m")], lake, settings)
    assert key.read_text() == before


def test_an_export_is_told_with_its_file(lake: Lake, tmp_path: Path) -> None:
    main = runpy.run_path(str(PROJECT_ROOT / "gcp" / "gcs_client.py"))["main"]
    file = str(tmp_path / "runs.parquet")
    assert main(["export", "ops.runs", file]) == 0
    assert read_acts(lake) == [("export", "ops.runs", "begun"), ("export", "ops.runs", "done")]
    assert read_details(lake) == {"version": 0, "file": file, "days": [], "rows": 0}
    assert main(["export", "ops.runs", file]) == 2
    assert read_acts(lake)[-1] == ("export", "ops.runs", "failed")


def test_verify_audit_tells_and_finds(lake: Lake, settings: Settings, verify_audit: Callable[..., Any]) -> None:
    code, told, _ = verify_audit()
    assert (code, told["end"], told["lines"]) == (0, "0:", 0)
    assert verify_audit("--expect", "0:")[0] == 0
    record([Act("promote", "m", {"reason": "better"})], lake, settings)
    code, told, _ = verify_audit()
    assert (code, told["lines"], told["last"][-1]["subject"]) == (0, 2, "m")
    end = told["end"]
    record([Act("promote", "n")], lake, settings)
    assert verify_audit("--expect", end)[0] == 0
    code, told, message = verify_audit("--expect", f"2:{'0' * 64}")
    assert (code, len(told["findings"])) == (1, 1)
    assert "--set-aside" in message
    shutil.rmtree(lake.table(AUDIT))
    code, told, message = verify_audit()
    assert code == 1
    assert "ends with line 0, and line 3" in told["findings"][0]
    assert verify_audit("--set-aside", "a test took it")[0] == 0
    assert verify_audit()[0] == 0
    assert verify_audit("--last", "1")[1]["last"][0]["action"] == "set_aside"


@pytest.mark.parametrize("flags", [["--expect", "12:ab"], ["--last", "-1"], ["--set-aside", " "]])
def test_verify_audit_refuses_what_it_cannot_read(flags: list[str], verify_audit: Callable[..., Any]) -> None:
    with pytest.raises(SystemExit) as ended:
        verify_audit(*flags)
    assert ended.value.code == 2
