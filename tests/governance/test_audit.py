"""ops.audit: what is recorded, and that nobody without the lake's key can change what was."""

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import AUDIT
from shoplake.errors import AuditError, ConfigError, WarehouseError
from shoplake.governance import audit
from shoplake.governance.audit import Act, audited, read_lines, record, verify
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import Settings, load_settings
from shoplake.warehouse import open_warehouse

Lines = list[dict[str, Any]]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ACTOR", "ada")
    return load_settings()


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return locate_lake(settings)


@pytest.fixture
def log(lake: Lake, settings: Settings) -> Lines:
    """A log of seven lines, the first of which tells of the settings."""
    record([Act("query", "a" * 64, {"tables": ["gold.daily_sales"]})], lake, settings)
    record([Act("publish", "gold.daily_sales"), Act("export", "silver.events", {"version": 3})], lake, settings)
    with audited(lake, settings, Act("replay", "events", {"reasons": ["price_valid"]})):
        pass
    record([Act("promote", "xgboost")], lake, settings)
    return read_lines(lake)


def rewrite(lake: Lake, lines: Lines) -> None:
    """Write other lines in the place of the table's, as one who can write to the lake may: the transaction stays."""
    write_deltalake(lake.table(AUDIT), pa.Table.from_pylist(lines, schema=arrow_schema(AUDIT)), mode="overwrite")


def test_each_act_is_a_line_that_follows_from_the_one_before(lake: Lake, settings: Settings, log: Lines) -> None:
    assert [(line["action"], line["outcome"]) for line in log] == [
        ("configuration", "done"), ("query", "done"), ("publish", "done"), ("export", "done"), ("replay", "begun"),
        ("replay", "done"), ("promote", "done")]
    assert [line["sequence"] for line in log] == [1, 2, 3, 4, 5, 6, 7]
    assert {line["actor"] for line in log} == {"ada"}
    head, findings = verify(lake, settings)
    assert (head.sequence, head.digest, findings) == (7, log[-1]["digest"], [])


def other(name: str, value: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:3], {**lines[3], name: value(lines[3][name])}, *lines[4:]]


def forge(lines: Lines, key: bytes = b"k" * 32) -> Lines:
    """Bind all lines anew, with a key of one's own."""
    acts = [Act(line["action"], line["subject"], json.loads(line["details"]), line["outcome"], line["recorded_at"])
            for line in lines]
    return list(audit._chain(acts, audit.Head(), "ada", key))


TAMPERED: dict[str, Callable[[Lines], Lines]] = {
    "another number": other("sequence", lambda number: number + 20),
    "an earlier time": other("recorded_at", lambda at: at - timedelta(microseconds=1)),
    "another person": other("actor", lambda _: "eve"),
    "another action": other("action", lambda _: "query"),
    "another subject": other("subject", lambda _: "gold.daily_sales"),
    "another outcome": other("outcome", lambda _: "failed"),
    "other details": other("details", lambda text: text.replace("3", "2")),
    "another link": other("previous_digest", lambda digest: digest[::-1]),
    "another digest": other("digest", lambda digest: digest[::-1]),
    "a digest without the key": other("digest", lambda digest: sha256(digest.encode()).hexdigest()),
    "the first line gone": lambda lines: lines[1:],
    "one in the middle gone": lambda lines: [*lines[:3], *lines[4:]],
    "one gone, the others counted anew": lambda lines: [
        *lines[:3], *({**line, "sequence": line["sequence"] - 1} for line in lines[4:])],
    "the last line gone": lambda lines: lines[:-1],
    "all lines gone": lambda lines: [],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "two lines changed about": lambda lines: [
        *lines[:3], {**lines[4], "sequence": 4}, {**lines[3], "sequence": 5}, *lines[5:]],
    "a line put in": lambda lines: [*lines, {**lines[-1], "sequence": 8, "previous_digest": lines[-1]["digest"]}],
    "an older line put in": lambda lines: [*lines[:3], {**lines[1], "sequence": 4}, *lines[4:]],
    "all bound anew without the key": forge,
    "all but the last bound anew": lambda lines: [*forge(lines[:-1]), lines[-1]],
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_changed_log_is_found(lake: Lake, settings: Settings, log: Lines, kind: str) -> None:
    rewrite(lake, TAMPERED[kind](log))
    assert verify(lake, settings)[1], kind


def test_lines_written_again_as_they_were_are_no_change(lake: Lake, settings: Settings, log: Lines) -> None:
    rewrite(lake, log[::-1])
    DeltaTable(lake.table(AUDIT)).optimize.compact()
    assert verify(lake, settings)[1] == []


def replace_head(lake: Lake, change: Callable[[dict[str, Any]], Any]) -> None:
    path = Path(lake.audit_head)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize("kind", ["gone", "no JSON", "another line", "older", "no log", "no log and no head's key"])
def test_a_changed_head_is_found(lake: Lake, settings: Settings, log: Lines, kind: str, data_dir: Path) -> None:
    path = Path(lake.audit_head)
    if kind == "gone":
        path.unlink()
    elif kind == "no JSON":
        path.write_text("{")
    elif kind == "another line":
        replace_head(lake, lambda head: {**head, "sequence": 6, "digest": log[5]["digest"]})
    elif kind == "older":  # the head of a shorter log, and the log cut there
        before = path.read_bytes()
        record([Act("erase", "x")], lake, settings)
        path.write_bytes(before)
        rewrite(lake, log[:-1])
    else:
        shutil.rmtree(lake.table(AUDIT))
        if kind == "no log and no head's key":
            (data_dir / "keys" / "governance.key").unlink()
            record_refused(lake, settings, "not written with the lake's key")
            return
    assert verify(lake, settings)[1], kind


def record_refused(lake: Lake, settings: Settings, message: str) -> None:
    with pytest.raises(AuditError, match=message):
        record([Act("query", "x")], lake, settings)


def test_nothing_is_added_to_a_log_that_was_cut(lake: Lake, settings: Settings, log: Lines) -> None:
    shutil.rmtree(lake.table(AUDIT))
    record_refused(lake, settings, "ends with line 0, but 7 were written")
    with pytest.raises(AuditError), audited(lake, settings, Act("promote", "m")):
        raise AssertionError("the act was done, and could not be recorded")
    with open_warehouse(settings) as warehouse, pytest.raises(AuditError):
        warehouse.query("SELECT 1 AS one")


@pytest.mark.parametrize("after", ["the lines", "the head"])
def test_a_writer_that_dies_leaves_a_log_that_goes_on(
    lake: Lake, settings: Settings, log: Lines, after: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*given: Any) -> None:
        if after == "the head":
            write(*given)
        raise KeyboardInterrupt

    write = audit.write_bytes
    monkeypatch.setattr(audit, "write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        record([Act("rebuild", "silver.events")], lake, settings)
    monkeypatch.setattr(audit, "write_bytes", write)
    assert verify(lake, settings)[1] == []
    record([Act("reset", "stream")], lake, settings)
    head, findings = verify(lake, settings)
    assert (head.sequence, findings) == (9, [])


def test_a_failure_is_told_without_its_words(lake: Lake, settings: Settings) -> None:
    with pytest.raises(ValueError, match="secret"), audited(lake, settings, Act("promote", "m")):
        raise ValueError("secret value")
    lines = read_lines(lake)
    assert [line["outcome"] for line in lines] == ["done", "begun", "failed"]
    assert json.loads(lines[-1]["details"]) == {"error": "ValueError"}


def test_a_question_is_told_by_its_texts_hash_and_its_tables(lake: Lake, settings: Settings) -> None:
    sql = "SELECT COUNT(*) AS n FROM gold.daily_sales WHERE event_date = '2026-03-01' AND product_id = 'Geheim'"
    with open_warehouse(settings) as warehouse:
        warehouse.query(sql)
        with pytest.raises(WarehouseError):
            warehouse.query("SELECT secret FROM bronze.events")
    lines = read_lines(lake)
    assert [(line["action"], line["subject"], line["outcome"]) for line in lines[1:]] == [
        ("query", sha256(sql.encode()).hexdigest(), "done"),
        ("query", sha256(b"SELECT secret FROM bronze.events").hexdigest(), "failed")]
    assert [json.loads(line["details"]) for line in lines[1:]] == [
        {"tables": ["gold.daily_sales"], "rows": 1}, {"tables": ["bronze.events"], "error": "QueryRefusedError"}]
    assert not re.search("Geheim|2026-03-01|secret", json.dumps(lines, default=str))


def test_a_changed_setting_is_a_line_once(lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    record([Act("query", "x")], lake, settings)
    monkeypatch.setenv("SHOPLAKE_QUALITY__LATE_AFTER", "11")
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", "https://hook.test/token")
    changed = load_settings()
    for _ in range(2):
        record([Act("query", "x")], lake, changed)
    lines = read_lines(lake)
    assert [line["action"] for line in lines] == ["configuration", "query", "configuration", "query", "query"]
    assert json.loads(lines[2]["details"]) == {"sections": ["airflow", "quality"]}  # of a secret only that it is there
    assert "token" not in json.dumps(lines, default=str) + Path(lake.audit_head).read_text()


def test_the_key_is_the_owners_alone(lake: Lake, settings: Settings, log: Lines, data_dir: Path) -> None:
    file = data_dir / "keys" / "governance.key"
    assert file.stat().st_mode & 0o777 == 0o600
    os.chmod(file, 0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        record([Act("query", "x")], lake, settings)


@pytest.mark.parametrize("text", ["abc", "g" * 64, "ab" * 31])
def test_a_key_that_is_none_is_refused(lake: Lake, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", text)
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as raised:
        record([Act("query", "x")], lake, load_settings())
    assert text not in str(raised.value)
