"""A file of users through the shells: from the file or the landing folder to the dimension, segments and SQL."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from c2c_files import draw_user, write_users

from shoplake.contract.tables import FILES, USER_SEGMENTS, USERS_DIM
from shoplake.lake.arrow import read_table

FLAGS = ("--source", "c2c_users")


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    draw = random.Random(9)
    write_users(tmp_path / "users.csv", [*(draw_user(draw, number) for number in range(90)), "cut,off"])
    return tmp_path / "users.csv"


def test_one_command_brings_a_file_of_users_to_its_segments(
    shells: Any, users_file: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    shells.ok("utils/inspect_source.py", str(users_file), "--json")
    looked = json.loads(capsys.readouterr().out)
    assert (looked["source"], looked["by_reason"]) == ("c2c_users", {"json_valid": 1})

    shells.ok("spark/batch_processing.py", "--historical-csv", str(users_file), *FLAGS, "--json")

    report = json.loads(capsys.readouterr().out)
    assert {name: report["ingested"][name] for name in ("records", "silver", "rejected", "bad_lines")} == {
        "records": 91, "silver": 90, "rejected": 1, "bad_lines": 1}
    assert len(report["built"]["gold.user_segments"]) == 1
    shells.ok("sql/run_analytics.py", "--query", "user_segments", "--json")
    answer = json.loads(capsys.readouterr().out)
    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    assert sum(row["user_count"] for row in rows) == 90
    assert {row["segment"] for row in rows} >= {"champions"}
    shells.ok("spark/batch_processing.py", "--historical-csv", str(users_file), *FLAGS, "--json")
    again = json.loads(capsys.readouterr().out)
    assert (again["ingested"]["records"], again["built"]["gold.user_segments"]) == (0, [])
    shells.ok("utils/reconcile.py")


def test_users_go_past_kafka(
    shells: Any, users_file: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    assert shells.run("kafka/producer.py", "--replay", str(users_file), *FLAGS) == 2
    assert "spark-submit spark/batch_processing.py --historical-csv" in capfd.readouterr().err
    monkeypatch.setenv("SHOPLAKE_SOURCES__LANDING_SETTLE", "0")
    folder = data_dir / "landing" / "c2c_users"
    folder.mkdir(parents=True)
    users_file.rename(folder / "users.csv")
    shells.ok("utils/ingest_landing.py", "--json")
    assert [entry["route"] for entry in json.loads(capfd.readouterr().out)["ingested"]] == ["historical"]
    (row,) = read_table(shells.lake, FILES).to_pylist()
    assert (row["route"], row["record_count"], row["bad_line_count"]) == ("historical", 91, 1)
    assert read_table(shells.lake, USERS_DIM).num_rows == 90
    shells.ok("spark/batch_processing.py", "--table", USER_SEGMENTS.name)
    assert read_table(shells.lake, USER_SEGMENTS).num_rows == 90
