"""What lies in a lake with pseudonyms: ciphertext that Python opens too, pseudonyms, and no id in the clear."""

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from raw_records import clear_bytes, to_records

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    INGEST_TABLES,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.errors import ConfigError, StorageError
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import read_table
from shoplake.lake.data_keys import open_data_keys
from shoplake.lake.reconcile import reconcile
from shoplake.lake.sealed_files import keep_sealed, open_sealed
from shoplake.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2026, 1, 2)


def event(number: int, user: str, **changes: Any) -> bytes:
    return json.dumps({
        "event_time": "2026-01-02T03:04:05Z", "user_id": user, "product_id": "p", "category": "c", "price": "1.5",
        "quantity": 1, "event_type": "order_created", "event_id": f"e{number}", **changes}).encode()


# key, value, where it goes, whose key it has (None: the day's)
RECORDS = (
    (b"Zo\xc3\xab", event(1, "Zoë"), SILVER_EVENTS, "Zoë"),
    (None, event(2, "bob"), SILVER_EVENTS, "bob"),
    (b"carol", event(3, "bob"), SILVER_EVENTS, "bob"),  # the key names another one
    (b"", event(4, "bob"), SILVER_EVENTS, "bob"),
    (b"bob", event(2, "bob"), SILVER_DUPLICATES, "bob"),
    (b"carol", event(5, "carol", price="-1"), SILVER_QUARANTINE, "carol"),
    (b"bob", b'{"user_id": "bob", broken', SILVER_QUARANTINE, None),
    (b"bob", None, SILVER_QUARANTINE, None),
    (b"bob", event(6, ""), SILVER_QUARANTINE, None),
    (b"x", event(7, "b\x07b"), SILVER_QUARANTINE, None),
    (b"x", event(8, "y" * 257), SILVER_QUARANTINE, None),
    (b"x", b"\xff\xfe", SILVER_QUARANTINE, None),
)


@pytest.fixture
def settings(pseudonyms: None) -> Settings:
    return load_settings()


@pytest.fixture
def lake(spark: "SparkSession", settings: Settings) -> Lake:
    from shoplake.lake.delta import create_tables

    lake = locate_lake(settings)
    create_tables(lake, INGEST_TABLES, settings.shop)
    return lake


def ingest(spark: "SparkSession", lake: Lake, number: int) -> dict[str, Any]:
    from shoplake.streaming.ingest import Batch, ingest_batch

    batch = Batch("query", number, "origin", "events")
    records = [(key, value, [("trace", owner.encode()), ("replay_of", b"o/0/1")] if owner else None)
               for key, value, _, owner in RECORDS]
    return ingest_batch(to_records(spark, records, number * len(RECORDS)), batch, lake, load_settings())


def test_each_record_lies_encrypted_with_its_users_key(spark: "SparkSession", lake: Lake, settings: Settings) -> None:
    ingest(spark, lake, 0)
    keys = open_data_keys(settings, lake)
    assert keys is not None
    found = {row["offset"]: row for row in read_table(lake, BRONZE_EVENTS).to_pylist()}
    for offset, (key, value, _, owner) in enumerate(RECORDS):
        row = found[offset]
        name = row["data_key_id"]
        assert keys.owners([name])[name] == (owner or "\x00day 2026-01-02")
        cipher = AESGCM(keys.find([name])[name].key or b"")
        for part, sealed, clear in (("key", row["key"], key), ("value", row["value"], value)):
            place = f"origin/0/{offset}/{part}".encode()
            if clear is None:
                assert sealed is None
            elif sealed != b"" or clear is value:
                assert cipher.decrypt(sealed[:12], sealed[12:], place) == clear
            else:
                assert clear == (owner or "").encode(), "no bytes stand for the owner's id, and for nothing else"
    quarantine = {row["offset"]: (row["data_key_id"], row["key"], row["value"])
                  for row in read_table(lake, SILVER_QUARANTINE).to_pylist()}
    assert {name for name, _, _ in quarantine.values()} <= {row["data_key_id"] for row in found.values()}
    places = {table: set(read_table(lake, table, ["offset"])["offset"].to_pylist())
              for table in (SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE)}
    for table, offsets in places.items():
        assert offsets == {offset for offset, record in enumerate(RECORDS) if record[2] is table}
    users = {row["offset"]: row["user_id"] for row in read_table(lake, SILVER_EVENTS).to_pylist()}
    assert users == {offset: keys.pseudonym(record[3] or "") for offset, record in enumerate(RECORDS)
                     if record[2] is SILVER_EVENTS}
    for path in Path(lake.root).rglob("*"):
        if path.is_file():
            content = clear_bytes(path)
            assert not [user for user in (b"bob", b"carol", "Zoë".encode()) if user in content], path


def test_the_payloads_come_back_as_they_came_and_erased_ones_do_not(
    spark: "SparkSession", lake: Lake, settings: Settings,
) -> None:
    from shoplake.lake.delta import read_days
    from shoplake.streaming.seal import unseal

    ingest(spark, lake, 0)
    keys = open_data_keys(settings, lake)
    assert keys is not None

    def opened() -> dict[int, tuple[Any, Any, bool]]:
        rows = unseal(read_days(spark, lake, BRONZE_EVENTS, [DAY]), keys).toArrow().to_pylist()
        headers = {row["offset"]: row["headers"] and [tuple(one.values()) for one in row["headers"]] for row in rows}
        for offset, (*_, owner) in enumerate(RECORDS):
            erased = owner in gone
            assert headers[offset] == (None if owner is None else [("replay_of", b"o/0/1")] if erased else [
                ("trace", owner.encode()), ("replay_of", b"o/0/1")])
        return {row["offset"]: (row["key"], row["value"], row["is_erased"]) for row in rows}

    gone: set[str | None] = set()
    assert opened() == {offset: (record[0], record[1], False) for offset, record in enumerate(RECORDS)}
    keys.destroy("bob")
    gone.add("bob")
    assert opened() == {offset: (None, None, True) if record[3] == "bob" else (record[0], record[1], False)
                        for offset, record in enumerate(RECORDS)}
    with pytest.raises(ConfigError, match="pseudonyms is off"):
        unseal(read_days(spark, lake, BRONZE_EVENTS, [DAY]), None).collect()


def test_records_of_an_erased_user_leave_tombstones_only(
    spark: "SparkSession", lake: Lake, settings: Settings,
) -> None:
    keys = open_data_keys(settings, lake)
    assert keys is not None
    keys.destroy("bob")
    row = ingest(spark, lake, 0)
    assert (row["silver_count"], row["duplicate_count"], row["quarantine_count"], row["erased_count"]) == (1, 0, 7, 4)
    found = read_table(lake, SILVER_ERASED).to_pylist()
    assert {(one["offset"], one["place"]) for one in found} == {(offset, "erased") for offset in (1, 2, 3, 4)}
    payloads = read_table(lake, BRONZE_EVENTS, ["offset", "key", "value"]).to_pylist()
    assert all(one["key"] is one["value"] is None for one in payloads if one["offset"] in (1, 2, 3, 4))
    assert reconcile(lake).is_balanced


@pytest.mark.parametrize(("first", "second", "message"), [
    ("true", "false", "are pseudonyms, and governance.pseudonyms is off"),
    ("false", "true", "have their own ids, and governance.pseudonyms is on"),
])
def test_a_lake_has_pseudonyms_or_none_for_its_whole_life(
    spark: "SparkSession", lake: Lake, monkeypatch: pytest.MonkeyPatch, first: str, second: str, message: str,
) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", first)
    ingest(spark, lake, 0)
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", second)
    with pytest.raises(ConfigError, match=message):
        ingest(spark, lake, 1)
    assert read_table(lake, BRONZE_EVENTS).num_rows == len(RECORDS)


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_kept_file_opens_whole_or_not_at_all(settings: Settings, tmp_path: Path, size: int) -> None:
    lake, file = locate_lake(settings), tmp_path / "file"
    file.write_bytes(bytes(number % 251 for number in range(size)))
    keys = open_data_keys(settings, lake)
    assert keys is not None
    with keep_sealed(file, lake, "events", keys) as kept:
        assert kept.path.read_bytes() == file.read_bytes()
        sha256, when = kept.sha256, kept.kept_at_ms
    copy = Path(lake.kept_files("events")) / sha256
    with open_sealed(str(copy), sha256, lake, keys) as clear:
        assert clear.read_bytes() == file.read_bytes()
    with keep_sealed(file, lake, "events", keys) as kept:
        assert (kept.sha256, kept.kept_at_ms) == (sha256, when), "the copy that is there is left alone"
    sealed = copy.read_bytes()
    piece = 2**20 + 28
    for broken in (sealed[:-1], sealed + b"x", sealed[: (len(sealed) - 1) // piece * piece], sealed[piece:],
                   b"x" + sealed[1:], sealed + sealed):
        if broken != sealed:
            copy.write_bytes(broken)
            with pytest.raises(StorageError, match="not what was encrypted"), \
                    open_sealed(str(copy), sha256, lake, keys):
                pass
