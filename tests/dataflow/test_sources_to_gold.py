"""Public sets of files to gold by one command, against plain Python over the same lines."""

import gzip
import json
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shoplake.contract.tables import DAILY_SALES, SILVER_DUPLICATES, SILVER_EVENTS, SILVER_QUARANTINE

LONDON = ZoneInfo("Europe/London")
REES46 = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
OCTOBER, NOVEMBER = datetime(2019, 10, 1, tzinfo=UTC), datetime(2019, 11, 1, tzinfo=UTC)
SALES = ("event_date", "product_id", "category", "order_count", "units", "gross_amount", "view_count", "cart_count")


def rees46_lines(start: datetime, days: int, count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    moments = sorted(start + timedelta(seconds=draw.randrange(days * 86_400)) for _ in range(count))
    return [f"{moment:%Y-%m-%d %H:%M:%S} UTC,{draw.choice(('view', 'view', 'cart', 'purchase'))},{draw.randrange(9)},"
            f"2053,{'' if draw.random() < 0.3 else 'a.b'},{draw.choice(('', 'x'))},{draw.randrange(9999) / 100:.2f},"
            f"{draw.randrange(30)},s{draw.randrange(60)}" for moment in moments]


def expected_sales(lines: list[str]) -> Counter[tuple[Any, ...]]:
    """Sum the lines by the shop's day and product; each line counts once."""
    sums: dict[tuple[str, str], list[Any]] = {}
    last: dict[tuple[str, str], str] = {}
    for line in sorted(set(lines)):  # the time stands first; no product has two categories in one second here
        moment, kind, product, _, category, _, price, _, _ = line.split(",")
        local = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).astimezone(LONDON)
        key = local.date().isoformat(), product
        row = sums.setdefault(key, [0, 0, Decimal(0), 0, 0])
        last[key] = category or "uncategorised"
        if kind == "purchase":
            row[0], row[1], row[2] = row[0] + 1, row[1] + 1, row[2] + Decimal(price)
        row[3] += kind == "view"
        row[4] += kind == "cart"
    return Counter((day, product, last[day, product], orders, units, f"{gross:.4f}", views, carts)
                   for (day, product), (orders, units, gross, views, carts) in sums.items())


def load(shells: Any, capsys: pytest.CaptureFixture[str], folder: Path, source: str) -> dict[str, Any]:
    capsys.readouterr()
    shells.ok("spark/batch_processing.py", "--historical-csv", str(folder), "--source", source, "--json")
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_months_of_rees46_come_in_file_by_file_and_a_new_one_touches_its_own_days(
    shells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "months"
    folder.mkdir()
    october, november = rees46_lines(OCTOBER, 20, 600, 1), rees46_lines(NOVEMBER, 3, 150, 2)
    bad = "2019-10-05 10:00:00 UTC,view,cut off he"
    (folder / "2019-Oct.csv").write_text("\n".join([REES46, *october, october[7], bad]))
    (folder / "2019-Sep.csv.gz").write_bytes(gzip.compress(b"these,are\nother,columns\n"))

    assert shells.run("spark/batch_processing.py", "--historical-csv", str(folder), "--source", "rees46") == 1
    said = capsys.readouterr().err
    assert "2019-Sep.csv.gz is no file of a REES46 store's events: it lacks the column(s) event_time" in said
    assert "1 of 2 files" in said
    (folder / "2019-Sep.csv.gz").unlink()

    first = load(shells, capsys, folder, "rees46")
    assert first["ingested"]["records"] == 0, "the good file came in beside the bad one, and comes in once"
    assert shells.rows(DAILY_SALES, SALES) == expected_sales(october)
    assert shells.rows(SILVER_DUPLICATES, ["event_date"]).total() == 1
    assert shells.rows(SILVER_QUARANTINE, ["reasons"]) == Counter([(("json_valid",),)])

    (folder / "2019-Nov.csv").write_text("\n".join([REES46, *november]))
    second = load(shells, capsys, folder, "rees46")
    assert second["ingested"]["records"] == 150
    assert [Path(file["file"]).name for file in second["ingested"]["files"]] == ["2019-Nov.csv", "2019-Oct.csv"]
    assert set(second["built"]["gold.daily_sales"]) == {"2019-11-01", "2019-11-02", "2019-11-03"}
    assert shells.rows(DAILY_SALES, SALES) == expected_sales(october + november)
    assert load(shells, capsys, folder, "rees46")["built"]["gold.daily_sales"] == []


def test_a_set_of_retailrocket_becomes_gold_with_every_day_and_no_row_more(
    shells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    draw = random.Random(3)
    start = int(datetime(2015, 5, 3, tzinfo=UTC).timestamp() * 1000)
    properties = [f"{start + week * 7 * 86_400_000},{item},{name}" for week in range(5) for item in range(20)
                  for name in (f"categoryid,{week % 3}", f"790,n{item}.{week}00", "available,1")]
    draw.shuffle(properties)
    lines = [f"{start + draw.randrange(30 * 86_400_000)},{draw.randrange(50)},{kind},{draw.randrange(20)},"
             f"{number if kind == 'transaction' else ''}"
             for number, kind in enumerate(draw.choices(("view", "addtocart", "transaction"), (8, 2, 1), k=400))]
    for name, header, rows in (("events.csv", "timestamp,visitorid,event,itemid,transactionid", lines),
                               ("item_properties_part1.csv", "timestamp,itemid,property,value", properties[:150]),
                               ("item_properties_part2.csv", "timestamp,itemid,property,value", properties[100:]),
                               ("category_tree.csv", "categoryid,parentid", ["1,0"])):
        (folder / name).write_text("\n".join([header, *rows]) + "\n")

    loaded = load(shells, capsys, folder, "retailrocket")["ingested"]

    assert (loaded["records"], loaded["silver"], loaded["quarantine"]) == (400, 400, 0)
    right: Counter[tuple[str, str, Any, Decimal]] = Counter()
    for line in lines:
        moment, _, kind, item, _ = line.split(",")
        week = (int(moment) - start) // (7 * 86_400_000)
        day = datetime.fromtimestamp(int(moment) / 1000, UTC).astimezone(LONDON).date().isoformat()
        right[day, kind, str(week % 3), Decimal(f"{item}.{week}")] += 1
    kinds = {"product_viewed": "view", "add_to_cart": "addtocart", "order_created": "transaction"}
    seen = shells.rows(SILVER_EVENTS, ["event_date", "event_type", "category", "price"])
    assert Counter({(day, kinds[kind], category, Decimal(price)): count
                    for (day, kind, category, price), count in seen.items()}) == right
    orders = Counter(day for day, kind, *_ in right.elements() if kind == "transaction")
    daily = Counter[str]()
    for (day, count), times in shells.rows(DAILY_SALES, ["event_date", "order_count"]).items():
        daily[day] += count * times
    assert +daily == orders
    assert all(date.fromisoformat(day) >= date(2015, 5, 3) for day in daily)
