"""What pages are made of: numbers as texts, chart specifications, HTML, and answers to ad hoc queries."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest

from shoplake.dashboards.adhoc import MAX_LISTED, run_adhoc_query
from shoplake.dashboards.blocks import Block, Figure, Figures, Graph, Listing, Notice, Page
from shoplake.dashboards.charts import draw_answer, draw_days, draw_growth, draw_windows
from shoplake.dashboards.document import draw_svg, write_document
from shoplake.dashboards.figures import compare, list_table, write_age, write_amount
from shoplake.dashboards.html import write_block, write_origin, write_title
from shoplake.errors import QueryRefusedError, WarehouseError
from shoplake.settings import load_settings
from shoplake.warehouse import open_warehouse


@pytest.mark.parametrize(("amount", "currency", "text"), [
    ("0", "GBP", "£0.00"), ("-8.25", "GBP", "-£8.25"), ("1234567.5", "USD", "$1,234,567.50"),
    ("0.0001", "GBP", "£0.0001"), ("907.9660", "GBP", "£907.9660"), ("12", "CHF", "12.00 CHF"),
    ("-99999999999999999999.9999", "EUR", "-€99,999,999,999,999,999,999.9999"), ("100", "GBP", "£100.00"),
])
def test_money_is_exact(amount: str, currency: str, text: str) -> None:
    assert write_amount(Decimal(amount), currency) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (-5, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"),
    (86_400, "1 day"), (200_000, "2 days"),
])
def test_an_age_is_whole_and_rounded_down(seconds: float, text: str) -> None:
    assert write_age(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(("now", "before", "note", "trend"), [
    (Decimal(3), Decimal(2), "+50.0% on then", "up"), (1, 2, "-50.0% on then", "down"), (2, 2, "+0.0% on then", ""),
    (5, 0, "nothing to compare with in then", ""), (Decimal(1), Decimal(-1), "nothing to compare with in then", ""),
])
def test_a_change_needs_a_base_above_zero(now: Any, before: Any, note: str, trend: str) -> None:
    assert compare("Orders", "x", now, before, "then") == Figure("Orders", "x", note, trend)  # type: ignore[arg-type]


def test_a_column_of_money_has_one_number_of_decimals() -> None:
    table = pa.table({"net_amount": pa.array([Decimal("1.5"), Decimal("0.0001"), None], pa.decimal128(28, 4)),
                      "name": ["a", None, "c"], "net_growth": pa.array([Decimal("0.5"), None, None])})
    listing = list_table("t", table, {"name": "Name", "net_amount": "Net", "net_growth": "Growth"}, "GBP")
    assert listing.rows == (("a", "£1.5000", "+50.0%"), ("–", "£0.0001", "–"), ("c", "–", "–"))
    assert listing.numbers == {1, 2}


def test_bars_of_a_listing_are_shares_of_the_largest_and_never_negative() -> None:
    table = pa.table({"units": [4, 1, -2, None]})
    assert list_table("t", table, {"units": "Units"}, "GBP", bar="units").bar == (0, (1.0, 0.25, 0.0, 0.0))
    nothing = pa.table({"units": pa.array([], pa.int64())})
    assert list_table("t", nothing, {"units": "Units"}, "GBP", bar="units").bar == (0, ())


class Texts(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_blocks(text: str) -> tuple[Block, ...]:
    spec = draw_answer(pa.table({"name": [text, "b"], text: [2, 1]}))
    assert spec
    return (Notice("error", text, text), Figures((Figure(text, text, text),)), Graph(text, spec),
            Listing(text, (text,), ((text,),), frozenset(), (0, (1.0,)), is_folded=True))


def test_no_text_becomes_markup(hostile: str) -> None:
    for block in hostile_blocks(hostile):
        html = (write_title(block.title) + draw_svg(block)) if isinstance(block, Graph) else write_block(block)
        seen = Texts(html)
        assert not {"img", "script"} & set(seen.tags)
        assert "onerror" not in seen.attributes
        assert hostile in seen.texts or isinstance(block, Graph)
    assert "<img" not in write_origin(hostile)


def test_a_document_needs_nothing_but_itself(hostile: str) -> None:
    document = write_document(hostile, hostile, [Page(hostile, hostile, hostile_blocks(hostile))])
    seen = Texts(document)
    assert {"html", "style", "svg", "table", "details"} <= set(seen.tags)
    assert not {"script", "img", "link", "iframe", "object", "image"} & set(seen.tags)
    assert not {"src", "href", "xlink:href", "onerror", "onload"} & set(seen.attributes)
    assert "url(" not in document
    assert "default-src 'none'" in document
    assert "prefers-color-scheme: dark" in document
    assert "currentColor" in document[document.index("<svg"):]


def window(start: str, net: str) -> dict[str, Any]:
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return {"window_start": moment, "window_end": moment + timedelta(minutes=5), "net_amount": Decimal(net),
            "order_count": 1200}


def data_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    (values,) = spec["datasets"].values()
    return list(values)


def test_charts_are_drawn_in_utc_and_show_exact_money() -> None:
    spec = draw_windows(pa.Table.from_pylist([window("2026-03-10T23:55:00", "-0.0001")]), "GBP")
    assert data_of(spec) == [{
        "start": "2026-03-10T23:55:00Z", "end": "2026-03-11T00:00:00Z", "net": -0.0001,
        "Window": "2026-03-10 23:55 to 00:00 UTC", "Net revenue": "-£0.0001", "Orders": "1,200"}]
    assert spec["encoding"]["x"]["scale"] == {"type": "utc"}
    days = draw_days(pa.Table.from_pylist([
        {"event_date": date(2026, 3, day), "net_amount": Decimal(day), "order_count": 1} for day in (8, 9)
    ]), "GBP", date(2026, 3, 9))
    assert [(value["day"], value["is_open"]) for value in data_of(days)] == [
        ("2026-03-08T00:00:00Z", False), ("2026-03-09T00:00:00Z", True)]
    assert days["encoding"]["x"]["timeUnit"].startswith("utc")


def test_growth_leaves_out_what_has_no_base_and_sorts_the_rest() -> None:
    rows = [{"category": name, "net_growth": growth, "net_amount": Decimal(1), "net_amount_before": Decimal(1)}
            for name, growth in (("a", Decimal("-0.5")), ("b", None), ("c", Decimal("0.25")))]
    spec = draw_growth(pa.Table.from_pylist(rows), "GBP")
    assert [(value["Category"], value["Growth"]) for value in data_of(spec)] == [("a", "-50.0%"), ("c", "+25.0%")]
    assert spec["encoding"]["y"]["sort"] == ["c", "a"]


DAYS = [date(2026, 3, day) for day in (1, 2, 3)]


@pytest.mark.parametrize(("table", "mark"), [
    ({"day": DAYS, "units": [1, 2, None]}, "line"), ({"day": DAYS, "n": [1.0, 2.0, 3.0], "m": [1, 2, 3]}, "line"),
    ({"name": ["a", "b"], "units": [1, 2]}, "bar"), ({"name": ["a", "a"], "units": [1, 2]}, None),
    ({"day": [DAYS[0]] * 3, "units": [1, 2, 3]}, None), ({"name": ["a", "b"], "other": ["c", "d"]}, None),
    ({"name": ["a"], "units": [1]}, None), ({"name": ["a", None], "units": [1, 2]}, None),
    ({"units": [1, 2]}, None), ({"units": [1, 2], "name": ["a", "b"]}, None),
    ({"name": [str(n) for n in range(31)], "units": list(range(31))}, None),
    ({"name": ["a", "b"], "ratio": [float("inf"), 1.0]}, "bar"),
    ({"list": [[1, 2], [3]], "units": [1, 2]}, None), ({"pair": [{"a": 1}, {"a": 2}], "units": [1, 2]}, None),
    ({"name": ["a", "b"], "list": [[7], [8]], "pair": [{"a": 7}, {"a": 8}], "units": [1, 2]}, "bar"),
])
def test_an_answer_is_drawn_only_where_its_shape_says_how(table: dict[str, list[Any]], mark: str | None) -> None:
    spec = draw_answer(pa.table(table))
    assert (spec["mark"]["type"] if spec else None) == mark
    if spec:
        numbers = [value for name in table for value in table[name] if isinstance(value, int | float)]
        assert len(data_of(spec)) == len([number for number in numbers if abs(number) != float("inf")])


def test_an_adhoc_query_is_answered_exactly_and_bounded(fill_lake: Callable[..., None], hostile: str) -> None:
    fill_lake()
    with open_warehouse(load_settings("local")) as warehouse:
        answer = run_adhoc_query(
            warehouse, "SELECT product_id, SUM(net_amount) AS net FROM silver.product_revenue_5min "
            "WHERE window_date >= '2026-03-01' GROUP BY product_id ORDER BY net", 10, "GBP")
        graph, listing = answer.blocks
        assert isinstance(graph, Graph)
        assert isinstance(listing, Listing)
        assert listing.rows == ((hostile, "0.0001"), ("a", "1,040.5000"))
        assert answer.csv.splitlines()[0] == "product_id,net"
        many = run_adhoc_query(warehouse, "SELECT n FROM UNNEST(GENERATE_DATE_ARRAY('2000-01-01', '2026-01-01')) AS n",
                             1000, "GBP")
        (listing,) = many.blocks
        assert isinstance(listing, Listing)
        assert len(listing.rows) == MAX_LISTED
        assert listing.title == "The first 1,000 rows (warehouse.max_rows); shown are 200"
        assert len(many.csv.splitlines()) == 1001
        (lists,) = run_adhoc_query(warehouse, "SELECT [1, 2] AS a, 1 AS n UNION ALL SELECT [3], 2", 10, "GBP").blocks
        assert isinstance(lists, Listing)
        assert set(lists.rows) == {("[1, 2]", "1"), ("[3]", "2")}
        with pytest.raises(QueryRefusedError, match="2 columns named units"):
            run_adhoc_query(warehouse, "SELECT units, units FROM gold.daily_sales", 10, "GBP")
        with pytest.raises(QueryRefusedError, match="seen: DROP"):
            run_adhoc_query(warehouse, "DROP TABLE gold.daily_sales", 10, "GBP")
        with pytest.raises(WarehouseError, match="division by zero"):
            run_adhoc_query(warehouse, "SELECT 1 / (v - v) AS x FROM UNNEST([1]) AS v", 10, "GBP")
