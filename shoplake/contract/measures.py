"""What the measures of daily_sales and of the live windows mean, as aggregates over rows of silver.events.

SQL that Spark and DuckDB share. Amounts are summed exactly and cast once, at the end.
"""

from dataclasses import dataclass

from shoplake.contract.tables import AMOUNT, CATEGORY_REVENUE_1H, PRODUCT_REVENUE_5MIN, Table

_GROSS = "sum(CASE WHEN event_type = 'order_created' THEN price * quantity ELSE 0 END)"
_CANCELLED = "sum(CASE WHEN event_type = 'order_cancelled' THEN price * quantity ELSE 0 END)"


def count_events(event_type: str) -> str:
    """Give the aggregate that counts events of a type."""
    return f"sum(CAST(CASE WHEN event_type = '{event_type}' THEN 1 ELSE 0 END AS BIGINT))"


def _units(event_type: str) -> str:
    return f"sum(CAST(CASE WHEN event_type = '{event_type}' THEN quantity ELSE 0 END AS BIGINT))"


SALES_EVENT_TYPES = ("order_created", "order_cancelled")

SALES = {
    "order_count": count_events("order_created"),
    "units": _units("order_created"),
    "gross_amount": f"CAST({_GROSS} AS {AMOUNT})",
    "cancelled_units": _units("order_cancelled"),
    "cancelled_amount": f"CAST({_CANCELLED} AS {AMOUNT})",
    "net_amount": f"CAST({_GROSS} - {_CANCELLED} AS {AMOUNT})",
}
INTEREST = {
    "view_count": count_events("product_viewed"),
    "cart_count": count_events("add_to_cart"),
}


@dataclass(frozen=True)
class LiveWindow:
    """One live table: the length of its windows, which begin at midnight UTC, and what it groups by."""

    table: Table
    length: str
    group: str


LIVE_WINDOWS = (
    LiveWindow(PRODUCT_REVENUE_5MIN, "5 minutes", "product_id"),
    LiveWindow(CATEGORY_REVENUE_1H, "1 hour", "category"),
)
