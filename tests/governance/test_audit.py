"""ops.audit: what is recorded, and that nobody without the lake's key can change what was."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from audit_log import Lines, read_lines
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import AUDIT, RUNS
from shoplake.errors import AuditError, ConfigError, StorageError
from shoplake.governance import audit
from shoplake.governance.audit import audited, check_end, record, set_aside, verify
from shoplake.governance.audit_lines import NO_LINE, Act, make_lines
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.keys import purpose_key
from shoplake.lake.maintenance import compact_table
from shoplake.settings import PROJECT_ROOT, Settings, load_settings

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def log(lake: Lake, settings: Settings) -> Lines:
    """A log of eight lines, the first of which tells of the settings."""
    record([Act("query", "a" * 64, {"tables": ["gold.daily_sales"]})], lake, settings)
    record([Act("publish", "gold.daily_sales"), Act("export", "silver.events", {"version": 3})], lake, settings)
    with audited(lake, settings, "replay", "events", {"reasons": ["price_valid"]}):
        pass
    record([Act("promote", "xgboost"), Act("rebuild", "silver.events")], lake, settings)
    return read_lines(lake)


def rewrite(lake: Lake, lines: Lines, schema: pa.Schema | None = None) -> None:
    """Write other lines in the place of the table's, as one who can write to the lake may: the transaction stays."""
    rows = pa.Table.from_pylist(lines, schema=schema or arrow_schema(AUDIT))
    write_deltalake(lake.table(AUDIT), rows, mode="overwrite", schema_mode="overwrite")


def find_bookmark(data_dir: Path) -> Path:
    (found,) = (data_dir / "keys").glob("audit-*.json")
    return found


def test_each_act_is_a_line_that_follows_from_the_one_before(lake: Lake, settings: Settings, log: Lines) -> None:
    assert [(line["action"], line["outcome"]) for line in log] == [
        ("configuration", "done"), ("query", "done"), ("publish", "done"), ("export", "done"), ("replay", "begun"),
        ("replay", "done"), ("promote", "done"), ("rebuild", "done")]
    assert [line["sequence"] for line in log] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {line["actor"] for line in log} == {USER}
    found = verify(lake, settings)
    assert (found.wrong, str(found.end)) == ((), f"8:{log[-1]['digest']}")
    check_end(lake, settings)


def other(name: str, value: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:3], {**lines[3], name: value(lines[3][name])}, *lines[4:]]


def forge(lines: Lines) -> Lines:
    """Bind all lines anew, with a key of one's own."""
    acts = [Act(line["action"], line["subject"], json.loads(line["details"]), line["outcome"], line["recorded_at"])
            for line in lines]
    return make_lines(acts, NO_LINE, USER, b"k" * 32)


TAMPERED: dict[str, Callable[[Lines], Lines]] = {
    "another number": other("sequence", lambda number: number + 20),
    "a number below 1": other("sequence", lambda number: -number),
    "no number": other("sequence", lambda _: None),
    "an earlier time": other("recorded_at", lambda at: at - timedelta(microseconds=1)),
    "no time": other("recorded_at", lambda _: None),
    "another person": other("actor", lambda _: "eve"),
    "another action": other("action", lambda _: "query"),
    "another subject": other("subject", lambda _: "gold.daily_sales"),
    "another outcome": other("outcome", lambda _: "failed"),
    "other details": other("details", lambda text: text.replace("3", "2")),
    "another link": other("previous_digest", lambda digest: digest[::-1]),
    "another digest": other("digest", lambda digest: digest[::-1]),
    "a digest that is none": other("digest", lambda _: "é"),
    "no digest": other("digest", lambda _: None),
    "a digest without the key": other("digest", lambda digest: sha256(digest.encode()).hexdigest()),
    "the first line gone": lambda lines: lines[1:],
    "one in the middle gone": lambda lines: [*lines[:3], *lines[4:]],
    "one gone, the others counted anew": lambda lines: [
        *lines[:3], *({**line, "sequence": line["sequence"] - 1} for line in lines[4:])],
    "the last line gone": lambda lines: lines[:-1],
    "the last two gone": lambda lines: lines[:-2],
    "all lines gone": lambda lines: [],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "two lines changed about": lambda lines: [
        *lines[:3], {**lines[4], "sequence": 4}, {**lines[3], "sequence": 5}, *lines[5:]],
    "a line put in": lambda lines: [*lines, {**lines[-1], "sequence": 9, "previous_digest": lines[-1]["digest"]}],
    "a line put in before the first": lambda lines: [{**lines[0], "sequence": 0}, *lines],
    "an older line put in": lambda lines: [*lines[:3], {**lines[1], "sequence": 4}, *lines[4:]],
    "all bound anew without the key": forge,
    "all but the last bound anew": lambda lines: [*forge(lines[:-1]), lines[-1]],
}
NULLS = pa.schema([field.with_nullable(True) for field in arrow_schema(AUDIT)])


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_changed_log_is_found(lake: Lake, settings: Settings, log: Lines, kind: str) -> None:
    rewrite(lake, TAMPERED[kind](log), NULLS)
    found = verify(lake, settings).wrong
    assert found, kind
    assert not any("columns" in finding for finding in found)


def test_lines_written_again_as_they_were_are_no_change(lake: Lake, settings: Settings, log: Lines) -> None:
    rewrite(lake, log[::-1])
    DeltaTable(lake.table(AUDIT)).optimize.compact()
    assert verify(lake, settings).wrong == ()


@pytest.mark.parametrize("change", ["a column less", "a column more", "another type"])
def test_another_schema_is_found(lake: Lake, settings: Settings, log: Lines, change: str) -> None:
    schema = arrow_schema(AUDIT)
    if change == "a column less":
        rewrite(lake, [{name: value for name, value in line.items() if name != "actor"} for line in log],
                schema.remove(schema.get_field_index("actor")))
    elif change == "a column more":
        rewrite(lake, [{**line, "note": ""} for line in log], schema.append(pa.field("note", pa.string())))
    else:
        rewrite(lake, [{**line, "sequence": str(line["sequence"])} for line in log],
                schema.set(0, pa.field("sequence", pa.string())))
    (finding,) = verify(lake, settings).wrong
    assert "has the columns" in finding


def cut(lake: Lake, lines: Lines, transactions: list[Transaction] | None = None) -> None:
    """Make another log as a writer would have left it, transaction and all."""
    shutil.rmtree(lake.table(AUDIT))
    told = [Transaction("audit", len(lines))] if transactions is None else transactions
    write_deltalake(lake.table(AUDIT), pa.Table.from_pylist(lines, schema=arrow_schema(AUDIT)),
                    commit_properties=CommitProperties(app_transactions=told))


ENDS: dict[str, Callable[[Lake, Lines, Path], object]] = {
    "the log gone": lambda lake, log, _: shutil.rmtree(lake.table(AUDIT)),
    "the log cut": lambda lake, log, _: cut(lake, log[:5]),
    "the log empty": lambda lake, log, _: cut(lake, [], []),
    "its transaction gone": lambda lake, log, _: cut(lake, log, []),
    "the bookmark gone": lambda lake, log, data: find_bookmark(data).unlink(),
    "the bookmark no JSON": lambda lake, log, data: find_bookmark(data).write_text("{"),
    "the bookmark and the key gone": lambda lake, log, data: shutil.rmtree(data / "keys"),
    "the key gone": lambda lake, log, data: (data / "keys" / "governance.key").unlink(),
}


@pytest.mark.parametrize("kind", ENDS)
def test_an_end_that_is_not_the_one_that_was_written_stops_every_writer(
    lake: Lake, settings: Settings, log: Lines, kind: str, data_dir: Path,
) -> None:
    ENDS[kind](lake, log, data_dir)
    for _ in range(2):  # neither a writer nor a check heals it for the next one
        with pytest.raises(AuditError, match=r"verify_audit\.py"):
            record([Act("query", "x")], lake, settings)
        with pytest.raises(AuditError), audited(lake, settings, "promote", "m"):
            raise AssertionError("the act was done, and could not be recorded")
        with pytest.raises(AuditError):
            check_end(lake, settings)
        assert verify(lake, settings).wrong
    assert (data_dir / "keys" / "governance.key").exists() is ("key" not in kind)


def test_a_lake_that_is_built_again_needs_a_word(lake: Lake, settings: Settings, log: Lines) -> None:
    shutil.rmtree(lake.root)
    for table in (None, RUNS):
        if table:
            write_deltalake(lake.table(table), arrow_schema(table).empty_table())
        assert verify(lake, settings).wrong
        with pytest.raises(AuditError):
            record([Act("query", "x")], lake, settings)
    assert set_aside(lake, settings, "a new lake") is None
    assert json.loads(read_lines(lake)[0]["details"]) == {
        "reason": "a new lake", "moved_to": None, "content": None, "end": f"8:{log[-1]['digest']}"}
    assert verify(lake, settings).wrong == ()


def test_a_key_that_is_another_one_is_told_at_once(
    lake: Lake, settings: Settings, log: Lines, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", "ab" * 32)
    other_key = load_settings()
    with pytest.raises(AuditError, match="not the one that"):
        record([Act("query", "x")], lake, other_key)
    assert "not the one that" in verify(lake, other_key).wrong[0]
    assert verify(lake, settings).wrong == ()


@pytest.mark.parametrize("moment", ["before the lines", "after the lines", "before a power cut"])
def test_what_a_killed_writer_has_noted_is_there_after_the_next_one(
    lake: Lake, settings: Settings, log: Lines, moment: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_and_die(*given: Any, **named: Any) -> None:
        if moment != "before the lines":
            write_deltalake(*given, **named)
        raise KeyboardInterrupt

    before = Path(lake.root) / "before"
    shutil.copytree(lake.table(AUDIT), before)
    with monkeypatch.context() as patched:
        patched.setattr(audit, "write_deltalake", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            record([Act("rebuild", "silver.events")], lake, settings)
    if moment == "before a power cut":  # or somebody has put the state before those lines back
        shutil.rmtree(lake.table(AUDIT))
        before.rename(lake.table(AUDIT))
    check_end(lake, settings)
    assert [line["action"] for line in read_lines(lake)[-2:]] == ["rebuild", "rebuild"]
    record([Act("reset", "stream")], lake, settings)
    found = verify(lake, settings)
    assert (found.wrong, found.end.sequence) == ((), 10)


def test_two_processes_write_one_log(lake: Lake, settings: Settings, log: Lines, data_dir: Path) -> None:
    code = ("from shoplake.governance.audit import record\nfrom shoplake.governance.audit_lines import Act\n"
            "from shoplake.lake.addresses import locate_lake\nfrom shoplake.settings import load_settings\n"
            "settings = load_settings()\n"
            "for number in range(10):\n    record([Act('query', str(number))], locate_lake(settings), settings)\n")
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = verify(lake, settings)
    assert (found.wrong, len(found.ends)) == ((), len(log) + 20)


def test_lake_and_data_folder_may_be_moved_together(
    lake: Lake, settings: Settings, log: Lines, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved = data_dir.with_name("elsewhere")
    data_dir.rename(moved)
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(moved))
    there = load_settings()
    record([Act("query", "x")], locate_lake(there), there)
    assert [line["action"] for line in read_lines(locate_lake(there))[len(log):]] == ["configuration", "query"]
    assert verify(locate_lake(there), there).wrong == ()


def test_compaction_follows_no_link_out_of_the_lake(
    lake: Lake, settings: Settings, log: Lines, data_dir: Path,
) -> None:
    key = data_dir / "keys" / "governance.key"
    os.utime(key, (0, 0))
    (Path(lake.table(RUNS)) / "x").symlink_to(data_dir / "keys")
    with pytest.raises(StorageError, match="is a link to"):
        compact_table(lake, RUNS, 168, 5)
    assert key.exists()


def test_two_lakes_have_two_logs(
    lake: Lake, settings: Settings, log: Lines, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "other")
    there = load_settings()
    record([Act("query", "x")], locate_lake(there), there)
    assert len(verify(locate_lake(there), there).ends) == 2
    assert len(verify(lake, settings).ends) == len(log)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "a file cut": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "a file garbled": lambda file: file.write_bytes(bytes(len(file.read_bytes()))),
    "a file gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_files_that_cannot_be_read_are_a_finding(lake: Lake, settings: Settings, log: Lines, kind: str) -> None:
    DAMAGED[kind](next(iter(Path(lake.table(AUDIT)).glob("*.parquet"))))
    (finding,) = verify(lake, settings).wrong
    assert "cannot be read" in finding


def test_a_link_in_its_place_is_no_log(lake: Lake, settings: Settings, log: Lines) -> None:
    shutil.rmtree(lake.table(AUDIT))
    Path(lake.table(AUDIT)).symlink_to("/nowhere")
    with pytest.raises(AuditError):
        record([Act("query", "x")], lake, settings)
    assert verify(lake, settings).wrong


@pytest.mark.parametrize("key", ["there", "gone", "broken"])
def test_a_log_is_set_aside_whatever_became_of_the_key(
    lake: Lake, settings: Settings, log: Lines, data_dir: Path, key: str,
) -> None:
    file = data_dir / "keys" / "governance.key"
    if key == "gone":
        file.unlink()
        with pytest.raises(ConfigError, match="is gone"):
            purpose_key(settings, "mask")
    elif key == "broken":
        file.write_text("abc")
        with pytest.raises(ConfigError, match="hexadecimal"):
            set_aside(lake, settings, "the key is broken")
        assert len(read_lines(lake)) == len(log)  # nothing was moved
        return
    moved = set_aside(lake, settings, "a test")
    assert moved
    assert DeltaTable(str(moved)).to_pyarrow_table().num_rows == len(log)
    assert json.loads(read_lines(lake)[0]["details"])["end"] == f"8:{log[-1]['digest']}"
    record([Act("query", "x")], lake, settings)
    assert verify(lake, settings).wrong == ()


def test_the_first_line_of_the_next_log_says_why(lake: Lake, settings: Settings, log: Lines, data_dir: Path) -> None:
    find_bookmark(data_dir).write_text("{")
    moved = set_aside(lake, settings, "disk restored from a backup")
    (line,) = read_lines(lake)
    assert line["action"] == "set_aside"
    details = json.loads(line["details"])
    assert re.fullmatch("[0-9a-f]{64}", details.pop("content"))
    assert details == {"moved_to": str(moved), "reason": "disk restored from a backup", "end": None}


@pytest.mark.parametrize("how", ["a line is changed", "a line is gone", "it is gone"])
def test_a_log_that_was_set_aside_stays_as_it_was(lake: Lake, settings: Settings, log: Lines, how: str) -> None:
    moved = set_aside(lake, settings, "a test")
    assert verify(lake, settings).wrong == ()
    old = DeltaTable(str(moved)).to_pyarrow_table()
    lines = old.to_pylist()[1:] if how == "a line is gone" else [
        {**line, "actor": "somebody"} for line in old.to_pylist()]
    write_deltalake(str(moved), pa.Table.from_pylist(lines, old.schema), mode="overwrite")
    if how == "it is gone":
        shutil.rmtree(str(moved))
    assert "line 1 set aside" in "".join(verify(lake, settings).wrong)


def test_a_changed_policy_is_a_line(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    record([Act("query", "x")], lake, settings)
    shutil.copy(PROJECT_ROOT / "configs/sources.yaml", tmp_path)
    (tmp_path / "roles.yaml").write_text((PROJECT_ROOT / "configs/roles.yaml").read_text() + "# one more word")
    monkeypatch.setattr(audit, "find_resources", lambda _: tmp_path)
    record([Act("query", "x")], lake, settings)
    assert json.loads(read_lines(lake)[2]["details"]) == {"sections": ["roles.yaml"]}


def test_a_failure_is_told_without_its_words(lake: Lake, settings: Settings) -> None:
    with pytest.raises(ValueError, match="hush"), audited(lake, settings, "promote", "m"):
        raise ValueError("hush")
    with audited(lake, settings, "export", "t", {"file": "caf\udce9"}) as details:
        details["rows"] = 3
    lines = read_lines(lake)
    assert [line["outcome"] for line in lines] == ["done", "begun", "failed", "begun", "done"]
    assert json.loads(lines[2]["details"]) == {"error": "ValueError"}
    assert json.loads(lines[4]["details"]) == {"file": "caf\udce9", "rows": 3}


@pytest.mark.parametrize("is_done", [True, False])
def test_an_end_that_cannot_be_recorded_hides_neither_success_nor_failure(
    lake: Lake, settings: Settings, log: Lines, is_done: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def export() -> None:
        with audited(lake, settings, "export", "t"):
            monkeypatch.setattr(audit, "_keep_bookmark", refuse)
            _ = 1 / int(is_done)

    with pytest.raises(AuditError if is_done else ZeroDivisionError) as raised:
        export()
    if is_done:
        assert "the export of t is done, but its end is not in ops.audit" in str(raised.value)


def test_a_changed_setting_is_a_line_once(
    lake: Lake, settings: Settings, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    record([Act("query", "x")], lake, settings)
    monkeypatch.setenv("SHOPLAKE_QUALITY__LATE_AFTER", "11")
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__WEBHOOK_URL", "https://hook.test/token")
    changed = load_settings()
    for _ in range(2):
        record([Act("query", "x")], lake, changed)
    lines = read_lines(lake)
    assert [line["action"] for line in lines] == ["configuration", "query", "configuration", "query", "query"]
    assert json.loads(lines[2]["details"]) == {"sections": ["airflow", "quality"]}  # of a secret only that it is there
    assert not re.search("token", json.dumps(lines, default=str) + find_bookmark(data_dir).read_text())


def test_a_lake_in_a_bucket_has_no_such_log(settings: Settings) -> None:
    bucket = Lake("gs://shop/lake")
    record([Act("query", "x")], bucket, settings)  # Google's own logs tell
    with pytest.raises(ConfigError, match="Cloud Audit Logs"):
        verify(bucket, settings)
