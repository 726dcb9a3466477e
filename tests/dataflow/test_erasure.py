"""One user of many is erased: nothing in any byte names them, and nothing of anybody else has changed."""

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c2c_files import draw_user, write_users
from lake_oracle import rows_of, told_events, told_users
from raw_records import find_words
from topic_records import read_topic

from shoplake.contract import tables
from shoplake.contract.tables import TABLES, Table
from shoplake.lake.arrow import table_exists

USERS = 1000
WINDOWS = (tables.PRODUCT_REVENUE_5MIN, tables.CATEGORY_REVENUE_1H)
# What only says which records lie where, and what was done; none of it tells of a user.
BOOKS = (tables.BRONZE_EVENTS, tables.SILVER_ERASED, tables.LEDGER, tables.AUDIT, tables.FILES, tables.BRONZE_USERS)


@pytest.fixture
def sent(pseudonyms: None, shells: Any, broker: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Take a topic with late, doubled and broken records into a lake; give what was sent."""
    for name, share in {"DUPLICATE": 0.05, "CONFLICT_SAME_TIME": 0.01, "CORRUPT": 0.03, "LATE": 0.03}.items():
        monkeypatch.setenv(f"SHOPLAKE_SIMULATION__{name}_SHARE", str(share))
    monkeypatch.setenv("SHOPLAKE_SIMULATION__USERS", str(USERS))
    shells.ok("kafka/producer.py", "--events", "6000", "--from", "2026-02-15", "--to", "2026-03-10", "--seed", "7")
    shells.ok("spark/streaming_pipeline.py", "--drain")
    return read_topic(broker, shells.topic)


def choose_user(sent: list[Any]) -> str:
    """Give the user with the most kinds of events and broken records."""
    kinds: dict[str, Counter[str]] = {}
    for record in sent:
        user = record.key.decode() if record.key else ""
        if re.fullmatch(r"user-\d+", user):
            found = re.search(rb'"event_type":"(\w+)"', record.value or b"")
            kinds.setdefault(user, Counter())[found.group(1).decode() if found else "broken"] += 1
    best = max(kinds, key=lambda user: (len(kinds[user]), kinds[user].total(), user))
    assert {"order_created", "order_cancelled", "product_viewed"} <= kinds[best].keys(), kinds[best]
    return best


def write_events(path: Path, user: str) -> None:
    """Write a file with three events of the user, three of somebody else, and a broken line that names the user."""
    lines = ["event_time,user_id,product_id,category,price,quantity,event_type,event_id,order_id"]
    for number, owner in enumerate([user, "user-other"] * 3):
        lines.append(f"2026-02-20T10:{number:02}:00Z,{owner},P1,c,2.50,1,order_created,{path.stem}-{owner}-{number},"
                     f"{path.stem}-order-{owner}")
    path.write_text("\n".join([*lines, f"{user},broken"]) + "\n")


def snapshot(shells: Any) -> dict[str, Counter[tuple[Any, ...]]]:
    return {table.name: rows_of(shells.lake, table) for table in TABLES if table_exists(shells.lake, table)}


def without(rows: Counter[tuple[Any, ...]], table: Table, is_gone: Callable[[dict[str, Any]], bool],
            ) -> Counter[tuple[Any, ...]]:
    return Counter({row: count for row, count in rows.items()
                    if not is_gone(dict(zip(table.column_names, row, strict=True)))})


def test_one_user_of_a_thousand_is_forgotten(
    shells: Any, sent: list[Any], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    user = choose_user(sent)
    file, users = tmp_path / "events.csv", tmp_path / "users.csv"
    write_events(file, user)
    draw = random.Random(3)
    write_users(users, [{**draw_user(draw, number), **({"identifierHash": user} if number == 5 else {})}
                        for number in range(60)])
    shells.ok("spark/batch_processing.py", "--historical-csv", str(file), "--source", "events")
    shells.ok("spark/batch_processing.py", "--historical-csv", str(users), "--source", "c2c_users")
    landed = [data_dir / "landing" / place for place in ("done/shop.csv", "rejected/shop.csv", "events/shop.csv")]
    for place in landed:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"someone,{user},something\n")
    before = snapshot(shells)
    shutil.copytree(data_dir / "lake", tmp_path / "backup")

    silver = tables.SILVER_EVENTS.column_names
    mine = [dict(zip(silver, row, strict=True)) for row in before["silver.events"]
            if dict(zip(silver, row, strict=True))["user_id"] == user]
    my_events = {(row["event_date"], row["event_id"]) for row in mine}
    words = {user, *(row["event_id"] for row in mine), *(str(row["order_id"]) for row in mine if row["order_id"]),
             *(str(row["session_id"]) for row in mine if row["session_id"])}
    pseudonym = next(name for name, owner in told_users(shells.lake).items() if owner == user)
    words.add(pseudonym)
    assert find_words(data_dir / "lake", words), "or nothing would be looked for"
    aside = data_dir / "lake" / "_repair" / "silver.events.20260301" / "00000000000000000007.json"
    aside.parent.mkdir(parents=True)
    aside.write_text(f'{{"add": {{"stats": "minValues: {pseudonym}"}}}}')
    assert before["silver.quarantine"]
    for table in ("gold.sessions", "gold.cancellations", "gold.customer_daily_sales", "silver.users_dim",
                  "gold.customer_metrics", "gold.customer_segments"):
        assert before[table], table

    receipt = tmp_path / "receipt.json"
    shells.ok("utils/erase_user.py", "--user", user, "--yes", "--receipt", str(receipt))

    # What was not taken in lies nowhere else: it is told, and left to the operator.
    assert find_words(data_dir, words).keys() == {str(place) for place in landed[1:]}
    assert json.loads(receipt.read_text())["receipt"]["left_files"] == sorted(map(str, landed[1:]), reverse=False)
    for place in landed[1:]:
        place.unlink()
    shells.ok("utils/reconcile.py")
    after = snapshot(shells)
    at = {row[:4] for row in map(tuple, after["silver.erased"])}
    for table in (table for table in TABLES if table.name in before and table not in (*BOOKS, *WINDOWS)):
        def is_gone(row: dict[str, Any], table: Table = table) -> bool:
            if table is tables.CANCELLATIONS:
                return (row["event_date"], row["event_id"]) in my_events
            if table in (tables.SILVER_DUPLICATES, tables.SILVER_QUARANTINE):
                return (row["origin"], row["topic"], row["partition"], row["offset"]) in at
            return bool(row.get("user_id") == user)
        expected = without(before[table.name], table, is_gone)
        assert after[table.name] == expected, table.name
    check_places(sent, user, at, before)
    check_windows(before, after, mine)
    assert rows_of(shells.lake, tables.BRONZE_EVENTS, ("origin", "partition", "offset")).total() == len(sent) + 7

    capsys.readouterr()
    shells.ok("utils/erase_user.py", "--user", user, "--check", str(receipt))
    assert shells.run("utils/erase_user.py", "--user", "user-other", "--check", str(receipt)) != 0
    assert shells.run("utils/erase_user.py", "--user", user, "--check", str(receipt), "--public-key", "ab" * 32) != 0
    capsys.readouterr()
    shells.ok("utils/erase_user.py", "--user", user, "--yes", "--json")
    again = json.loads(capsys.readouterr().out)["receipt"]
    assert (again["rows"], again["deleted_files"]) == ({}, [])
    assert snapshot_without_books(shells) == {name: rows for name, rows in after.items() if name != "ops.audit"}

    # What comes in again is not kept: the same file, and another with the user in it.
    shells.ok("spark/batch_processing.py", "--historical-csv", str(file), "--source", "events")
    write_events(tmp_path / "more.csv", user)
    shells.ok("spark/batch_processing.py", "--historical-csv", str(tmp_path / "more.csv"), "--source", "events")
    shells.ok("spark/batch_processing.py", "--historical-csv", str(users), "--source", "c2c_users")
    shells.ok("utils/reconcile.py")
    assert user not in {row[0] for table in ("silver.events", "silver.users_dim")
                        for row in rows_of(shells.lake, next(one for one in TABLES if one.name == table), ("user_id",))}
    left = find_words(data_dir / "lake", {pseudonym, user})
    assert left == {}, "the line that cannot be read names the user, and lies encrypted with the day's key"

    # An old copy of the lake comes back, with rows from before: erased again, it is as it was after the first time.
    shutil.rmtree(data_dir / "lake")
    shutil.copytree(tmp_path / "backup", data_dir / "lake")
    shells.ok("utils/verify_audit.py", "--set-aside", "an old copy of the lake came back")
    assert shells.run("utils/reconcile.py") == 3
    assert "erased_user_is_back" in capsys.readouterr().err
    shells.ok("utils/erase_user.py", "--user", user, "--yes")
    assert find_words(data_dir, words) == {}
    shells.ok("utils/reconcile.py")
    assert snapshot_without_books(shells) == {name: rows for name, rows in after.items() if name != "ops.audit"}


def snapshot_without_books(shells: Any) -> dict[str, Counter[tuple[Any, ...]]]:
    return {name: rows for name, rows in snapshot(shells).items() if name != "ops.audit"}


def check_places(
    sent: list[Any], user: str, at: set[tuple[Any, ...]], before: dict[str, Counter[tuple[Any, ...]]],
) -> None:
    """Every record of the topic that names the user, and no other, has a tombstone."""
    word = re.compile(rb"(?<![0-9A-Za-z_-])" + user.encode() + rb"(?![0-9A-Za-z_-])")
    named = {(record.partition, record.offset) for record in sent
             if word.search((record.key or b"") + b" " + (record.value or b""))}
    assert named
    topic = {(row[2], row[3]) for row in at if row[1] != "events"}
    assert topic == named
    assert len(at) - len(topic) == 4, "three events of the file and its broken line"
    assert before["silver.events"]


def check_windows(
    before: dict[str, Counter[tuple[Any, ...]]], after: dict[str, Counter[tuple[Any, ...]]], mine: list[dict[str, Any]],
) -> None:
    """What the live windows have lost is what the user bought; utils/reconcile.py compares each window."""
    lost_units = sum(row["quantity"] for row in mine if row["event_type"] == "order_created")
    assert lost_units
    for table in WINDOWS:
        units = table.column_names.index("units")
        assert (sum(row[units] * count for row, count in before[table.name].items())
                - sum(row[units] * count for row, count in after[table.name].items())) == lost_units


def test_nobody_is_erased_without_being_asked(
    pseudonyms: None, shells: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shells.run("utils/erase_user.py", "--user", "U1") != 0
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", "false")
    assert shells.run("utils/erase_user.py", "--user", "U1", "--yes") != 0
    assert "governance.pseudonyms is off" in capsys.readouterr().err


def test_a_person_gets_what_is_known_of_them(
    shells: Any, sent: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    user = choose_user(sent)
    file = tmp_path / "user.json"
    shells.ok("spark/batch_processing.py", "--table", "gold.cancellations")
    shells.ok("utils/export_user.py", "--user", user, "--to", str(file))
    assert file.stat().st_mode & 0o77 == 0
    found = json.loads(file.read_text())
    told = Counter(record["value"] for record in found["records"])
    expected = Counter()
    for record in sent:
        try:
            event = json.loads(record.value)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("user_id") == user:
            expected[record.value.decode()] += 1
    assert told == expected
    rows = rows_of(shells.lake, tables.SILVER_EVENTS, ("user_id", "event_id"))
    ids = told_events(shells.lake)
    assert Counter(ids.get(row["event_id"], row["event_id"]) for row in found["tables"]["silver.events"]) == Counter(
        event_id for owner, event_id in rows if owner == user)
    kinds = Counter(row["event_type"] for row in found["tables"]["silver.events"])
    assert len(found["tables"].get("gold.cancellations", [])) == kinds["order_cancelled"] > 0
    copies = rows_of(shells.lake, tables.SILVER_DUPLICATES, ("partition", "offset"))
    mine = {(record.partition, record.offset) for record in sent
            if record.value and f'"user_id":"{user}"' in record.value.decode("utf-8", "replace").replace(": ", ":")}
    assert len(found["tables"].get("silver.duplicates", [])) == sum((copies & Counter(mine)).values())
    assert shells.run("utils/export_user.py", "--user", user, "--to", str(file)) != 0
    assert "does not exist yet" in capsys.readouterr().err


def test_a_new_master_key_changes_no_row(
    shells: Any, sent: list[Any], data_dir: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    before, old = snapshot_without_books(shells), (data_dir / "keys" / "governance.key").read_text()
    pseudonyms = told_users(shells.lake)
    shells.ok("utils/rotate_keys.py")
    assert (data_dir / "keys" / "governance.key").read_text() != old
    assert snapshot_without_books(shells) == before
    assert told_users(shells.lake) == pseudonyms
    shells.ok("utils/verify_audit.py")
    shells.ok("utils/rebuild.py", "--from", "bronze")
    assert snapshot_without_books(shells)["silver.events"] == before["silver.events"]
    # What the old key showed of the log, the new log shows.
    (archive,) = (data_dir / "lake" / "_audit").iterdir()
    next(archive.glob("*.parquet")).unlink()
    assert shells.run("utils/verify_audit.py") != 0
    assert "is gone or not as it was" in capsys.readouterr().out
    assert shells.run("utils/rotate_keys.py") != 0
    assert "nothing was changed" in capsys.readouterr().err
