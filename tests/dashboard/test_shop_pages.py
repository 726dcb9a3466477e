"""The pages of customers, visits and products: their figures, no person in them, and their states of missing data."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from shoplake.contract.tables import (
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    LEDGER,
    SILVER_QUARANTINE,
    USER_SEGMENTS,
    USERS_DIM,
)
from shoplake.dashboards.blocks import Graph, Listing, Notice, Page
from shoplake.dashboards.board import Board
from shoplake.dashboards.document import write_document
from shoplake.dashboards.shop_pages import customers_page, funnel_page, product_choices, products_page

FillLake = Callable[..., None]
PAGES = (customers_page, funnel_page, products_page)


def now() -> datetime:
    return datetime.now(UTC)


def listing_of(page: Page, start: str) -> Listing:
    return next(block for block in page.blocks if isinstance(block, Listing) and block.title.startswith(start))


def notices_of(page: Page) -> list[Notice]:
    return [block for block in page.blocks if isinstance(block, Notice)]


def test_segments_add_up_their_customers(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    page = customers_page(board, now())
    assert listing_of(page, "Segments").rows == (
        ("champions", "2", "66.7%", "2.00", "4.50", "£100.00", "80.0%"),
        ("lost", "1", "33.3%", "90.00", "1.00", "£25.00", "20.0%"))
    assert next(block for block in page.blocks if isinstance(block, Graph)).title.endswith("2026-03-08")
    scores = listing_of(page, "By recency")
    assert [row[:3] for row in scores.rows] == [("5", "5", "1"), ("5", "4", "1"), ("5", "1", "1")]


def test_registered_users_have_groups_of_their_own(fill_lake: FillLake, board: Board) -> None:
    fill_lake(USERS_DIM, USER_SEGMENTS)
    listing = listing_of(customers_page(board, now()), "Registered users")
    assert listing.title.endswith("2026-03-05 tells")
    assert listing.rows == (
        ("c2c_users", "champions", "2", "66.7%", "11.00", "42", "0", "0", "1"),
        ("c2c_users", "lost", "1", "33.3%", "11.00", "0", "0", "0", "0"))
    fill_lake(LEDGER, DAILY_SALES)
    assert listing_of(customers_page(board, now()), "Registered users") == listing
    fill_lake(CUSTOMER_METRICS)
    fill_lake(CUSTOMER_SEGMENTS)
    assert listing_of(customers_page(board, now()), "Registered users") == listing


def test_the_funnel_goes_from_look_to_order(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    rows = listing_of(funnel_page(board, now()), "From look to order").rows
    assert rows[0] == ("c", "100", "20", "10", "20.0%", "50.0%", "10.0%", "10.1%")
    assert rows[1][4:] == ("0.0%", "–", "0.0%", "0.0%")


def test_products_and_what_goes_with_one(fill_lake: FillLake, board: Board, hostile: str) -> None:
    fill_lake()
    page = products_page(board, now())
    best = listing_of(page, "The best products")
    assert [row[0] for row in best.rows] == ["1", "2"]
    assert best.rows[0][5:] == ("£100.00", "1", "4", "25.0%", "25.0%")
    assert best.rows[1][8:] == ("–", "–")
    assert listing_of(page, "What goes with the product a").rows == (("1", hostile, "together", "7"),)
    assert listing_of(products_page(board, now(), hostile), "What goes with").rows == (("1", "a", "category", "–"),)
    (notice,) = notices_of(products_page(board, now(), "no such"))
    assert notice.text == "Nothing is known of the product no such in the last 90 days."
    assert product_choices(board)[0] == "a"


def test_no_page_names_a_person(fill_lake: FillLake, board: Board) -> None:
    fill_lake()
    text = write_document("t", "o", [build(board, now()) for build in PAGES])
    assert "champions" in text
    assert not any(f"u{number}<" in text or f">u{number}" in text for number in (1, 2, 3))


@pytest.mark.parametrize("build", PAGES)
def test_missing_data_say_what_to_run(
    fill_lake: FillLake, board: Board, build: Callable[[Board, datetime], Page],
) -> None:
    (notice,) = notices_of(build(board, now()))
    assert "kafka/producer.py" in notice.command
    fill_lake(LEDGER, SILVER_QUARANTINE)
    (notice,) = notices_of(build(board, now()))
    assert notice.command == "spark-submit spark/batch_processing.py"


def test_one_day_has_no_customers_yet_and_few_have_no_segment(fill_lake: FillLake, board: Board) -> None:
    fill_lake(LEDGER, DAILY_SALES)
    assert "two days with events are needed" in notices_of(customers_page(board, now()))[0].text
    assert "two days with events are needed" in notices_of(products_page(board, now()))[0].text
    fill_lake(CUSTOMER_METRICS)
    fill_lake(CUSTOMER_SEGMENTS)
    assert not notices_of(customers_page(board, now()))
