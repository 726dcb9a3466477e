"""The pages of customers, visits and products; none of them names a person."""

from datetime import datetime

from shoplake.contract.tables import (
    CONVERSION_FUNNEL,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    PRODUCT_PERFORMANCE,
    USER_SEGMENTS,
)
from shoplake.dashboards import charts
from shoplake.dashboards.blocks import Block, Graph, Notice, Page
from shoplake.dashboards.board import Answer, Board
from shoplake.dashboards.figures import list_table
from shoplake.dashboards.freshness import describe_gold

_ONE_DAY = Notice(
    "info", "Customers and products are looked at when a day is over: two days with events are needed.",
    "spark-submit spark/batch_processing.py")
_NO_SEGMENTS = Notice("info", "There are no groups of customers: fewer than 50 have ordered.")


def customers_page(board: Board, now: datetime) -> Page:
    """Show the groups of customers, and how lately and often they buy; and those of registered users, if there are."""
    notices, origin = describe_gold(board, now)
    users = _registered_users(board)
    if board.changed_at(DAILY_SALES.name) is None:
        return Page("Customers", origin, (*notices, *users))
    if board.changed_at(CUSTOMER_SEGMENTS.name) is None:
        return Page("Customers", origin, (*notices, _ONE_DAY, *users))
    segments, scores = board.ask("customer_segments"), board.ask("customer_rfm").rows
    day = segments.day("to_date")
    blocks: list[Block] = [*notices]
    if segments.rows.num_rows:
        blocks += [*_bars(f"Customers by segment, at the end of {day}", segments), list_table(
            "Segments", segments.rows, {
                "segment": "Segment", "customer_count": "Customers", "customer_share": "Share",
                "mean_recency_days": "Days since the last order", "mean_order_count": "Orders", "net_amount": "Net",
                "net_share": "Share of net"}, board.currency, bar="customer_count")]
    else:
        blocks.append(_NO_SEGMENTS)
    blocks.append(list_table("By recency and frequency: 5 is the fifth that bought last, and most often", scores, {
        "recency_score": "Recency", "frequency_score": "Frequency", "customer_count": "Customers",
        "order_count": "Orders", "net_amount": "Net", "likely_lost_count": "Likely lost"},
        board.currency, bar="customer_count", is_folded=True))
    return Page("Customers", origin, (*blocks, *users))


def _registered_users(board: Board) -> list[Block]:
    """Show the groups of a C2C store's users by their file, which knows no event."""
    if board.changed_at(USER_SEGMENTS.name) is None:
        return []
    groups = board.ask("user_segments")
    return [list_table(f"Registered users by segment, as their file of {groups.day('to_date')} tells", groups.rows, {
        "source": "Source", "segment": "Segment", "user_count": "Users", "user_share": "Share",
        "mean_days_since_login": "Days since the last login", "products_bought": "Bought", "products_sold": "Sold",
        "products_listed": "Listed", "users_with_app": "With the app"}, board.currency, bar="user_count")]


def funnel_page(board: Board, now: datetime) -> Page:
    """Show how many visits of four weeks looked, put into the cart and ordered, by category."""
    notices, origin = describe_gold(board, now)
    if board.changed_at(DAILY_SALES.name) is None or board.changed_at(CONVERSION_FUNNEL.name) is None:
        return Page("Funnel", origin, notices)
    steps = board.ask("conversion_funnel")
    span = f"visits that began from {steps.day('from_date')} to {steps.day('to_date')}"
    return Page("Funnel", origin, (*notices, *_bars(f"Looked at a category: {span}", steps), list_table(
        f"From look to order: {span}", steps.rows, {
            "category": "Category", "view_sessions": "Looked", "cart_sessions": "In the cart",
            "order_sessions": "Ordered", "cart_rate": "To cart", "order_rate": "Cart to order",
            "conversion_rate": "To order", "human_conversion_rate": "People only"},
        board.currency, bar="view_sessions")))


def products_page(board: Board, now: datetime, product: str | None = None) -> Page:
    """Show what products did in twelve weeks, and what goes with one: the best, if none is named."""
    notices, origin = describe_gold(board, now)
    if board.changed_at(DAILY_SALES.name) is None:
        return Page("Products", origin, notices)
    if board.changed_at(PRODUCT_PERFORMANCE.name) is None:
        return Page("Products", origin, (*notices, _ONE_DAY))
    best = board.ask("product_performance")
    whose = product or next(iter(best.rows["product_id"].to_pylist()), "all")
    together = board.ask("product_recommendations", product=whose).rows
    goes_with: Block = list_table(f"What goes with the product {whose}", together, {
        "rank": "Rank", "recommended_product_id": "Recommended", "method": "Because of",
        "basket_count": "Orders and visits with both"}, board.currency)
    if together.num_rows == 0:
        goes_with = Notice("info", f"Nothing is known of the product {whose} in the last 90 days.")
    return Page("Products", origin, (*notices, list_table(
        f"The best products of twelve weeks until {best.day('to_date')}", best.rows, {
            "net_rank": "Rank", "product_id": "Product", "category": "Category", "abc_class": "ABC",
            "xyz_class": "XYZ", "net_amount": "Net", "units": "Units", "view_count": "Looks", "cart_rate": "To cart",
            "order_rate": "To order"}, board.currency, bar="net_amount"), goes_with))


def product_choices(board: Board) -> list[str]:
    """Give the products that brought most, the best first."""
    return [str(name) for name in board.ask("product_performance", product_count="200").rows["product_id"].to_pylist()]


def _bars(title: str, answer: Answer) -> list[Block]:
    spec = charts.draw_answer(answer.rows)
    return [Graph(title, spec)] if spec else []
