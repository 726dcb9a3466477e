"""The tables of visits: what shoppers did from one coming to the next, and how far they went."""

from shoplake.contract.columns import AMOUNT, RATE, Column
from shoplake.contract.relations import Table

SESSIONS = Table(
    "gold.sessions", "Visits: what a user did under one session_id, or without one with less than 30 minutes between",
    "visit: session_date, session_key", ("session_date", "session_key"),
    (Column("session_date", "DATE", "The shop's day on which it began"),
     Column("session_key", "STRING", "event_id of its first event", privacy="personal"),
     Column("user_id", "STRING", "Whose it is", privacy="personal"),
     Column("session_id", "STRING", "The shop's own name of it; NULL where events say none", nullable=True,
            privacy="personal"),
     Column("is_guest", "BOOLEAN", "All of it was without a customer account"),
     Column("started_at", "TIMESTAMP", "Its first event, UTC"), Column("ended_at", "TIMESTAMP", "Its last event, UTC"),
     Column("duration_seconds", "BIGINT", "From the first event to the last, cut to whole seconds"),
     Column("event_count", "BIGINT", "Events, cancellations left out"),
     Column("view_count", "BIGINT", "product_viewed events"), Column("cart_count", "BIGINT", "add_to_cart events"),
     Column("remove_count", "BIGINT", "remove_from_cart events"),
     Column("order_count", "BIGINT", "Distinct orders, as of gold.customer_daily_sales"),
     Column("units", "BIGINT", "Units ordered"),
     Column("gross_amount", AMOUNT, "Price x quantity of what was ordered"),
     Column("product_count", "BIGINT", "Distinct products of its events"),
     Column("is_bot", "BOOLEAN", "It looks like a program's: at least 20 looks, no order, and less than 3 s between "
            "events in the mean, or pauses that deviate by less than a fifth of their mean, or at least 300 looks")),
    partition_by="session_date", cluster_by=("user_id",), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)


def _steps(prefix: str, text: str) -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}{step}_sessions", "BIGINT", f"{text} that {took}", privacy="public")
                 for step, took in (("view", "looked at a product of it, or went further"),
                                    ("cart", "put one into the cart, or went further"), ("order", "ordered one")))


CONVERSION_FUNNEL = Table(
    "gold.conversion_funnel", "How far the visits that began on a day went, with what is of one category and brand",
    "event_date, category, brand", ("event_date", "category", "brand"),
    (Column("event_date", "DATE", "The shop's day on which the visits began", privacy="public"),
     Column("category", "STRING", "The events' own category", privacy="public"),
     Column("brand", "STRING", "The events' own brand; unbranded where they say none", privacy="public"),
     *_steps("", "Visits"), *_steps("human_", "Visits that do not look like a program's,"),
     Column("view_users", "BIGINT", "Distinct users of view_sessions", privacy="public"),
     Column("cart_users", "BIGINT", "Distinct users of cart_sessions", privacy="public"),
     Column("order_users", "BIGINT", "Distinct users of order_sessions", privacy="public"),
     Column("remove_sessions", "BIGINT", "Visits that took one out of the cart", privacy="public"),
     Column("cart_rate", RATE, "cart_sessions / view_sessions; this and the rates below are NULL without a base",
            nullable=True, privacy="public"),
     Column("order_rate", RATE, "order_sessions / cart_sessions", nullable=True, privacy="public"),
     Column("conversion_rate", RATE, "order_sessions / view_sessions", nullable=True, privacy="public"),
     Column("human_conversion_rate", RATE, "human_order_sessions / human_view_sessions", nullable=True,
            privacy="public"),
     Column("view_drop_off", RATE, "1 - cart_rate", nullable=True, privacy="public"),
     Column("cart_drop_off", RATE, "1 - order_rate", nullable=True, privacy="public"),
     Column("median_seconds_to_order", "DOUBLE", "From a visit's first look to its first order, whole seconds; NULL "
            "where no visit has both in this order", nullable=True, privacy="public")),
    partition_by="event_date", cluster_by=("category", "brand"), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)
