"""Files of users: every line is kept, the good ones of the newest file are the dimension, the others have a reason."""

import json
import random
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from c2c_files import COUNTS, HEADER, draw_user, write_users

from shoplake.batch.user_segments import build_user_segments, segment_users
from shoplake.contract.tables import BRONZE_USERS, USER_SEGMENTS, USERS_DIM
from shoplake.contract.users import USER_COUNTS, USER_FLAGS, USER_TEXTS
from shoplake.errors import SourceError
from shoplake.lake import users as lake_users
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table, read_table
from shoplake.lake.users import ingest_users
from shoplake.settings import load_settings
from shoplake.sources import open_source

DAY_1, DAY_2 = 1_772_445_600_000, 1_772_532_000_000  # 2026-03-02 and 03, 10:00 UTC
BAD = {
    "too few cells": ("1,user,France", ["json_valid"]),
    "no identity": ({"identifierHash": ""}, ["user_id_present"]),
    **{f"{name} {cell!r}": ({name: cell}, ["counts_valid"])
       for name in COUNTS for cell in ("", "-1", "1.5", "1e3", "９", "many")},
    **{f"a rate of {cell!r}": ({"productsPassRate": cell}, ["pass_rate_valid"])
       for cell in ("", "101", "100.5", "-3", "x")},
    **{f"a flag of {cell!r}": ({"hasIosApp": cell}, ["flags_valid"]) for cell in ("", "yes", "1")},
    "a country of three": ({"countryCode": "FRA"}, ["country_code_valid"]),
    "an endless title": ({"civilityTitle": "x" * 257}, ["text_bounded"]),
    "a bell": ({"country": "F\x07rance"}, ["text_clean"]),
    "many things": ({"countryCode": "F1", "seniority": "", "hasAnyApp": "perhaps"},
                    ["counts_valid", "flags_valid", "country_code_valid"]),
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def ingest(lake: Lake, path: Path, sha256: str, kept_at_ms: int = DAY_1) -> dict[str, int]:
    records = open_source(path, "c2c_users", load_settings())
    return ingest_users(records, "c2c_users", sha256, kept_at_ms, lake, None, 5)


def expect(cells: dict[str, str]) -> dict[str, Any]:
    """Read a good line by hand."""
    rate = Decimal(cells["productsPassRate"]).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    return {"user_id": cells["identifierHash"], "pass_rate": rate,
            **{name: cells[told] or None for name, (told, _) in USER_TEXTS.items()},
            **{name: int(cells[told]) for name, (told, _) in USER_COUNTS.items()},
            **{name: cells[told] == "True" for name, (told, _) in USER_FLAGS.items()}}


def users_of(lake: Lake) -> dict[str, dict[str, Any]]:
    rows = read_table(lake, USERS_DIM).to_pylist()
    assert len({row["user_id"] for row in rows}) == len(rows)
    return {row["user_id"]: {name: row[name] for name in row if name not in ("source", "as_of_date", "origin")}
            for row in rows}


def test_every_line_is_kept_and_every_bad_one_has_its_reasons(lake: Lake, tmp_path: Path) -> None:
    draw = random.Random(1)
    good = [draw_user(draw, number) for number in range(40)]
    bad = [line if isinstance(line, str) else {**draw_user(draw, 2), **line} for line, _ in BAD.values()]
    twice = {**good[3], "productsBought": "5"}
    lines = [*good, *bad]
    draw.shuffle(lines)
    lines.append(twice)
    write_users(tmp_path / "users.csv", lines)

    counts = ingest(lake, tmp_path / "users.csv", "a" * 64)

    assert counts == {"records": len(lines), "silver": len(good), "rejected": len(bad) + 1}
    rows = sorted(read_table(lake, BRONZE_USERS).to_pylist(), key=lambda row: row["offset"])
    reasons = dict(zip(map(id, bad), (reasons for _, reasons in BAD.values()), strict=True))
    for row, line in zip(rows, lines, strict=True):
        assert row["reasons"] == (["user_listed_once"] if line is twice else reasons.get(id(line), [])), line
        kept = row["value"].decode()
        assert kept == line if isinstance(line, str) else json.loads(kept) == {
            name: cell for name, cell in line.items() if cell}
    assert users_of(lake) == {cells["identifierHash"]: expect(cells) for cells in good}


def test_the_newest_file_tells_and_the_same_file_adds_nothing(lake: Lake, tmp_path: Path) -> None:
    draw = random.Random(2)
    users = [draw_user(draw, number) for number in range(12)]
    later = [{**cells, "productsBought": "77"} for cells in users[4:]] + [draw_user(draw, 1)]
    write_users(tmp_path / "one.csv", users)
    write_users(tmp_path / "two.csv", later)
    right = {cells["identifierHash"]: expect(cells) for cells in later}

    ingest(lake, tmp_path / "two.csv", "b" * 64, DAY_2)
    assert users_of(lake) == right
    assert ingest(lake, tmp_path / "one.csv", "a" * 64, DAY_1)["records"] == 12
    assert users_of(lake) == right, "the file that came last, and its run was the first"
    assert ingest(lake, tmp_path / "two.csv", "b" * 64, DAY_2) == {"records": 0, "silver": 0, "rejected": 0}
    assert users_of(lake) == right
    assert read_table(lake, BRONZE_USERS).num_rows == len(users) + len(later)


def test_a_file_without_a_good_line_takes_nobody_away(lake: Lake, tmp_path: Path) -> None:
    draw = random.Random(7)
    users = [draw_user(draw, number) for number in range(5)]
    write_users(tmp_path / "one.csv", users)
    write_users(tmp_path / "two.csv", [{**cells, "hasAnyApp": "1"} for cells in users])
    ingest(lake, tmp_path / "one.csv", "a" * 64, DAY_1)
    assert ingest(lake, tmp_path / "two.csv", "b" * 64, DAY_2) == {"records": 5, "silver": 0, "rejected": 5}
    assert users_of(lake) == {cells["identifierHash"]: expect(cells) for cells in users}
    version = open_table(lake, USERS_DIM).version()
    ingest(lake, tmp_path / "two.csv", "b" * 64, DAY_2)
    assert open_table(lake, USERS_DIM).version() == version, "the same file again writes nothing"


def test_a_run_that_died_between_its_tables_is_ended_by_the_next(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(3)
    write_users(tmp_path / "users.csv", [draw_user(draw, number) for number in range(5)])
    with monkeypatch.context() as broken:
        broken.setattr(lake_users, "_replace_users", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(lake, tmp_path / "users.csv", "a" * 64)
    ingest(lake, tmp_path / "users.csv", "a" * 64)
    assert len(users_of(lake)) == 5
    assert read_table(lake, BRONZE_USERS).num_rows == 5


def test_a_new_column_is_kept_and_a_missing_one_is_named(lake: Lake, tmp_path: Path) -> None:
    cells = draw_user(random.Random(4), 1)
    file = tmp_path / "users.csv"
    file.write_text(f"newColumn,{HEADER}\nwarm,{','.join(cells.values())}\n")
    ingest(lake, file, "a" * 64)
    assert json.loads(read_table(lake, BRONZE_USERS)["value"][0].as_py())["newColumn"] == "warm"
    assert users_of(lake) == {cells["identifierHash"]: expect(cells)}
    file.write_text(HEADER.replace(",seniority,", ",age,") + "\n" + ",".join(cells.values()) + "\n")
    with pytest.raises(SourceError, match=r"lacks the column.*seniority"):
        open_source(file, "c2c_users", load_settings())


def test_planted_groups_are_found_and_named_and_the_same_users_give_the_same_groups(
    lake: Lake, tmp_path: Path,
) -> None:
    draw = random.Random(5)
    users = [draw_user(draw, number) for number in range(240)]
    write_users(tmp_path / "users.csv", users)
    ingest(lake, tmp_path / "users.csv", "a" * 64)

    assert {day.isoformat() for day in build_user_segments(lake, 5, is_wanted=False)} == {"2026-03-02"}

    found = {row["user_id"]: row["segment"] for row in read_table(lake, USER_SEGMENTS).to_pylist()}
    kinds = [{found[cells["identifierHash"]] for cells in users[kind::3]} for kind in range(3)]
    assert kinds[2] == {"champions"}
    assert not any(kinds[one] & kinds[other] for one, other in ((0, 1), (0, 2), (1, 2)))
    assert build_user_segments(lake, 5, is_wanted=False) == set(), "nothing new"
    table = read_table(lake, USERS_DIM)
    assert segment_users(table.take(draw.sample(range(table.num_rows), table.num_rows))).equals(segment_users(table))


def test_few_users_have_no_group(lake: Lake, tmp_path: Path) -> None:
    assert build_user_segments(lake, 5, is_wanted=True) == set(), "no users"
    draw = random.Random(6)
    write_users(tmp_path / "users.csv", [draw_user(draw, number) for number in range(9)])
    ingest(lake, tmp_path / "users.csv", "a" * 64)
    build_user_segments(lake, 5, is_wanted=False)
    assert read_table(lake, USER_SEGMENTS)["segment"].to_pylist() == [None] * 9
