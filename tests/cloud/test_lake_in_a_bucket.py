"""A lake on gs:// without Spark: objects and their conditions, tables, and what is wrong."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.cloud.storage import Blob

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DAILY_SALES, FILES, LEDGER, RUNS
from shoplake.errors import ConfigError, LockError, ShoplakeError, StorageError
from shoplake.lake import arrow
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import (
    changed_at,
    confirm_commit,
    confirm_transaction,
    open_table,
    read_table,
    table_exists,
)
from shoplake.lake.buckets import (
    NEW,
    check_access,
    delete_object,
    download_file,
    find_object,
    list_objects,
    move_object,
    read_object,
    upload_file,
    write_object,
)
from shoplake.lake.files import is_ingested, keep_file, record_file
from shoplake.lake.leases import Lease
from shoplake.lake.locks import HeldLock, hold_lock
from shoplake.lake.sql import connect_duckdb, select_table
from shoplake.settings import load_settings


@pytest.fixture
def lake(bucket: str) -> Lake:
    return locate_lake(load_settings())


def test_a_write_replaces_only_what_it_names(lake: Lake) -> None:
    address = f"{lake.root}/x.json"
    first = write_object(lake, address, b"1", NEW)
    assert first is not None
    assert write_object(lake, address, b"2", NEW) is None, "it is there"
    second = write_object(lake, address, b"2", first.generation)
    assert second is not None
    assert write_object(lake, address, b"3", first.generation) is None, "that one is gone"
    found = read_object(lake, address)
    assert found is not None
    assert (found[0], found[1].generation) == (b"2", second.generation)
    assert not delete_object(lake, address, first.generation)
    assert delete_object(lake, address, second.generation)
    assert find_object(lake, address) is None
    assert not delete_object(lake, address, second.generation)


def test_of_many_writers_of_a_new_object_one_wins(lake: Lake) -> None:
    wins: list[bytes] = []

    def write(content: bytes) -> None:
        if write_object(lake, f"{lake.root}/one.json", content, NEW):
            wins.append(content)

    threads = [threading.Thread(target=write, args=(str(number).encode(),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_object(lake, f"{lake.root}/one.json")
    assert found is not None
    assert wins == [found[0]]


def test_a_large_file_goes_up_resumably_and_overwrites_no_other(lake: Lake, tmp_path: Path) -> None:
    large, other, address = tmp_path / "large", tmp_path / "other", f"{lake.root}/large"
    large.write_bytes(os.urandom(9 * 2**20))  # above 8 MiB the client uploads in a session
    other.write_bytes(os.urandom(9 * 2**20))
    stored = upload_file(lake, large, address)
    assert stored is not None
    assert upload_file(lake, large, address) == stored, "the same bytes are there"
    assert upload_file(lake, other, address) is None
    assert download_file(lake, stored, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert upload_file(lake, other, address, replaces=stored.generation) is not None
    assert not download_file(lake, stored, tmp_path / "back"), "that generation is no longer the newest"


def test_an_object_moves_as_it_was_seen_or_not_at_all(lake: Lake) -> None:
    seen = write_object(lake, f"{lake.root}/a b.csv", b"1", NEW)
    assert seen is not None
    newer = write_object(lake, f"{lake.root}/a b.csv", b"2", seen.generation)
    assert newer is not None
    assert not move_object(lake, seen, f"{lake.root}/done/a b.csv"), "it was replaced since"
    write_object(lake, f"{lake.root}/taken.csv", b"3", NEW)
    assert not move_object(lake, newer, f"{lake.root}/taken.csv"), "the name is taken"
    assert move_object(lake, newer, f"{lake.root}/done/a b.csv")
    assert not move_object(lake, newer, f"{lake.root}/again.csv"), "it is gone"
    assert [one.address.removeprefix(lake.root) for one in list_objects(lake, f"{lake.root}/")] == [
        "/done/a b.csv", "/taken.csv"]


def test_a_move_whose_answers_were_lost_has_moved(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = write_object(lake, f"{lake.root}/a.csv", b"1", NEW)
    assert stored is not None
    for name in ("rewrite", "delete"):
        ask = getattr(Blob, name)

        # What the client's own second try does to a request that had reached the storage.
        def ask_twice(*arguments: Any, ask: Any = ask, **options: Any) -> Any:
            ask(*arguments, **options)
            return ask(*arguments, **options)

        monkeypatch.setattr(Blob, name, ask_twice)
    assert move_object(lake, stored, f"{lake.root}/done/a.csv")
    assert [one.address for one in list_objects(lake, f"{lake.root}/")] == [f"{lake.root}/done/a.csv"]


@pytest.mark.parametrize("is_there", [False, True])
def test_of_an_object_that_is_replaced_while_it_moves_no_copy_is_left(
    is_there: bool, lake: Lake, monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = f"{lake.root}/a.csv", f"{lake.root}/done/a.csv"
    stored = write_object(lake, source, b"1", NEW)
    assert stored is not None
    if is_there:
        write_object(lake, target, b"1", NEW)

    def replace_before_deleting(*arguments: Any) -> bool:
        write_object(lake, source, b"2", stored.generation)
        return delete_object(*arguments)

    monkeypatch.setattr("shoplake.lake.buckets.delete_object", replace_before_deleting)
    assert not move_object(lake, stored, target)
    assert (read_object(lake, source) or [b""])[0] == b"2"
    assert (find_object(lake, target) is not None) == is_there, "what this move did not bring is not its to take away"


def replace_rows(lake: Lake, rows: list[dict[str, Any]], predicate: str, lock: HeldLock | None = None) -> None:
    with hold_lock(lake, RUNS.name, timeout=0) as held:
        arrow.replace_rows(
            lake, RUNS, pa.Table.from_pylist(rows, schema=arrow_schema(RUNS)), predicate, lock or held)


def run_row(run_id: str, records: int) -> dict[str, Any]:
    counts = {name: records for name in RUNS.column_names if name.endswith("_count")}
    return {"run_id": run_id, "dag_id": "d", "run_date": datetime(2026, 3, 29).date(),
            "finished_at": datetime(2026, 3, 29, 0, 59, 59, 999999, UTC), **counts}


def test_rows_are_replaced_and_read_back(lake: Lake) -> None:
    assert not table_exists(lake, RUNS)
    assert changed_at(lake, RUNS) is None
    replace_rows(lake, [run_row("a", 1), run_row("b", 2)], "run_id >= 'a'")
    replace_rows(lake, [run_row("b", 3)], "run_id = 'b'")
    assert sorted(read_table(lake, RUNS).to_pylist(), key=str) == [run_row("a", 1), run_row("b", 3)]
    changed = changed_at(lake, RUNS)
    assert changed is not None
    assert abs((datetime.now(UTC) - changed).total_seconds()) < 60


def test_rows_are_not_replaced_under_a_lost_lock(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_rows(lake, [run_row("a", 1)], "run_id = 'a'")
    lost = Lease(lake, RUNS.name)
    monkeypatch.setattr(lost, "_is_lost", True)
    with pytest.raises(LockError, match="was lost"):
        replace_rows(lake, [run_row("a", 2)], "run_id = 'a'", lost)
    assert read_table(lake, RUNS).to_pylist() == [run_row("a", 1)]


def test_a_commit_that_readers_do_not_see_is_an_error(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_rows(lake, [run_row("a", 1)], "run_id = 'a'")
    before = open_table(lake, RUNS).version()
    with monkeypatch.context() as patched:
        # A storage that says yes and keeps nothing.
        patched.setattr(arrow, "write_deltalake", lambda *arguments, **options: None)
        with pytest.raises(StorageError, match=r"cannot be read back.*newest version in its log is 0"):
            replace_rows(lake, [run_row("b", 1)], "run_id = 'b'")
    assert open_table(lake, RUNS).version() == before
    with pytest.raises(StorageError, match=r"batch 3 of q1 .* cannot be read back"):
        confirm_transaction(lake, RUNS, "q1", 3)
    with pytest.raises(StorageError, match="cannot be read back"):
        confirm_commit(lake, RUNS, "never-written")


def test_duckdb_reads_the_bucket_and_nothing_else(
    lake: Lake, tmp_path: Path, write_table: Callable[[Lake, Any, list[dict[str, Any]]], None],
) -> None:
    local = Lake(str(tmp_path / "lake"))
    row = {"query_id": "q", "batch_id": 0, "origin": "o", "topic": "t", "event_dates": [datetime(2026, 3, 29).date()],
           "ranges": [{"partition": 0, "from_offset": 0, "until_offset": 5}], "rules": [],
           **{name: 5 for name in LEDGER.column_names if name.endswith("_count")}}
    for one in (lake, local):
        write_table(one, LEDGER, [row])
    for table in (LEDGER, DAILY_SALES):
        answers = []
        for one in (lake, local):
            with connect_duckdb(one) as connection:
                relation = connection.sql(select_table(connection, one, table))
                answers.append((relation.columns, [str(kind) for kind in relation.types], relation.fetchall()))
        assert answers[0] == answers[1]
    with connect_duckdb(lake) as connection:
        view = select_table(connection, lake, LEDGER)
        connection.execute(f"CREATE TEMP VIEW ledger AS {view}")
        write_table(lake, LEDGER, [row, row | {"batch_id": 1}])
        select_table(connection, lake, LEDGER)
        assert connection.execute("SELECT count(*) FROM ledger").fetchall() == [(2,)]
        for refused in ("SELECT * FROM read_text('/etc/hostname')", "SET enable_external_access = true",
                        f"SELECT * FROM delta_scan('{lake.table(LEDGER)}')", "COPY ledger TO '/tmp/x.csv'"):
            with pytest.raises(Exception, match=r"disabled|locked|not in the catalog"):
                connection.execute(refused)


def test_what_duckdb_spills_of_a_bucket_is_its_owners_and_goes_with_the_connection(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connection = connect_duckdb(lake, "100MB")
    (folder,) = tmp_path.glob("shoplake-spill-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    # More than the limit, and read only in part, so that it lies in the folder.
    connection.execute("CREATE TEMP TABLE big AS SELECT i, hash(i) AS a, hash(i + 1) AS b FROM range(10000000) AS t(i)")
    assert list(folder.iterdir())
    connection.close()
    del connection
    assert not folder.exists()


def test_a_file_is_kept_once_and_remembered(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_bytes(b"event_id\n1\n")
    kept, again = keep_file(file, lake, "events"), keep_file(file, lake, "events")
    assert kept == again, "the moment of the first is kept"
    found = read_object(lake, f"{lake.root}/bronze/files/events/{kept.sha256}")
    assert found is not None
    assert found[0] == b"event_id\n1\n"
    row = dict.fromkeys(FILES.column_names) | {
        "source": "events", "file_sha256": kept.sha256, "file_name": "day.csv", "byte_count": 11, "status": "ingested",
        "arrived_at": datetime.now(UTC), "recorded_at": datetime.now(UTC)}
    record_file(lake, row, lock_timeout=5)
    assert is_ingested(lake, "events", kept.sha256)
    assert not is_ingested(lake, "online_retail", kept.sha256)


ASK: dict[str, Callable[[Lake], object]] = {
    "objects": check_access,
    "table": lambda lake: table_exists(lake, RUNS),
    "lock": lambda lake: hold_lock(lake, "ingest", timeout=0).__enter__(),
    "rows": lambda lake: replace_rows(lake, [run_row("a", 1)], "run_id = 'a'"),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_what_is_wrong_with_a_bucket_is_one_message(
    ask: Callable[[Lake], object], lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    def message_of(lake: Lake, kind: type[ShoplakeError]) -> str:
        with pytest.raises(kind) as caught:
            ask(lake)
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        return str(caught.value)

    assert "bucket gs://no-such-bucket of" in message_of(replace(lake, root="gs://no-such-bucket/lake"), ConfigError)
    denied = message_of(replace(lake, root="gs://denied-to-all/lake"), ConfigError)
    assert "stranger@example.iam.gserviceaccount.com does not have storage.objects" in denied
    assert "roles/storage.objectUser" in denied
    away = message_of(replace(lake, endpoint="http://127.0.0.1:9", timeout=1), StorageError)
    assert "http://127.0.0.1:9 does not answer" in away
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    assert "gcloud auth application-default login" in message_of(replace(lake, endpoint=""), ConfigError)


def test_only_folders_and_buckets_are_lakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for root in ("s3://bucket/lake", "gs:///lake"):
        monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", root)
        with pytest.raises(ConfigError, match="gs://bucket/prefix"):
            locate_lake(load_settings())
