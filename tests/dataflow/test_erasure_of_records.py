"""Erasures of odd records, erasures that are killed, and those that are refused."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lake_oracle import rows_of
from raw_records import find_words, to_records

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    INGEST_TABLES,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.errors import ConfigError, GateRefusedError
from shoplake.governance import erasure
from shoplake.governance.erasure import erase_user
from shoplake.governance.erasure_files import ErasedFiles, erase_files, names_user
from shoplake.lake import data_keys as data_keys_module
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import read_table
from shoplake.lake.data_keys import DataKeys, open_data_keys, open_rows
from shoplake.lake.delta import create_tables
from shoplake.lake.reconcile import reconcile
from shoplake.settings import load_settings
from shoplake.streaming import ingest
from shoplake.streaming.ingest import Batch, ingest_batch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def event(number: int, user: str, **changes: Any) -> bytes:
    return json.dumps({
        "event_time": f"2026-01-02T03:0{number}:05Z", "user_id": user, "product_id": "p", "category": "c",
        "price": "1.5", "quantity": 7, "event_type": "order_created", "event_id": f"e{number}", **changes}).encode()


RECORDS = (
    (b"bob", event(1, "bob")), (b"7", event(2, "carol")), (b"carol", event(3, "carol")),
    (b"bob", b'{"user_id": "bob", broken'), (b"x", b'{"user_id": "bob.smith", broken'), (b"bob", event(4, "bob")),
    (b"bob", event(1, "bob")), (b"carol", event(5, "bob", price="-1")), (b"bob", event(6, "carol")),
)
OF_BOB = {0, 3, 5, 6, 7}


def take_in(spark: "SparkSession", lake: Lake, number: int) -> None:
    records = to_records(spark, [(key, value, [("who", key)]) for key, value in RECORDS], number * len(RECORDS))
    ingest_batch(records, Batch("query", number, "origin", "events"), lake, load_settings())


@pytest.fixture
def lake(pseudonyms: None, spark: "SparkSession") -> Lake:
    settings = load_settings()
    lake = locate_lake(settings)
    create_tables(lake, INGEST_TABLES, settings.shop)
    take_in(spark, lake, 0)
    return lake


@pytest.fixture
def keys(lake: Lake) -> DataKeys:
    keys = open_data_keys(load_settings(), lake)
    assert keys is not None
    return keys


def everything_opened(lake: Lake, keys: DataKeys) -> bytes:
    """Decrypt all that can be decrypted, key by key, and give it with all that is in the clear."""
    found = []
    for table in (BRONZE_EVENTS, SILVER_QUARANTINE):
        rows = read_table(lake, table).to_pylist()
        opener = open_rows(keys, {row["data_key_id"] for row in rows})
        for row in rows:
            place = f"{row['origin']}/{row['partition']}/{row['offset']}"
            if not opener.is_erased(row["data_key_id"]):
                found += [opener.open(row["data_key_id"], row[part], place, part) or b"" for part in ("key", "value")]
                found += [opener.open(row["data_key_id"], one["value"], place, "header") or b""
                          for one in row["headers"] or ()]
    return b"\n".join(found)


def test_a_user_goes_and_who_is_named_with_them_stays(lake: Lake, keys: DataKeys) -> None:
    erase_user(lake, keys, "bob", 10)
    assert {row[0] for row in rows_of(lake, SILVER_ERASED, ("offset",))} == OF_BOB
    assert rows_of(lake, SILVER_EVENTS, ("offset", "user_id")) == {(1, "carol"): 1, (2, "carol"): 1, (8, "carol"): 1}
    assert {row[0] for row in rows_of(lake, SILVER_QUARANTINE, ("offset",))} == {4}
    opened = everything_opened(lake, keys)
    assert b"bob.smith" in opened, "another one, whose name begins alike"
    assert not [line for line in opened.splitlines() if names_user(line, "bob")]
    assert opened.count(b"carol") >= 3
    assert reconcile(lake).is_balanced


def test_a_number_that_is_somebodys_id_takes_nobody_elses_sale(lake: Lake, keys: DataKeys) -> None:
    before = rows_of(lake, SILVER_EVENTS)
    erase_user(lake, keys, "7", 10)
    assert rows_of(lake, SILVER_EVENTS) == before
    key = next(row["key"] for row in read_table(lake, BRONZE_EVENTS).to_pylist() if row["offset"] == 1)
    assert key is None, "the record's key was the id; the record is carol's"


def test_of_a_number_only_what_tells_whose_it_is_goes(spark: "SparkSession", lake: Lake, keys: DataKeys) -> None:
    broken = [(b"x", b'{"product_id": 355908, broken'), (b"355908", b"broken"), (b"x", b'{"user_id": 355908, broken'),
              (b"x", b'{"user_id": 3559080, broken'), (b"x", b"17, 355908, broken")]
    ingest_batch(to_records(spark, [(*one, None) for one in broken], len(RECORDS)),
                 Batch("query", 1, "origin", "events"), lake, load_settings())
    assert erase_user(lake, keys, "355908", 10).unsure == 2
    places = {row[0] - len(RECORDS) for row in rows_of(lake, SILVER_ERASED, ("offset",))}
    assert places == {1, 2}
    assert all(value in everything_opened(lake, keys) for _, value in (broken[0], broken[3], broken[4]))
    assert reconcile(lake).is_balanced


def test_a_file_names_whom_its_records_are_of_and_not_each_number_in_it(lake: Lake, keys: DataKeys) -> None:
    settings = load_settings()
    file = Path(settings.landing_root) / "done" / "events" / "sales.csv"
    file.parent.mkdir(parents=True)
    file.write_text("event_time,user_id,product_id,category,price,quantity,event_type,event_id\n"
                    "2026-03-01T10:00:00Z,257597,355908,toys,2.50,3,order_created,e1\n")
    for number in ("355908", "3", "2026"):
        assert erase_files(lake, settings, keys, number) == ErasedFiles((), (), ())
    file.write_text(file.read_text() + "17,355908\n")  # whose this is, nobody can say
    assert erase_files(lake, settings, keys, "355908") == ErasedFiles((), (), (str(file),))
    file.chmod(0)
    locked = erase_files(lake, settings, keys, "257597")
    assert locked.deleted == (str(file),) or (os.getuid() and locked.unread == (str(file),))


def test_no_digest_tells_whose_it_is(
    spark: "SparkSession", lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has the lake and tries all users' ids must find none: every digest of a record's text has a key."""
    records = [(b"bob", event(1, "bob", event_id=None), None), (b"bob", event(2, "bob", event_id="ab" * 32), None)]
    digests = []
    for name, is_on in (("clear", "false"), ("sealed", "true")):
        monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", is_on)
        other = Lake(str(tmp_path / name))
        create_tables(other, INGEST_TABLES, load_settings().shop)
        ingest_batch(to_records(spark, records, 0), Batch("query", 0, "origin", "events"), other, load_settings())
        rows = read_table(other, SILVER_EVENTS, ["event_id", "content_hash"]).to_pylist()
        digests.append({text for row in rows for text in row.values()})
    clear, sealed = digests
    assert len(clear) == len(sealed) == 4
    assert "ab" * 32 in clear
    assert find_words(tmp_path / "clear", clear)
    assert find_words(tmp_path / "sealed", clear) == {}


@pytest.mark.parametrize(("text", "user", "names"), [
    ("a bob b", "bob", True), ('{"u":"bob"}', "bob", True), ("bob.", "bob", True), ("bob", "bob", True),
    ("mary.ann@x.com", "ann@x.com", False), ("ann.smith", "ann", False), ("Zoë", "Zo", False),
    ("user-12", "user-1", False),
    ("x-bob", "bob", False), ("bob@x.com", "bob", False), ("(bob)", "bob", True), ("ann@x.com,", "ann@x.com", True),
    ("2 of them", "2", None), ("2", "2", True), ('{"user_id":"2"}', "2", True), ('{"user_id": 2,', "2", True),
    ('{"user_id":"2.5","n":2}', "2", None), ('{"user_id":"22"}', "2", False),
])
def test_a_name_is_a_word_of_its_own(text: str, user: str, names: bool | None) -> None:
    assert names_user(text.encode(), user) is names


STEPS = ("_collect_places", "_add_tombstones", "_find_lost_days", "_count_windows_again", "_delete", "_update",
         "purge_history", "_delete_orphans")


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_dies_is_ended_by_another(
    lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch, step: str,
) -> None:
    work, calls = getattr(erasure, step), []

    def die(*arguments: Any) -> Any:
        calls.append(step)
        work(*arguments)  # what it wrote stays
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, die)
        with pytest.raises(KeyboardInterrupt):
            erase_user(lake, keys, "bob", 10)
    assert calls
    again = erase_user(lake, keys, "bob", 10)
    assert again.event_days, "also those of the run that died"
    assert {row[0] for row in rows_of(lake, SILVER_ERASED, ("offset",))} == OF_BOB
    assert not [line for line in everything_opened(lake, keys).splitlines() if names_user(line, "bob")]
    assert reconcile(lake).is_balanced


def test_a_batch_that_broke_off_is_ended_first(
    spark: "SparkSession", lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "append_row_once", die)
        with pytest.raises(KeyboardInterrupt):
            take_in(spark, lake, 1)
    before = {table: rows_of(lake, table) for table in INGEST_TABLES}
    with pytest.raises(GateRefusedError, match="--drain"):
        erase_user(lake, keys, "bob", 10)
    assert {table: rows_of(lake, table) for table in INGEST_TABLES} == before
    take_in(spark, lake, 1)
    erase_user(lake, keys, "bob", 10)
    assert rows_of(lake, LEDGER, ("batch_id",)).total() == 2
    assert reconcile(lake).is_balanced


def test_with_other_keys_nothing_is_erased(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows_of(lake, SILVER_EVENTS)
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", lake.root)
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path / "elsewhere"))
    data_keys_module._open.cache_clear()
    strangers = open_data_keys(load_settings(), lake)
    assert strangers is not None
    with pytest.raises(ConfigError, match="made with another key"):
        erase_user(lake, strangers, "bob", 10)
    monkeypatch.undo()
    assert rows_of(lake, SILVER_EVENTS) == before
    assert rows_of(lake, PRODUCT_REVENUE_5MIN)
