"""gcp/gcs_client.py against an emulator: list, upload, export."""

import json
import runpy
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shoplake.contract.tables import DAILY_SALES, Table
from shoplake.errors import StorageError
from shoplake.lake import export
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.buckets import download_file, find_object
from shoplake.settings import PROJECT_ROOT, load_settings

MAIN: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / "gcp" / "gcs_client.py"))["main"]
Capture = pytest.CaptureFixture[str]
Write = Callable[[Lake, Table, list[dict[str, Any]]], None]


@pytest.fixture
def lake(bucket: str) -> Lake:
    return locate_lake(load_settings())


def test_an_upload_is_listed_and_replaces_only_what_it_names(
    bucket: str, lake: Lake, tmp_path: Path, capsys: Capture,
) -> None:
    file, address = tmp_path / "day 1.csv", f"gs://{bucket}/landing/events/"
    file.write_bytes(b"1")
    for _ in range(2):  # the second finds the same bytes
        assert MAIN(["upload", str(file), address, "--json"]) == 0
        stored = json.loads(capsys.readouterr().out)
    assert (stored["address"], stored["byte_count"]) == (f"{address}day 1.csv", 1)
    file.write_bytes(b"22")
    assert MAIN(["upload", str(file), address]) == 1
    error = capsys.readouterr().err
    assert f"--replace {stored['generation']}" in error
    assert MAIN(["upload", str(file), address, "--replace", str(stored["generation"])]) == 0
    assert MAIN(["upload", str(file), f"{address}new.csv", "--replace", "7"]) == 1
    assert "there is nothing" in capsys.readouterr().err
    assert MAIN(["list", f"gs://{bucket}/landing/", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["objects"]
    assert [(one["address"], one["byte_count"]) for one in listed] == [(f"{address}day 1.csv", 2)]
    assert MAIN(["list"]) == 0
    assert f"0 objects under {lake.root}" in capsys.readouterr().out


def sales(day: date, product: str) -> dict[str, Any]:
    from decimal import Decimal

    numbers = {column.name: Decimal(1) if "amount" in column.name else 1 for column in DAILY_SALES.columns}
    return numbers | {"event_date": day, "product_id": product, "category": "toys", "brand": "b"}


def test_a_table_is_exported_whole_or_by_days(
    bucket: str, lake: Lake, tmp_path: Path, capsys: Capture, write_table: Write,
) -> None:
    days = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    write_table(lake, DAILY_SALES, [sales(day, "P1") for day in days])
    whole, address = tmp_path / "whole.parquet", f"gs://{bucket}/exports/two days.parquet"
    assert MAIN(["export", "gold.daily_sales", str(whole), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "table": "gold.daily_sales", "version": 0, "file": str(whole), "rows": 3}
    assert sorted(pq.read_table(whole)["event_date"].to_pylist()) == days
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["whole.parquet"]
    before = whole.read_bytes()
    assert MAIN(["export", "gold.daily_sales", str(whole)]) == 2
    assert "remove it, or name another file" in capsys.readouterr().err
    assert whole.read_bytes() == before
    assert MAIN(["export", "gold.daily_sales", str(tmp_path / "new folder" / "x.parquet")]) == 0
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["x.parquet"]
    assert MAIN(["export", "gold.daily_sales", address, "--from", "2024-02-29", "--to", "2024-03-01"]) == 0
    stored = find_object(lake, address)
    assert stored is not None
    assert download_file(lake, stored, tmp_path / "back.parquet")
    assert sorted(pq.read_table(tmp_path / "back.parquet")["event_date"].to_pylist()) == days[1:]
    assert MAIN(["export", "gold.daily_sales", address]) == 1
    assert "Nothing was changed" in capsys.readouterr().err


def test_a_table_is_exported_as_it_once_was(lake: Lake, tmp_path: Path, capsys: Capture, write_table: Write) -> None:
    write_table(lake, DAILY_SALES, [sales(date(2024, 2, 28), "P1")])
    between = datetime.now(UTC)
    write_table(lake, DAILY_SALES, [sales(date(2024, 2, 28), "P1"), sales(date(2024, 2, 29), "P1")])

    def export_rows(name: str, *flags: str) -> int:
        assert MAIN(["export", "gold.daily_sales", str(tmp_path / name), *flags]) == 0
        return int(pq.read_table(tmp_path / name).num_rows)

    assert export_rows("now.parquet") == 2
    assert export_rows("first.parquet", "--version", "0") == 1
    assert export_rows("then.parquet", "--at", between.isoformat()) == 1
    capsys.readouterr()
    for flags, said in ((("--version", "7"), "its log knows 0 ("),
                        (("--at", "2020-01-01T00:00:00Z"), "no such version"),
                        (("--at", "2020-01-01T00:00:00"), "has no offset")):
        assert MAIN(["export", "gold.daily_sales", str(tmp_path / "no.parquet"), *flags]) != 0
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no.parquet").exists()


def test_an_export_that_breaks_off_leaves_nothing_and_overwrites_nothing(
    lake: Lake, tmp_path: Path, capsys: Capture, write_table: Write, monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_table(lake, DAILY_SALES, [sales(date(2024, 2, 28), "P1")])
    folder, export_days = tmp_path / "exports", export.export_days
    target = folder / "x.parquet"

    def break_off(*arguments: Any) -> int:
        export_days(*arguments)
        raise StorageError("the disk is full")

    def come_first(*arguments: Any) -> int:
        target.write_bytes(b"another's")
        return export_days(*arguments)

    monkeypatch.setattr(export, "export_days", break_off)
    assert MAIN(["export", "gold.daily_sales", str(target)]) == 1
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(export, "export_days", come_first)
    assert MAIN(["export", "gold.daily_sales", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("x.parquet", b"another's")]


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["list", "s3://bucket/x"], 2, "gs://bucket/name"),
    (["list", "gs://no-such-bucket/x"], 2, "does not exist"),
    (["list", "gs://denied-to-all/x"], 2, "does not have storage.objects"),
    (["upload", "/no/such/file", "gs://b/x"], 2, "/no/such/file"),
    (["upload", __file__, "gs://bucket"], 2, "no object in it"),
    (["export", "gold.nothing", "x.parquet"], 2, "gold.nothing"),
    (["export", "ops.runs", "x.parquet", "--from", "2026-01-01", "--to", "2026-01-02"], 2, "not stored by days"),
    (["export", "gold.daily_sales", "x.parquet", "--from", "2026-01-02"], 2, "--from and --to go together"),
    (["export", "gold.daily_sales", "x.parquet"], 1, "does not exist yet"),
])
def test_a_mistake_is_one_message(
    arguments: list[str], code: int, message: str, lake: Lake, capsys: Capture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MAIN(arguments) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("x.parquet*"))


def test_a_local_lake_is_no_bucket(capsys: Capture) -> None:
    assert MAIN(["list"]) == 2
    assert "folder of this machine" in capsys.readouterr().err
