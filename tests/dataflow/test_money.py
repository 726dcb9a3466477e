"""Several currencies: an event counts at the rate of its shop day, an unknown one not at all; against plain Python."""

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shoplake.contract.tables import (
    DAILY_SALES,
    PRODUCT_REVENUE_5MIN,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.lake.arrow import read_table
from shoplake.streaming import ingest

HEADER = "event_time,user_id,product_id,category,price,quantity,event_type,event_id,currency"
SHOP = ZoneInfo("Europe/London")  # whose clocks go forward on 2026-03-29, where the days below lie
RATES = {
    ("USD", date(2026, 3, 26)): "0.79123", ("USD", date(2026, 3, 28)): "0.8", ("USD", date(2026, 3, 29)): "0.80505",
    ("EUR", date(2026, 3, 20)): "0.85",  # holds no more than a week: until the 26th
    ("JPY", date(2026, 3, 1)): "0.005", ("JPY", date(2026, 3, 28)): "0.0052345678",
    ("KWD", date(2026, 3, 29)): "2.4",
}
MAX_AGE = 7


def rate_of(currency: str, day: date) -> Decimal | None:
    """Give the rate by looking back day by day."""
    for age in range(MAX_AGE):
        if (currency, day - timedelta(days=age)) in RATES:
            return Decimal(RATES[currency, day - timedelta(days=age)])
    return None


def write_rates(path: Path, rates: dict[tuple[str, date], str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("currency,from_date,rate\n" + "".join(
        f"{currency},{day},{rate}\n" for (currency, day), rate in rates.items()))


def draw_events(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    start = datetime(2026, 3, 25, 22, tzinfo=UTC)
    return [{
        # Half of them within an hour of midnight, in which the shop's day is not everybody's.
        "event_time": start + timedelta(days=draw.randrange(6), hours=draw.choice((1, 1.5, draw.uniform(0, 23)))),
        "user_id": f"u{draw.randrange(9)}", "product_id": f"p{draw.randrange(4)}", "category": "c",
        # 0.0010 euros are 0.00085 pounds, which lie in the middle.
        "price": draw.choice((Decimal("0.0010"), Decimal("0"), Decimal(draw.randrange(10**7)) / 10**4)),
        "quantity": draw.randrange(1, 9), "event_type": draw.choice(("order_created", "order_cancelled")),
        "event_id": f"e{number}", "currency": draw.choice(("", "GBP", "USD", "EUR", "JPY", "KWD", "XXX", "usd")),
    } for number in range(count)]


def write_events(path: Path, events: list[dict[str, Any]]) -> None:
    path.write_text("\n".join([HEADER, *(",".join(
        str(event[name].isoformat() if name == "event_time" else event[name]) for name in HEADER.split(","))
        for event in events)]) + "\n")


def convert(event: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    """Give the price in pounds and the rate; no price where there is no rate, no rate where none is needed."""
    if event["currency"] in ("", "GBP"):
        return event["price"], None
    rate = rate_of(event["currency"], event["event_time"].astimezone(SHOP).date())
    return rate and (event["price"] * rate).quantize(Decimal("0.0001"), ROUND_HALF_UP), rate


@pytest.fixture
def rates_file(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOPLAKE_SHOP__RATES_FILE", "rates.csv")
    return data_dir / "rates.csv"


def ingest_file(shells: Any, path: Path) -> None:
    shells.ok("spark/batch_processing.py", "--historical-csv", str(path), "--ingest-only")


def check_windows(shells: Any) -> None:
    """Hold the live windows against silver's rows."""
    orders: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in read_table(shells.lake, SILVER_EVENTS).to_pylist():
        start = datetime.fromtimestamp(row["event_time"].timestamp() // 300 * 300, UTC)
        sign = 1 if row["event_type"] == "order_created" else -1
        orders[start, row["product_id"]] += sign * row["price"] * row["quantity"]
    seen = {(row["window_start"], row["product_id"]): row["net_amount"]
            for row in read_table(shells.lake, PRODUCT_REVENUE_5MIN).to_pylist()}
    assert seen == orders


def test_every_amount_is_in_the_shops_currency_by_the_rate_of_its_day(
    shells: Any, rates_file: Path, tmp_path: Path,
) -> None:
    write_rates(rates_file, RATES)
    events = draw_events(5, 600)
    write_events(tmp_path / "shop.csv", events)

    shells.ok("spark/batch_processing.py", "--historical-csv", str(tmp_path / "shop.csv"), "--table", DAILY_SALES.name)

    right = {event["event_id"]: (event, *convert(event)) for event in events}
    known = {event_id for event_id, (_, price, _) in right.items() if price is not None}
    assert {event["currency"] for event, price, _ in right.values() if price is None} == {
        "USD", "EUR", "JPY", "KWD", "XXX", "usd"}, "each is unknown on some day"
    assert {event["currency"] for event, price, _ in right.values() if price is not None} == {
        "", "GBP", "USD", "EUR", "JPY", "KWD"}
    rows = read_table(shells.lake, SILVER_EVENTS).to_pylist()
    assert {row["event_id"]: (row["price"], row["exchange_rate"], row["original_price"], row["currency"])
            for row in rows} == {
        event_id: (price, rate, event["price"] if rate else None, event["currency"] or "GBP")
        for event_id, (event, price, rate) in right.items() if event_id in known}
    rejected = read_table(shells.lake, SILVER_QUARANTINE).to_pylist()
    assert {row["event_id"] for row in rejected} == right.keys() - known
    assert {tuple(row["reasons"]) for row in rejected} == {("currency_supported",)}
    net: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for event, price, _ in right.values():
        if price is not None:
            sign = 1 if event["event_type"] == "order_created" else -1
            net[event["event_time"].astimezone(SHOP).date(), event["product_id"]] += sign * price * event["quantity"]
    assert {(row["event_date"], row["product_id"]): row["net_amount"]
            for row in read_table(shells.lake, DAILY_SALES).to_pylist()} == net
    check_windows(shells)


def test_the_rate_of_a_rejected_currency_comes_later_and_its_events_are_sent_again(
    shells: Any, rates_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    write_rates(rates_file, {key: rate for key, rate in RATES.items() if key[0] != "USD"})
    events = [event for event in draw_events(6, 200) if event["currency"] in ("USD", "GBP")]
    write_events(tmp_path / "shop.csv", events)
    ingest_file(shells, tmp_path / "shop.csv")
    assert read_table(shells.lake, SILVER_QUARANTINE).num_rows == sum(event["currency"] == "USD" for event in events)

    write_rates(rates_file, RATES)
    shells.ok("utils/replay_quarantine.py", "--reason", "currency_supported")
    shells.ok("spark/streaming_pipeline.py", "--drain")

    right = {event["event_id"]: convert(event)[0] for event in events}
    assert None in right.values(), "some are of a day that has no rate either now"
    assert {row["event_id"]: row["price"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist()} == {
        event_id: price for event_id, price in right.items() if price is not None}


def test_another_rate_makes_no_second_event_of_one_that_comes_again(
    shells: Any, rates_file: Path, tmp_path: Path,
) -> None:
    events = [{**event, "event_id": ""} for event in draw_events(7, 60) if event["currency"] == "USD"]
    write_rates(rates_file, RATES)
    write_events(tmp_path / "one.csv", events)
    write_events(tmp_path / "two.csv", events[::-1])
    for name in ("one", "two"):
        text = (tmp_path / f"{name}.csv").read_text().replace(",event_id,", ",order_id,")  # v1: without an identity
        (tmp_path / f"{name}.csv").write_text(text)
    ingest_file(shells, tmp_path / "one.csv")
    before = Counter(row["price"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist())

    write_rates(rates_file, {**RATES, ("USD", date(2026, 3, 26)): "0.9"})
    ingest_file(shells, tmp_path / "two.csv")

    assert Counter(row["price"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist()) == before
    assert read_table(shells.lake, SILVER_DUPLICATES).num_rows == len(events)
    assert read_table(shells.lake, SILVER_QUARANTINE).num_rows == 0


def break_off_after(write: str, shells: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a file in, and die after one of the writes of its batch."""
    original, passed = getattr(ingest, write), Counter[str]()

    def break_off(*args: Any) -> None:
        original(*args)
        passed[write] += 1
        if passed[write] == (2 if write == "append_once" else 1):  # silver is the second append
            raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(ingest, write, break_off)
        assert shells.run("spark/batch_processing.py", "--historical-csv", str(path), "--ingest-only")
    assert passed[write]


@pytest.mark.parametrize(("write", "then"), [
    ("append_once", "other rates"), ("replace_days_once", "other rates"), ("append_row_once", "other rates"),
    ("append_once", "no file"), ("append_once", "older rates count")])
def test_a_batch_that_broke_off_is_ended_at_the_rates_of_its_first_try(
    write: str, then: str, shells: Any, rates_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = draw_events(8, 200)
    write_rates(rates_file, RATES)
    write_events(tmp_path / "shop.csv", events)
    break_off_after(write, shells, tmp_path / "shop.csv", monkeypatch)

    if then == "other rates":
        write_rates(rates_file, {("USD", date(2026, 3, 20)): "7.5", ("XXX", date(2026, 3, 25)): "1"})
    elif then == "no file":
        monkeypatch.delenv("SHOPLAKE_SHOP__RATES_FILE")
    else:
        monkeypatch.setenv("SHOPLAKE_SHOP__RATE_MAX_AGE", "400")
    ingest_file(shells, tmp_path / "shop.csv")

    assert {row["event_id"]: row["price"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist()} == {
        event["event_id"]: convert(event)[0] for event in events if convert(event)[0] is not None}
    check_windows(shells)
    shells.ok("utils/reconcile.py")


def test_a_batch_that_began_without_rates_is_ended_without_and_a_rebuild_counts_by_them(
    shells: Any, rates_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = draw_events(11, 80)
    write_events(tmp_path / "shop.csv", events)
    with monkeypatch.context() as before:
        before.delenv("SHOPLAKE_SHOP__RATES_FILE")
        break_off_after("append_once", shells, tmp_path / "shop.csv", monkeypatch)
    write_rates(rates_file, RATES)
    ingest_file(shells, tmp_path / "shop.csv")
    assert {row["event_id"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist()} == {
        event["event_id"] for event in events if event["currency"] in ("", "GBP")}
    shells.ok("utils/reconcile.py")

    shells.ok("utils/rebuild.py", "--from", "bronze")
    assert {row["event_id"]: row["price"] for row in read_table(shells.lake, SILVER_EVENTS).to_pylist()} == {
        event["event_id"]: convert(event)[0] for event in events if convert(event)[0] is not None}
    check_windows(shells)
    shells.ok("utils/reconcile.py")


@pytest.mark.parametrize("content", [None, "currency,from_date,rate\nUSD,2026-03-01,-1\n"])
def test_without_its_rates_nothing_is_taken_in(
    content: str | None, shells: Any, rates_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    if content:
        rates_file.write_text(content)
    write_events(tmp_path / "shop.csv", draw_events(9, 20))
    assert shells.run("spark/batch_processing.py", "--historical-csv", str(tmp_path / "shop.csv")) == 2
    said = capsys.readouterr().err
    assert str(rates_file) in said
    assert ("shop.rates_file" if content is None else "in row 1 (USD, 2026-03-01, -1)") in said
    assert read_table(shells.lake, SILVER_EVENTS).num_rows == 0


def test_inspecting_a_file_judges_by_the_rates(
    shells: Any, rates_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    write_rates(rates_file, RATES)
    events = draw_events(10, 80)
    write_events(tmp_path / "shop.csv", events)
    shells.ok("utils/inspect_source.py", str(tmp_path / "shop.csv"), "--json")
    assert json.loads(capsys.readouterr().out)["rejected"] == sum(convert(event)[0] is None for event in events)
