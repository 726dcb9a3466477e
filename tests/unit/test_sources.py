"""The readers of outside files, against files made by hand and against the published facts of Online Retail."""

import csv
import gzip
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoplake.errors import ConfigError, SourceError
from shoplake.settings import PROJECT_ROOT, Settings, load_settings
from shoplake.sources import SourceReader, SourceRecord, file_sha256, open_source

RETAIL_FILE = PROJECT_ROOT.parent / "shared" / "data" / "online_retail.csv.gz"
RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
EVENT_HEADER = "event_time,user_id,product_id,category,price,quantity,event_type"
GOOD_EVENT = "2026-03-01T10:00:00.123456Z,u1,p1,toys,2.50,3,order_created"


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def read(tmp_path: Path, settings: Settings) -> Callable[..., tuple[list[SourceRecord], SourceReader]]:
    def read(
        content: bytes | str, source: str = "events", name: str = "data.csv",
    ) -> tuple[list[SourceRecord], SourceReader]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        reader = open_source(path, source, settings)
        return list(reader), reader

    return read


def values(records: list[SourceRecord]) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records]


def retail(*lines: str) -> str:
    return "\n".join((RETAIL_HEADER, *lines)) + "\n"


def test_an_invoice_line_becomes_an_event(read: Any) -> None:
    line = '536365,85123a ,"HEART, ""WHITE""",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'
    records, reader = read(retail(line), "online_retail")
    cells = ["536365", "85123a ", 'HEART, "WHITE"', "6", "2010-12-01 08:26:00", "2.55", "17850.0", "United Kingdom"]
    identity = hashlib.sha256("\x1f".join(["online_retail", *cells, "1"]).encode()).hexdigest()
    assert values(records) == [{
        "event_time": "2010-12-01T08:26:00.000000Z", "user_id": "17850", "product_id": "85123A",
        "category": "uncategorised", "price": "2.55", "quantity": "6", "event_type": "order_created",
        "event_id": identity, "order_id": "536365", "currency": "GBP", "is_guest": False, "source": "online_retail",
        "schema_version": 2,
    }]
    assert records[0].key == b"17850"
    assert records[0].timestamp_ms == int(datetime(2010, 12, 1, 8, 26, tzinfo=UTC).timestamp() * 1000)
    assert reader.bad_lines == 0


def test_cancellations_adjustments_debts_and_guests(read: Any) -> None:
    records, _ = read(retail(
        "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom",
        "536589,21777,,-10,2010-12-01 16:50:00,0.0,,United Kingdom",
        "A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,United Kingdom",
    ), "online_retail")
    events = values(records)
    assert [(event["event_type"], event["quantity"], event["price"]) for event in events] == [
        ("order_cancelled", "1", "27.5"), ("order_created", "-10", "0.0"), ("debt_adjusted", "1", "-11062.06")]
    assert [(event["user_id"], event["is_guest"]) for event in events] == [
        ("14527", False), ("guest-536589", True), ("guest-A563186", True)]
    assert [record.key for record in records] == [b"14527", b"guest-536589", b"guest-A563186"]


def test_equal_lines_are_events_of_their_own_and_always_the_same_ones(read: Any) -> None:
    line = "536381,71270,PHOTO CLIP LINE,1,2010-12-01 09:41:00,1.25,15311.0,United Kingdom"
    other = line.replace("71270", "71271")
    first = [event["event_id"] for event in values(read(retail(line, other, line, line), "online_retail")[0])]
    again = [event["event_id"] for event in values(read(retail(line, line, line, other), "online_retail")[0])]
    assert len(set(first)) == 4
    assert (first[0], first[2], first[3], first[1]) == tuple(again)


@pytest.mark.parametrize(("local", "utc"), [
    ("2011-06-01 12:00:00", "2011-06-01T11:00:00.000000Z"),
    ("6/1/2011 12:00", "2011-06-01T11:00:00.000000Z"),
    ("12/1/2010 8:26", "2010-12-01T08:26:00.000000Z"),
    ("2011-10-30 01:30:00", "2011-10-30T00:30:00.000000Z"),  # twice that night: the first
    ("2011-03-27 01:30:00", "2011-03-27T01:30:00.000000Z"),  # skipped that night
    ("30/13/2011 12:00", "30/13/2011 12:00"),  # no date: goes on as it is, to be rejected
    ("soon", "soon"),
])
def test_invoice_dates_are_london_time_in_both_forms(read: Any, local: str, utc: str) -> None:
    records, _ = read(retail(f"1,A,x,1,{local},1.0,1,UK"), "online_retail")
    assert values(records)[0]["event_time"] == utc


def test_the_published_encoding_line_ends_and_byte_order_mark(read: Any) -> None:
    line = "1,A,CAFÉ £5 BOX,1,12/1/2010 8:26,1.0,1,UK"
    text = f"{RETAIL_HEADER}\r\n{line}\r\n\r\n{line}"
    as_windows, reader = read(text.encode("cp1252"), "online_retail")
    as_utf8, _ = read(text.encode("utf-8-sig"), "online_retail")
    assert reader.bad_lines == 0
    assert [record.value for record in as_windows] == [record.value for record in as_utf8]
    assert len(as_utf8) == 2


def test_a_contract_file_gives_its_text_unchanged(read: Any) -> None:
    header = f"{EVENT_HEADER},event_id,brand,colour"
    records, _ = read(f'{header}\n{GOOD_EVENT},e1,,"red, ""dark"""\n')
    assert values(records) == [{
        "event_time": "2026-03-01T10:00:00.123456Z", "user_id": "u1", "product_id": "p1", "category": "toys",
        "price": "2.50", "quantity": "3", "event_type": "order_created", "event_id": "e1", "colour": 'red, "dark"'}]
    assert records[0] == SourceRecord(0, b"u1", records[0].value, 1772359200123)


def test_timestamps_follow_the_last_good_time_and_stay_between_1970_and_now(read: Any) -> None:
    times = ["soon", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00", "1969-01-01T00:00:00Z", "2126-01-01T00:00:00Z"]
    before = time.time_ns() // 1_000_000
    lines = [f"{moment},u,p,c,1,1,product_viewed" for moment in times]
    records, _ = read("\n".join([EVENT_HEADER, "broken", *lines, "broken"]))
    moment = 1772359200000
    *early, future, after = [record.timestamp_ms for record in records]
    assert early == [0, 0, moment, moment, 0]
    assert before <= future == after <= time.time_ns() // 1_000_000


def test_bad_lines_come_as_they_are_and_swallow_no_neighbour(read: Any) -> None:
    bad = [b"only,three,cells", b'2026-03-01T10:00:00Z,"u,p,c,1,1,product_viewed', b"\xff\xfe,u,p,c,1,1,product_viewed"]
    good = GOOD_EVENT.encode()
    records, reader = read(b"\n".join([EVENT_HEADER.encode(), good, bad[0], good, bad[1], good, bad[2], good]))
    assert [record.value for record in records[1::2]] == bad
    assert [record.offset for record in records] == list(range(7))
    assert [record.key for record in records] == [b"u1", None, b"u1", None, b"u1", None, b"u1"]
    assert reader.bad_lines == 3
    assert "3 lines" in next(reader.warnings())


def test_an_endless_line_comes_in_bounded_pieces(read: Any) -> None:
    records, reader = read(f"{EVENT_HEADER}\n{GOOD_EVENT}\n{'x' * 2_500_000}\n{GOOD_EVENT}\n")
    assert [len(record.value) for record in records[1:-1]] == [1_000_000, 1_000_000, 500_000]
    assert reader.bad_lines == 3


def test_a_cut_gzip_file_gives_its_good_rows_and_the_cut_line(read: Any) -> None:
    # Random text does not compress, so the cut falls into the middle of the rows.
    draws = random.Random(1)
    rows = [GOOD_EVENT.replace("u1", f"{draws.getrandbits(400):x}") for _ in range(2000)]
    plain = "\n".join([EVENT_HEADER, *rows]).encode()
    packed = gzip.compress(plain)
    records, reader = read(packed[:len(packed) // 2], name="data.csv.gz")
    given = b"\n".join([record.key or b"" for record in records])
    assert reader.is_truncated
    assert reader.bad_lines == 1
    assert 900 < len(records) < 1100
    assert plain.startswith(b"\n".join([EVENT_HEADER.encode(), *(row.encode() for row in rows[:len(records) - 1])]))
    assert rows[len(records) - 1].encode().startswith(records[-1].value)
    assert given.decode().split("\n")[:-1] == [row.split(",")[1] for row in rows[:len(records) - 1]]
    assert any("cut off" in warning for warning in reader.warnings())


def test_a_cut_plain_file_gives_its_good_rows_and_the_cut_line(read: Any) -> None:
    records, reader = read(f"{EVENT_HEADER}\n{GOOD_EVENT}\n{GOOD_EVENT[:30]}")
    assert (len(records), reader.bad_lines) == (2, 1)
    assert records[1].value == GOOD_EVENT[:30].encode()


def test_plain_and_gzip_give_the_same_records(read: Any) -> None:
    text = f"{EVENT_HEADER}\n{GOOD_EVENT}\nbad\n".encode()
    assert read(text)[0] == read(gzip.compress(text), name="data.csv.gz")[0] == read(gzip.compress(text))[0]


def test_parquet_gives_the_contracts_text(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "data.parquet"
    moment = datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
    pq.write_table(pa.table({
        "event_time": pa.array([moment], pa.timestamp("us", tz="UTC")), "user_id": ["u1"], "product_id": ["p1"],
        "category": ["toys"], "price": pa.array([Decimal("2.5000")], pa.decimal128(18, 4)), "quantity": [3],
        "event_type": ["order_created"], "brand": pa.array([None], pa.string()), "is_guest": [True],
    }), path)
    records = list(open_source(path, "events", settings))
    assert values(records) == [{
        "event_time": "2026-03-01T10:00:00.123456Z", "user_id": "u1", "product_id": "p1", "category": "toys",
        "price": "2.5000", "quantity": 3, "event_type": "order_created", "is_guest": True}]
    assert (records[0].key, records[0].timestamp_ms) == (b"u1", 1772359200123)


def test_parquet_prices_in_floats_keep_their_shortest_text(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "data.parquet"
    row = dict(zip(EVENT_HEADER.split(","), GOOD_EVENT.split(","), strict=True))
    pq.write_table(pa.Table.from_pylist([{**row, "price": 0.1}, {**row, "price": float("nan")}]), path)
    assert [event["price"] for event in values(list(open_source(path, "events", settings)))] == ["0.1", "nan"]


@pytest.mark.parametrize(("name", "content", "source", "message"), [
    ("absent.csv", None, "events", "No such file"),
    ("absent.parquet", None, "events", "No such file"),
    ("data.csv", b"", "events", "is empty"),
    ("data.csv", b"\n\n", "events", "is empty"),
    ("data.csv", b"a,b\n1,2\n", "events", "lacks the column"),
    ("data.csv", b"a,b\n1,2\n", "online_retail", "no Online Retail file"),
    ("data.csv", b"PAR1\x00\x01", "events", "no readable Parquet"),  # its first bytes say so, whatever its name
    ("data.csv", b"\x7fELF\x00\x01", "events", "no CSV header"),
    ("data.csv", f"{EVENT_HEADER},price\n".encode(), "events", "a column twice"),
    ("data.csv.gz", b"plain text", "events", "no gzip file"),
    ("data.csv.gz", gzip.compress(EVENT_HEADER.encode(), mtime=0)[:-8] + b"\x00" * 8, "events", "damaged gzip"),
    ("data.parquet", b"no parquet", "events", "no readable Parquet"),
    ("data.csv", b"", "nosuch", "there are events, online_retail"),
])
def test_a_wrong_file_is_refused_before_its_first_record(
    tmp_path: Path, settings: Settings, name: str, content: bytes | None, source: str, message: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path, source, settings)


def test_a_folder_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match="cannot read"):
        open_source(tmp_path, "events", settings)


@pytest.mark.parametrize(("content", "message"), [
    (f"{EVENT_HEADER}\n", "no record"), (f"{EVENT_HEADER}\nbad\nworse\n", "none of the 2 lines")])
def test_a_file_without_a_good_record_is_refused_at_its_end(read: Any, content: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(content)


def test_a_source_in_another_currency_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_SHOP__CURRENCY", "EUR")
    with pytest.raises(ConfigError, match="SHOPLAKE_SHOP__CURRENCY=GBP"):
        open_source(tmp_path / "data.csv", "online_retail", load_settings())
    monkeypatch.setenv("SHOPLAKE_SHOP__RATES_FILE", "rates.csv")
    with pytest.raises(SourceError, match="cannot read"):
        open_source(tmp_path / "data.csv", "online_retail", load_settings())


def test_file_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"abc" * 100_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(SourceError, match="cannot read"):
        file_sha256(tmp_path / "absent")


@pytest.mark.skipif(not RETAIL_FILE.exists(), reason="the Online Retail file is not beside the checkout")
def test_the_whole_online_retail_file(settings: Settings) -> None:
    """Amounts come straight from the file, by csv and Decimal, and from the events."""
    reader = open_source(RETAIL_FILE, "online_retail", settings)
    counts: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    ids = set()
    with gzip.open(RETAIL_FILE, "rt", newline="", encoding="utf-8") as file:
        for row, record in zip(csv.DictReader(file), reader, strict=True):
            event = json.loads(record.value)
            kind = {"C": "order_cancelled", "A": "debt_adjusted"}.get(row["InvoiceNo"][0], "order_created")
            quantity = int(event["quantity"])
            assert [event[name] for name in ("event_type", "price", "order_id")] == [
                kind, row["UnitPrice"], row["InvoiceNo"]]
            assert (quantity if kind != "order_cancelled" else -quantity) == int(row["Quantity"])
            counts[kind if quantity > 0 else "adjusted"] += 1
            if quantity > 0:
                amounts[kind] += Decimal(event["price"]) * quantity  # type: ignore[assignment]
                amounts[f"{kind}_units"] += quantity
            ids.add(event["event_id"])
    assert reader.record_count == len(ids) == 541_909
    assert reader.bad_lines == 0
    assert counts == {
        "order_created": 541_909 - 9_288 - 1_336 - 3, "order_cancelled": 9_288, "adjusted": 1_336, "debt_adjusted": 3}
    assert amounts["order_created"] == Decimal("10655622.484")
    assert amounts["order_created_units"] == 5_660_978
    assert amounts["order_cancelled"] == Decimal("896812.49")
