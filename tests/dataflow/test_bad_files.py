"""Twenty-nine kinds of bad files and lines: each is set aside with its reason, and what is good beside it arrives."""

import gzip
import io
import json
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import FILES, SILVER_EVENTS, SILVER_QUARANTINE
from shoplake.lake.arrow import read_table
from shoplake.sources.records import MAX_LINE_BYTES, file_sha256

HEADER = "event_time,user_id,product_id,category,price,quantity,event_type,event_id,currency"
# A bad line by its kind, and the rules that name it.
BAD_LINES = {
    "too few cells": ("2026-03-01T10:00:00Z,u1,p1", ["json_valid"]),
    "too many cells": ("2026-03-01T10:00:00Z,u1,p1,c,1,1,order_created,x,,,,", ["json_valid"]),
    "an open quote": ('2026-03-01T10:00:00Z,"u1,p1,c,1,1,order_created,x,', ["json_valid"]),
    "no money": ("2026-03-01T10:00:00Z,u1,p1,c,ten,1,order_created,x1,", ["price_valid"]),
    "five decimals": ("2026-03-01T10:00:00Z,u1,p1,c,1.00001,1,order_created,x2,", ["price_valid"]),
    "a time without offset": ("2026-03-01 10:00:00,u1,p1,c,1,1,order_created,x3,", ["event_time_valid"]),
    "half a unit": ("2026-03-01T10:00:00Z,u1,p1,c,1,0.5,order_created,x4,", ["quantity_valid"]),
    "a return as an order": ("2026-03-01T10:00:00Z,u1,p1,c,1,-1,order_created,x5,", ["quantity_positive"]),
    "an unknown type": ("2026-03-01T10:00:00Z,u1,p1,c,1,1,ordered,x6,", ["event_type_known"]),
    "another currency": ("2026-03-01T10:00:00Z,u1,p1,c,1,1,order_created,x7,XXX", ["currency_supported"]),
    "nobody": ("2026-03-01T10:00:00Z,,p1,c,1,1,order_created,x8,", ["user_id_present"]),
    "a control character": ("2026-03-01T10:00:00Z,u\x071,p1,c,1,1,order_created,x9,", ["text_clean"]),
}


def good(event_id: str) -> str:
    return f"2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created,{event_id},"


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def pack(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def encrypted() -> bytes:
    """Give an archive whose member says that it is encrypted."""
    packed = bytearray(pack({"a.csv": HEADER}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = packed.index(mark) + place
        packed[start:start + 2] = struct.pack("<H", 1)
    return bytes(packed)


def test_a_bad_line_is_quarantined_by_its_number_and_its_neighbours_arrive(
    shells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "day.csv"
    lines = [HEADER]
    for number, (bad, _) in enumerate(BAD_LINES.values()):
        lines += [good(f"before-{number}"), bad]
    endless = "x" * (MAX_LINE_BYTES + 1)  # comes in two pieces
    put(path, "\n".join([*lines, endless, good("last"), good("cut off")[:30]]))

    shells.ok("spark/batch_processing.py", "--historical-csv", str(path), "--ingest-only", "--json")

    assert json.loads(capsys.readouterr().out)["ingested"]["silver"] == len(BAD_LINES) + 1
    assert set(read_table(shells.lake, SILVER_EVENTS)["event_id"].to_pylist()) == {
        "last", *(f"before-{number}" for number in range(len(BAD_LINES)))}
    set_aside = {row["offset"]: row for row in read_table(shells.lake, SILVER_QUARANTINE).to_pylist()}
    kinds = dict(zip(range(1, 2 * len(BAD_LINES), 2), BAD_LINES.values(), strict=True))
    first = 2 * len(BAD_LINES)
    whole = {first: endless[:MAX_LINE_BYTES], first + 1: "x", first + 3: good("cut off")[:30]}
    assert set(set_aside) == {*kinds, *whole}
    for number, row in set_aside.items():
        assert (row["origin"], row["topic"]) == (file_sha256(path), "events")
        text, reasons = (whole[number], ["json_valid"]) if number in whole else kinds[number]
        assert row["reasons"] == reasons, text
        if reasons == ["json_valid"]:
            assert row["value"].decode() == text, "as it stands in the file"
    # What may be sent again once it is mended is shown without sending anything.
    capsys.readouterr()
    shells.ok("utils/replay_quarantine.py", "--dry-run", "--json")
    assert str(len(set_aside)) in capsys.readouterr().out


def test_a_bad_file_is_set_aside_with_its_reason_and_the_good_one_arrives(
    shells: Any, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__LANDING_SETTLE", "0")
    folder = data_dir / "landing" / "events"
    table = f"{HEADER}\n{good('e1')}\n"
    damaged = bytearray(gzip.compress(table.encode() * 50, mtime=0))
    damaged[40] ^= 0xFF
    bad: dict[str, tuple[str | bytes, str]] = {
        "empty.csv": (b"", "is empty"),
        "header.csv": (HEADER + "\n", "a header but no record"),
        "columns.csv": ("a,b\n1,2\n", "it lacks the column"),
        "twice.csv": (f"{HEADER},price\n{good('e2')},1\n", "has a column twice"),
        "image.csv": (b"\x89PNG\r\n\x1a\n\x00\x00", "is no"),
        "nothing.csv": (f"{HEADER}\nnot one\ngood line\n", "can be read as a record"),
        "damaged.csv.gz": (bytes(damaged), "damaged gzip file"),
        "no.csv.gz": (table.replace("e1", "e3"), "is no gzip file"),
        "bomb.zip": (pack({"a.csv": HEADER.encode() + b"\n" + b" " * (80 << 20)}), "unpacks to more than"),
        "out.zip": (pack({"../../a.csv": table}), "leads out of its folder"),
        "locked.zip": (encrypted(), "is encrypted"),
        "book.zip": (pack({"[Content_Types].xml": "<Types/>", "xl/a.csv": table}), "is an Excel workbook"),
        "pictures.zip": (pack({"a.png": b"1"}), "holds no CSV file"),
        "broken.zip": (pack({"a.csv": table})[:60], "damaged ZIP archive"),
    }
    for name, (content, _) in bad.items():
        put(folder / name, content)
    put(tmp_path / "outside.csv", table.replace("e1", "secret"))
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    put(folder / "good.csv", table)

    shells.ok("utils/ingest_landing.py", "--json")

    report = json.loads(capfd.readouterr().out)
    assert [entry["file"] for entry in report["ingested"]] == ["events/good.csv"]
    assert {entry["file"] for entry in report["rejected"]} == {f"events/{name}" for name in (*bad, "link.csv")}
    rows = {row["file_name"]: row for row in read_table(shells.lake, FILES).to_pylist()}
    # A link is not followed, so there are no bytes to know it by.
    assert Counter(row["status"] for row in rows.values()) == {"ingested": 1, "rejected": len(bad)}
    aside = data_dir / "landing" / "rejected" / "events"
    assert "link" in (aside / "link.csv.reason.txt").read_text()
    for name, (content, said) in bad.items():
        assert said in rows[name]["reason"], name
        assert said in (aside / f"{name}.reason.txt").read_text()
        assert (aside / name).read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert not any("secret" in path.read_text(errors="replace") for path in aside.iterdir() if not path.is_symlink())
