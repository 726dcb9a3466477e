"""The readers of public data sets and of packed files, against files made here, odd cases included."""

import gzip
import json
import random
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shoplake.errors import SourceError
from shoplake.settings import Settings, load_settings
from shoplake.sources import SourceReader, find_beside, find_files, look_at, open_source
from shoplake.sources.landing import inspect_file
from shoplake.sources.packed import MAX_EXPANSION

RETAIL_2 = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
REES46 = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
ROCKET = "timestamp,visitorid,event,itemid,transactionid"
PROPERTIES = "timestamp,itemid,property,value"
EVENTS = "event_time,user_id,product_id,category,price,quantity,event_type"
GOOD_EVENT = "2026-03-01T10:00:00Z,u1,p1,toys,2.50,3,order_created"
START = datetime(2015, 5, 10, 3, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def put(name: str, *lines: str, end: str = "\n") -> Path:
        path = tmp_path / name
        path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
        return path

    return put


def read(path: Path, source: str, settings: Settings) -> tuple[list[dict[str, Any]], SourceReader]:
    reader = open_source(path, source, settings)
    return [json.loads(record.value) for record in reader], reader


# Online Retail II


def test_the_days_that_both_sheets_of_online_retail_2_hold_are_told_once(put: Any, settings: Settings) -> None:
    first = "489434,85048,GLASS BALL,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom"
    both = "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
    end = "538171,22271,DOLL,2,2010-12-09 20:01:00,2.95,,Eire"
    last = "581587,22138,BAKING SET,3,2011-12-09 12:50:00,4.95,12680.0,France"
    path = put("retail.csv", RETAIL_2, first, both, both, end, both, both, end, last)
    events, _ = read(path, "online_retail_2", settings)
    ids = [event["event_id"] for event in events]
    assert ids[4:7] == ids[1:4], "the second sheet's lines are the first one's, each with its own number"
    assert len(set(ids)) == 5
    assert ids[1] != ids[2], "a line that one sheet holds twice is two sales"
    assert [event["user_id"] for event in events[:4]] == ["13085", "17850", "17850", "guest-538171"]
    assert events[0] == events[0] | {"event_time": "2009-12-01T07:45:00.000000Z", "price": "6.95", "quantity": "12",
                                     "source": "online_retail_2", "order_id": "489434", "currency": "GBP"}


def test_the_two_online_retails_are_not_taken_for_each_other(put: Any, settings: Settings) -> None:
    path = put("retail.csv", RETAIL_2, "489434,85048,BALL,12,2009-12-01 07:45:00,6.95,13085.0,UK")
    with pytest.raises(SourceError, match=r"no Online Retail file: it lacks the column\(s\) InvoiceNo, UnitPrice"):
        open_source(path, "online_retail", settings)
    assert look_at(path, settings).source == "online_retail_2"


# REES46


def test_a_click_of_rees46_becomes_an_event_of_one_unit(put: Any, settings: Settings) -> None:
    path = put(
        "2019-Oct.csv", REES46,
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
        "2019-10-01 00:00:01 UTC,purchase,1004856,2053013555631882655,electronics.phone,,130.76,543272936,8187d148",
        "2019-10-01 00:00:02 UTC,cart,1,2,a.b,c,0.00,3,s",
        "2019-10-01 00:00:02 UTC,remove_from_cart,1,2,a.b,c,-1.00,3,s", end="\r\n")
    events, reader = read(path, "rees46", settings)
    assert events[0] | {"event_id": ""} == {
        "event_time": "2019-10-01T00:00:00.000000Z", "user_id": "541312140", "product_id": "44600062",
        "category": "uncategorised", "price": "35.79", "quantity": "1", "event_type": "product_viewed", "event_id": "",
        "session_id": "72d76fde", "brand": "shiseido", "source": "rees46", "schema_version": 2}
    assert [event["event_type"] for event in events[1:]] == ["order_created", "add_to_cart", "remove_from_cart"]
    assert events[1]["category"] == "electronics.phone"
    assert "brand" not in events[1]
    assert "currency" not in events[1], "it is the shop's"
    assert reader.bad_lines == 0


def test_a_click_told_twice_is_one_and_a_time_of_another_form_goes_to_the_rules(put: Any, settings: Settings) -> None:
    line = "2019-10-01 00:00:00 UTC,view,1,2,a,b,1.00,3,s"
    path = put("a.csv", REES46, line, line, line.replace(",s", ",t"), "1569888000,view,1,2,a,b,1.00,3,s")
    events, _ = read(path, "rees46", settings)
    ids = [event["event_id"] for event in events]
    assert ids[0] == ids[1] != ids[2]
    assert events[3]["event_time"] == "1569888000"


def test_columns_in_another_order_are_found_and_a_new_one_travels_along(put: Any, settings: Settings) -> None:
    path = put("a.csv", "user_id,event_time,campaign,event_type,product_id,category_id,category_code,brand,price,"
                        "user_session",
               "7,2019-10-01 00:00:00 UTC,spring,view,1,2,a,b,1.00,s", "8,2019-10-01 00:00:00 UTC,,view,1,2,a,b,1.00,s")
    events, _ = read(path, "rees46", settings)
    assert [event["user_id"] for event in events] == ["7", "8"]
    assert events[0]["source.campaign"] == "spring"
    assert "source.campaign" not in events[1]
    assert look_at(path, settings).others == ("campaign",)


# RetailRocket


def rocket(put: Any, events: list[str], one: list[str], two: list[str]) -> Path:
    put("item_properties_part1.csv", PROPERTIES, *one)
    put("item_properties_part2.csv", PROPERTIES, *two)
    put("category_tree.csv", "categoryid,parentid", "1016,213", "809,")
    path: Path = put("events.csv", ROCKET, *events)
    return path


def test_an_event_takes_category_and_price_as_of_its_time(put: Any, settings: Settings) -> None:
    day = 86_400_000
    path = rocket(
        put,
        [f"{START_MS + at},257597,view,355908," for at in (-1, 0, day - 1, day, 9 * day)]
        + [f"{START_MS + day},599528,transaction,355908,4000", f"{START_MS + day},1,addtocart,999,"],
        [f"{START_MS},355908,categoryid,1016", f"{START_MS},355908,790,n552.000", f"{START_MS},355908,888,1285872"],
        [f"{START_MS + day},355908,790,n600.500", f"{START_MS + day},355908,categoryid,809",
         f"{START_MS + day},355908,790,n600.500"])
    events, reader = read(path, "retailrocket", settings)
    assert [(event["category"], event["price"]) for event in events] == [
        ("uncategorised", "0"), ("1016", "552.000"), ("1016", "552.000"), ("809", "600.500"), ("809", "600.500"),
        ("809", "600.500"), ("uncategorised", "0")]
    assert events[0]["event_time"] == "2015-05-10T02:59:59.999000Z", "milliseconds, not seconds"
    assert events[5] == events[5] | {"event_type": "order_created", "order_id": "4000", "quantity": "1"}
    assert events[6]["event_type"] == "add_to_cart"
    assert [warning for warning in reader.warnings() if "2 events lie before the first price" in warning]


def test_the_join_neither_adds_nor_loses_a_row_and_equals_a_plain_search(put: Any, settings: Settings) -> None:
    draw = random.Random(7)
    snapshots = [(START_MS + draw.randrange(50) * 1000, draw.randrange(20), draw.choice(("categoryid", "790", "6")))
                 for _ in range(900)]
    rows = [(at, item, name, f"n{draw.randrange(1000)}.{draw.randrange(1000):03}" if name == "790" else str(
        draw.randrange(9))) for at, item, name in snapshots]
    lines = [f"{START_MS + draw.randrange(-5, 60) * 1000},{number},view,{draw.randrange(25)}," for number in range(500)]
    as_text = [",".join(map(str, row)) for row in rows]
    events, _ = read(rocket(put, lines, as_text[:400], as_text[400:]), "retailrocket", settings)

    def newest(item: int, name: str, moment: int) -> str | None:
        told = {at: value for at, one, kind, value in rows if (one, kind) == (item, name) and at <= moment}
        return told[max(told)] if told else None

    assert len(events) == len(lines)
    for line, event in zip(lines, events, strict=True):
        moment, user, _, item, _ = line.split(",")
        assert event["user_id"] == user
        assert event["category"] == (newest(int(item), "categoryid", int(moment)) or "uncategorised")
        assert event["price"] == (newest(int(item), "790", int(moment)) or "n0")[1:]


def test_properties_that_say_nothing_are_counted(
    put: Any, settings: Settings, caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [f"{START_MS},2,790,cheap", f"{START_MS},2",
           "soon,2,categoryid,9", "soon,2,other,9", f"{START_MS},3,790,n1.5"]
    events, _ = read(rocket(put, [f"{START_MS},1,view,2,"], [*bad, f"{START_MS},2,categoryid,7"], []), "retailrocket",
                     settings)
    assert (events[0]["category"], events[0]["price"]) == ("7", "0")
    assert "2 price(s) of the item properties are no number and are passed over, the first: 'cheap'" in caplog.text
    assert re.search(r"2 row\(s\) of \S+part1.csv have other columns, or a time that is none", caplog.text)


@pytest.mark.parametrize("moment", ["1433221332", "1433221332.117", "", "soon", "14332213321170"])
def test_a_time_that_is_no_milliseconds_goes_to_the_rules_as_it_is(put: Any, settings: Settings, moment: str) -> None:
    events, _ = read(rocket(put, [f"{moment},1,view,2,"], [], []), "retailrocket", settings)
    assert events[0].get("event_time", "") == moment


def test_a_set_lacks_nothing_or_is_refused(put: Any, settings: Settings, tmp_path: Path) -> None:
    path = rocket(put, [f"{START_MS},1,view,2,"], [], [])
    assert [file.name for file in find_beside(path, "retailrocket")] == [
        "item_properties_part1.csv", "item_properties_part2.csv"]
    assert find_files(tmp_path, "retailrocket") == ([path], [])
    with pytest.raises(SourceError, match="one file of a set"):
        inspect_file(path, "retailrocket", settings)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv"):
            archive.write(tmp_path / name, f"ecommerce-dataset/{name}")
    assert read(tmp_path / "set.zip", "retailrocket", settings)[0] == read(path, "retailrocket", settings)[0]
    assert inspect_file(tmp_path / "set.zip", "retailrocket", settings).record_count == 1
    (tmp_path / "item_properties_part2.csv").unlink()
    with pytest.raises(SourceError, match=r"needs item_properties_part2.csv .* in the same folder"):
        open_source(path, "retailrocket", settings)


# Packed files


def pack(path: Path, packing: str) -> Path:
    content = path.read_bytes()
    packed = path.with_name(f"{path.name}.{packing}")
    if packing == "gz":
        packed.write_bytes(gzip.compress(content))
    elif packing == "zst":
        with pa.CompressedOutputStream(str(packed), "zstd") as stream:
            stream.write(content)
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
    return packed


@pytest.mark.parametrize("packing", ["gz", "zst", "zip"])
def test_a_packed_file_gives_the_same_records_also_without_its_suffix(
    put: Any, settings: Settings, packing: str,
) -> None:
    path = put("data.csv", EVENTS, *(GOOD_EVENT.replace("u1", f"ü{number}") for number in range(500)))
    packed = pack(path, packing)
    assert read(packed, "events", settings)[0] == read(path, "events", settings)[0]
    assert read(packed.rename(path.with_name("kept")), "events", settings)[0] == read(path, "events", settings)[0]


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_packed_file_that_is_cut_off_gives_what_it_holds_and_says_so(
    put: Any, settings: Settings, packing: str,
) -> None:
    draw = random.Random(1)
    path = put("data.csv", EVENTS, *(GOOD_EVENT.replace("u1", f"u{draw.random()}") for _ in range(50_000)))
    packed = pack(path, packing)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    events, reader = read_bad(packed, settings)
    assert 15_000 < len(events) < 35_000
    assert reader.is_truncated
    assert [warning for warning in reader.warnings() if "cut off" in warning]


def read_bad(path: Path, settings: Settings) -> tuple[list[bytes], SourceReader]:
    reader = open_source(path, "events", settings)
    return [record.value for record in reader], reader


def test_the_tables_of_an_archive_come_in_the_order_of_their_names(settings: Settings, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "months.zip", "w") as archive:
        archive.writestr("2019-Nov.csv", f"{EVENTS}\n{GOOD_EVENT.replace('u1', 'november')}\n")
        archive.writestr("2019-Dec.csv", f"{EVENTS}\n{GOOD_EVENT.replace('u1', 'december')}")
        archive.writestr("late/2019-Dec.csv", f"{EVENTS}\n{GOOD_EVENT.replace('u1', 'of the same name')}")
        archive.writestr("README.txt", "what this is")
    events, reader = read(tmp_path / "months.zip", "events", settings)
    assert [event["user_id"] for event in events] == ["december", "november", "of the same name"]
    assert reader.record_count == 3
    assert [warning for warning in reader.warnings() if "README.txt" in warning]


def test_bombs_and_ways_out_are_refused(settings: Settings, tmp_path: Path) -> None:
    zeros = b"0" * (200 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", zeros)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(zeros, 9))
    with pa.CompressedOutputStream(str(tmp_path / "bomb.csv.zst"), "zstd") as stream:
        stream.write(zeros)
    for name in ("bomb.zip", "bomb.csv.gz", "bomb.csv.zst"):
        with pytest.raises(SourceError, match=f"more than {MAX_EXPANSION} times its"):
            open_source(tmp_path / name, "events", settings)
    for name in ("../out.csv", "/etc/out.csv", "a/../../out.csv", "..\\out.csv", "C:\\out.csv"):
        with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
            archive.writestr(name, f"{EVENTS}\n{GOOD_EVENT}\n")
        with pytest.raises(SourceError, match="leads out of its folder"):
            open_source(tmp_path / "out.zip", "events", settings)
    assert not (tmp_path.parent / "out.csv").exists()


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.zip", b"PK\x03\x04 and no more", "damaged ZIP archive"),
    ("a.csv.zst", b"plain text\n", r"named \.zst but is no zstd file"),
    ("a.zip", b"plain text\n", r"named \.zip but is no zip file"),
    ("a.csv.gz", b"\x1f\x8b\x08\x00 broken and no more", "damaged gzip file"),
])
def test_a_damaged_packing_is_named(
    settings: Settings, tmp_path: Path, name: str, content: bytes, said: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=said):
        open_source(tmp_path / name, "events", settings)


def test_a_workbook_and_an_archive_without_tables_are_named(settings: Settings, tmp_path: Path) -> None:
    for member, said in (("[Content_Types].xml", "is an Excel workbook"), ("photo.jpg", "holds no CSV file of events")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(member, "x")
        with pytest.raises(SourceError, match=said):
            open_source(tmp_path / "a.zip", "online_retail_2", settings)


def test_a_folder_gives_its_files_by_name_and_no_link(put: Any, tmp_path: Path) -> None:
    for name in ("2019-NOV.CSV", "2019-Dec.csv.gz", "notes.txt", ".hidden.csv"):
        put(name, "x")
    tables, rest = find_files(tmp_path, "rees46")
    assert [path.name for path in tables] == ["2019-Dec.csv.gz", "2019-NOV.CSV"]
    assert [path.name for path in rest] == ["notes.txt"]
    (tmp_path / "away.csv").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="leads elsewhere"):
        find_files(tmp_path, "rees46")


def test_summer_days_do_not_move_utc_sources(put: Any, settings: Settings) -> None:
    moments = [datetime(2019, 10, 27, tzinfo=UTC) + timedelta(hours=hour) for hour in range(4)]
    path = put("a.csv", REES46, *(f"{moment:%Y-%m-%d %H:%M:%S} UTC,view,1,2,a,b,1.00,3,s" for moment in moments))
    events, _ = read(path, "rees46", settings)
    assert [datetime.fromisoformat(event["event_time"]) for event in events] == moments
