"""The pages' numbers against plain Python over the rows written, and their states of missing and old data."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import (
    CATEGORY_REVENUE,
    DAILY_SALES,
    DEMAND_PREDICTIONS,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_QUARANTINE,
    Table,
)
from shoplake.dashboards.blocks import Figures, Graph, Listing, Notice, Page
from shoplake.dashboards.board import Board
from shoplake.dashboards.pages import (
    forecast_choices,
    forecast_page,
    live_page,
    quality_page,
    runs_page,
    sales_page,
)
from shoplake.lake.addresses import Lake
from shoplake.settings import load_settings
from shoplake.warehouse.duckdb import DuckDBWarehouse

Shop = dict[str, list[dict[str, Any]]]
FillLake = Callable[..., None]
WriteTable = Callable[[Lake, Table, list[dict[str, Any]]], None]
PAGES = (live_page, sales_page, forecast_page, quality_page, runs_page)


def now() -> datetime:
    return datetime.now(UTC)


def figures_of(page: Page) -> dict[str, str]:
    return {item.label: item.value for block in page.blocks if isinstance(block, Figures) for item in block.items}


def notices_of(page: Page) -> list[Notice]:
    return [block for block in page.blocks if isinstance(block, Notice)]


def listing_of(page: Page, start: str) -> Listing:
    return next(block for block in page.blocks if isinstance(block, Listing) and block.title.startswith(start))


def values_of(page: Page, start: str) -> list[dict[str, Any]]:
    graph = next(block for block in page.blocks if isinstance(block, Graph) and block.title.startswith(start))
    (values,) = graph.spec["datasets"].values()
    return list(values)


def money(amount: Decimal) -> str:
    return f"£{amount:,.2f}" if amount == round(amount, 2) else f"£{amount:,.4f}"


def test_live_figures_are_those_of_the_newest_hour_and_day(fill_lake: FillLake, board: Board, shop: Shop) -> None:
    fill_lake()
    page = live_page(board, now())
    rows = shop[PRODUCT_REVENUE_5MIN.name]
    until = max(row["window_end"] for row in rows)
    hour = [row for row in rows if row["window_start"] >= until - timedelta(hours=1)]
    day = [row for row in rows if row["window_date"] == max(other["window_date"] for other in rows)]
    assert 0 < len(hour) < len(day) < len(rows)
    assert figures_of(page) == {
        "Net revenue, latest hour": money(sum(row["net_amount"] for row in hour)),
        "Orders, latest hour": str(sum(row["order_count"] for row in hour)),
        "Net revenue, UTC day": money(sum(row["net_amount"] for row in day)),
        "Orders, UTC day": str(sum(row["order_count"] for row in day)),
    }
    figure = next(block for block in page.blocks if isinstance(block, Figures)).items[0]
    assert (figure.note, figure.trend) == ("-50.0% on the hour before", "down")  # 13.5001 against 27
    windows = values_of(page, "Net revenue in windows")
    assert [(value["start"], value["Net revenue"]) for value in windows] == [
        ("2026-03-10T10:55:00Z", "£27.00"), ("2026-03-10T11:00:00Z", "£3.00"), ("2026-03-10T11:55:00Z", "£10.5001"),
    ]


def test_hours_name_the_largest_categories_and_sum_up_the_others(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    hours = values_of(live_page(board, now()), "Net revenue by hour")
    assert {value["Category"]: value["Net revenue"] for value in hours} == {
        "h": "£8.00", "g": "£7.00", "f": "£6.00", "e": "£5.00", "d": "£4.00", "c": "£3.00", "all others": "£3.00"}
    order = sorted(hours, key=lambda value: value["place"])
    assert [value["Category"] for value in order] == ["h", "g", "f", "e", "d", "c", "all others"]
    assert {value["start"] for value in hours} == {"2026-03-10T11:00:00Z"}  # the day before is out of the 24 hours


def test_sales_figures_are_sums_of_the_days_chosen(fill_lake: FillLake, board: Board, shop: Shop) -> None:
    fill_lake()
    page = sales_page(board, now(), days=7)
    rows = shop[DAILY_SALES.name]
    assert figures_of(page) == {
        "Net revenue": money(sum(row["net_amount"] for row in rows)),
        "Orders": str(sum(row["order_count"] for row in rows)),
        "Units": str(sum(row["units"] for row in rows)),
        "Cancelled": money(sum(row["cancelled_amount"] for row in rows)),
    }
    top = listing_of(page, "Top products")
    assert [(row[1], row[4]) for row in top.rows][:2] == [("a", "10"), (shop[DAILY_SALES.name][2]["product_id"], "9")]
    assert top.bar == (4, (1.0, 0.9, 0.6))
    assert [value["Category"] for value in values_of(page, "Growth")] == ["c"]  # the other has no base
    assert values_of(page, "Growth")[0]["Growth"] == "+50.0%"
    one_day = sales_page(board, now(), days=1)
    assert figures_of(one_day)["Orders"] == "4"


def test_growth_says_when_the_days_before_are_not_all_there(
    fill_lake: FillLake, board: Board, shop: Shop, write_table: WriteTable, data_dir: Path,
) -> None:
    fill_lake()
    page = sales_page(board, now(), days=7)
    assert next(block for block in page.blocks if isinstance(block, Figures)).items[0].note == (
        "nothing to compare with in 0 of the 7 days before")
    net = sales_page(board, now(), days=1)
    figure = next(block for block in net.blocks if isinstance(block, Figures)).items[0]
    # 89.50 on the 9th, 34.50 on the 8th
    assert (figure.note, figure.trend) == ("+159.4% on the 1 days before", "up")
    old = {**shop[DAILY_SALES.name][0], "event_date": date(2026, 3, 2), "net_amount": Decimal(100)}
    write_table(Lake(str(data_dir / "lake")), DAILY_SALES, [*shop[DAILY_SALES.name], old])
    page = sales_page(board, now(), days=7)
    assert next(block for block in page.blocks if isinstance(block, Figures)).items[0].note == (
        "+43.8% on 1 of the 7 days before")


def test_a_day_that_is_not_over_says_so(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    before = sales_page(board, datetime(2026, 3, 9, 23, 59, tzinfo=UTC))
    after = sales_page(board, datetime(2026, 3, 10, 0, 0, tzinfo=UTC))
    assert [notice.text for notice in notices_of(before)] == ["2026-03-09 is not over: its figures are so far."]
    assert notices_of(after) == []
    assert [value["is_open"] for value in values_of(before, "Net revenue")] == [False, False, True]
    assert not any(value["is_open"] for value in values_of(after, "Net revenue"))


def newest_forecasts(rows: list[dict[str, Any]], is_wanted: Callable[[dict[str, Any]], bool]) -> dict[Any, float]:
    newest: dict[Any, dict[str, Any]] = {}
    for row in sorted(filter(is_wanted, rows), key=lambda row: row["as_of_date"]):
        newest[row["target_date"], row["product_id"], row["model"]] = row
    sums: dict[Any, float] = {}
    for (day, _, model), row in newest.items():
        sums[day, model] = sums.get((day, model), 0) + row["predicted_units"]
    return sums


@pytest.mark.parametrize(("scope", "name", "is_wanted"), [
    ("all", "all", lambda row: True),
    ("category", "c", lambda row: row["category"] == "c"),
    ("product", "a", lambda row: row["product_id"] == "a"),
])
def test_the_forecast_is_the_newest_of_each_day_beside_what_was_sold(
    fill_lake: FillLake, board: Board, shop: Shop, scope: str, name: str, is_wanted: Callable[[dict[str, Any]], bool],
) -> None:
    fill_lake()
    values = values_of(forecast_page(board, now(), scope, name), "Demand")
    seen = {(value["day"][:10], value["Series"]): value["units"] for value in values if value["units"]}
    expected = {(str(day), model): units
                for (day, model), units in newest_forecasts(shop[DEMAND_PREDICTIONS.name], is_wanted).items()}
    for row in filter(is_wanted, shop[DAILY_SALES.name]):
        key = str(row["event_date"]), "sold"
        expected[key] = expected.get(key, 0) + row["units"]
    assert seen == pytest.approx(expected)
    sold = [value for value in values if value["Series"] == "sold"]
    assert len(sold) == 42  # days without a sale are 0, not missing
    assert sold[-1]["day"] == "2026-03-09T00:00:00Z"


def test_bands_are_drawn_around_a_product_where_there_are_limits(
    fill_lake: FillLake, board: Board, shop: Shop, data_dir: Path, write_table: WriteTable,
) -> None:
    fill_lake()
    limits = {"lower_80": 1.0, "upper_80": 4.25, "lower_95": 0.0, "upper_95": 1200.0}
    rows = [row | (limits if row["target_date"] == date(2026, 3, 10) and row["model"] == "xgboost" else {})
            for row in shop[DEMAND_PREDICTIONS.name]]
    write_table(Lake(str(data_dir / "lake")), DEMAND_PREDICTIONS, rows)
    page = forecast_page(board, now(), "product", "a")
    (graph,) = (block for block in page.blocks if isinstance(block, Graph))
    banded = [value for value in values_of(page, "Demand") if value["lower_80"] is not None]
    assert [(value["day"], value["Series"]) for value in banded] == [("2026-03-10T00:00:00Z", "xgboost")]
    assert limits.items() <= banded[0].items()
    assert (banded[0]["80% band"], banded[0]["95% band"]) == ("1.0 to 4.2", "0.0 to 1,200.0")
    models = next(param["value"] for param in graph.spec["params"] if param["name"] == "models")
    assert models == ["xgboost", "seasonal_naive"]
    bands = [(place, level) for place in range(len(models)) for level in (95, 80)]
    for (place, level), layer in zip(bands, graph.spec["layer"], strict=False):
        # NULL limits draw nothing; a model's name is no part of an expression.
        assert layer["transform"] == [
            {"filter": f"isValid(datum.lower_{level}) && datum.Series == models[{place}]"}]
        assert (layer["encoding"]["y"]["field"], layer["encoding"]["y2"]["field"]) == (
            f"lower_{level}", f"upper_{level}")
    shop_values = values_of(forecast_page(board, now()), "Demand")
    assert {value["lower_80"] for value in shop_values} == {None}, "products' limits do not add up to the shop's"


def test_accuracy_is_that_of_each_horizon(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    # A day ahead: a on the 8th 4.5 for 5 sold; on the 9th a 3.0 for 1, b 4.0 for 6. Three days ahead: a 90 for 1.
    wape, bias = (0.5 + 2 + 2) / 12, (4.5 + 3 + 4 - 12) / 12
    assert listing_of(forecast_page(board, now()), "Accuracy").rows == (
        ("xgboost", "1", "2", "11.50", "12.00", f"{wape:.2f}", f"{bias:.2f}"),
        ("xgboost", "3", "1", "90.00", "1.00", "89.00", "89.00"))


def test_choices_are_those_with_a_forecast_the_largest_first(fill_lake: FillLake, board: Board, hostile: str) -> None:
    fill_lake()
    assert forecast_choices(board, "category") == ["c", "d"]
    assert forecast_choices(board, "product") == ["a", "b", hostile]


def test_quality_sums_the_ledger_and_counts_reasons(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    page = quality_page(board, now())
    assert figures_of(page) == {
        "Records in": "120", "Silver": "110", "Duplicates": "4", "Quarantined": "6", "Late, kept": "2"}
    assert [row[:2] for row in listing_of(page, "Quarantined").rows] == [
        ("price_valid", "2"), ("conflicting_duplicate", "1"), ("quantity_valid", "1")]
    assert [(value["day"][:10], value["count"]) for value in values_of(page, "Rejections")] == [
        ("2026-03-09", 2), ("2026-03-10", 2)]
    assert listing_of(page, "Sources").rows == (("ecommerce_events", "stream", "2", "120", "110", "4", "6", "2"),)
    assert notices_of(page) == []


def test_a_ledger_that_does_not_balance_is_an_error(
    fill_lake: FillLake, board: Board, shop: Shop, write_table: WriteTable, data_dir: Path,
) -> None:
    rows = [{**row, "silver_count": row["silver_count"] + change}
            for row, change in zip(shop[LEDGER.name], (-1, 1), strict=True)]  # the sums alone would balance
    write_table(Lake(str(data_dir / "lake")), LEDGER, rows)
    page = quality_page(board, now())
    assert notices_of(page)[0].level == "error"
    assert "2 records" in notices_of(page)[0].text
    assert notices_of(page)[0].command == "python utils/reconcile.py"


def test_runs_and_tables_are_listed_with_their_age(fill_lake: FillLake, board: Board, hostile: str) -> None:
    fill_lake(LEDGER)
    assert notices_of(runs_page(board, now()))[0].command == "make demo"
    fill_lake()
    page = runs_page(board, now())
    assert [row[3] for row in listing_of(page, "Runs").rows] == [hostile, "scheduled__1"]
    changed = {row[0]: row[2] for row in listing_of(page, "Served").rows}
    assert changed["gold.daily_sales"].startswith(str(now().date()))
    assert changed["ops.files"] == "not built yet"


@pytest.mark.parametrize("build", PAGES[:-1])
def test_an_empty_lake_says_what_to_run(board: Board, build: Callable[[Board, datetime], Page]) -> None:
    page = build(board, now())
    (notice,) = page.blocks
    assert isinstance(notice, Notice)
    assert "kafka/producer.py" in notice.command
    assert "nothing yet" in page.origin


def test_events_without_gold_are_told_from_an_empty_lake(fill_lake: FillLake, board: Board) -> None:
    fill_lake(LEDGER, SILVER_QUARANTINE)
    for build in (sales_page, forecast_page):
        (notice,) = notices_of(build(board, now()))
        assert notice.command == "spark-submit spark/batch_processing.py"
    (notice,) = notices_of(live_page(board, now()))
    assert "no event in them is an order" in notice.text


def test_gold_without_a_forecast_still_shows_what_was_sold(fill_lake: FillLake, board: Board) -> None:
    fill_lake(LEDGER, DAILY_SALES, CATEGORY_REVENUE)
    page = forecast_page(board, now())
    (notice,) = notices_of(page)
    assert "ml/train.py" in notice.command
    assert {value["Series"] for value in values_of(page, "Demand")} == {"sold"}


def test_a_forecast_that_ends_before_today_is_told(
    fill_lake: FillLake, board: Board, shop: Shop, write_table: WriteTable, data_dir: Path,
) -> None:
    fill_lake(LEDGER, DAILY_SALES, CATEGORY_REVENUE)
    old = [row for row in shop[DEMAND_PREDICTIONS.name] if row["target_date"] <= date(2026, 3, 9)]
    write_table(Lake(str(data_dir / "lake")), DEMAND_PREDICTIONS, old)
    (notice,) = notices_of(forecast_page(board, now()))
    assert "beyond 2026-03-09" in notice.text
    (notice,) = notices_of(forecast_page(board, now(), "product", "unknown"))
    assert notice.text == "There is no forecast for the product unknown."


@pytest.mark.parametrize(("build", "table", "age"), [
    (live_page, LEDGER, timedelta(minutes=15)), (quality_page, LEDGER, timedelta(minutes=15)),
    (sales_page, DAILY_SALES, timedelta(hours=36)), (forecast_page, DAILY_SALES, timedelta(hours=36)),
])
def test_old_data_are_called_stale(
    fill_lake: FillLake, board: Board, build: Callable[[Board, datetime], Page], table: Table, age: timedelta,
) -> None:
    fill_lake()
    changed_at = board.changed_at(table.name)
    assert changed_at is not None
    fresh, stale = (build(board, changed_at + age + timedelta(seconds=more)) for more in (0, 1))
    assert not any(notice.text.startswith("Stale") for notice in notices_of(fresh))
    assert notices_of(stale)[0].text.startswith("Stale")
    assert notices_of(stale)[0].level == "warning"


def test_fresh_batches_with_events_of_the_past_are_no_stale_stream(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    (notice,) = notices_of(live_page(board, now()))
    assert notice.level == "info"
    assert "of the past" in notice.text


def test_a_new_version_is_seen_at_once_and_an_old_answer_is_not_asked_for_again(
    fill_lake: FillLake, shop: Shop, write_table: WriteTable, data_dir: Path,
) -> None:
    asked: list[str] = []

    class Counted(DuckDBWarehouse):
        def query(self, sql: str, *rest: Any) -> Any:
            asked.append(sql)
            return super().query(sql, *rest)

    fill_lake()
    lake = Lake(str(data_dir / "lake"))
    with Counted(lake, 60) as warehouse:
        board = Board(warehouse, load_settings("local"))
        live_page(board, now())
        first = len(asked)
        live_page(board, now())
        assert len(asked) == first > 0
        later = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
        row = shop[PRODUCT_REVENUE_5MIN.name][0]
        new = {**row, "window_start": later, "window_end": later + timedelta(minutes=5)}
        write_table(lake, PRODUCT_REVENUE_5MIN, [*shop[PRODUCT_REVENUE_5MIN.name], new])
        page = live_page(board, now())
        assert len(asked) > first
        assert values_of(page, "Net revenue in windows")[-1]["start"] == "2026-03-10T12:00:00Z"
