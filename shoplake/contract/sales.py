"""The tables of what was sold on each of the shop's days."""

from dataclasses import replace

from shoplake.contract.columns import AMOUNT, EVENT_DATE, PRODUCT_ID, RATE, Column
from shoplake.contract.events import PRICE_TYPE
from shoplake.contract.relations import Table

SALES_MEASURES = (
    Column("order_count", "BIGINT", "order_created events", privacy="public"),
    Column("units", "BIGINT", "Units ordered: the demand", privacy="public"),
    Column("gross_amount", AMOUNT, "Price x quantity of order_created", privacy="public"),
    Column("cancelled_units", "BIGINT", "Units of order_cancelled, booked on the cancellation's own day",
           privacy="public"),
    Column("cancelled_amount", AMOUNT, "Price x quantity of order_cancelled, positive", privacy="public"),
    Column("net_amount", AMOUNT, "gross_amount - cancelled_amount", privacy="public"),
)
INTEREST_MEASURES = (
    Column("view_count", "BIGINT", "product_viewed events", privacy="public"),
    Column("cart_count", "BIGINT", "add_to_cart events", privacy="public"),
)
DAILY_SALES = Table(
    "gold.daily_sales", "Sales and interest of each product on each day that it has an event",
    "event_date, product_id", ("event_date", "product_id"),
    (EVENT_DATE, PRODUCT_ID,
     Column("category", "STRING", "The product's last category of that day, by event_time, event_id", privacy="public"),
     *SALES_MEASURES, *INTEREST_MEASURES,
     # NULL also in the rows of an older lake, until their days are built again.
     Column("brand", "STRING", "The brand of the event that says the category; NULL where it says none", nullable=True,
            privacy="public"),
     Column("last_price", PRICE_TYPE, "The unit price of that event", nullable=True, privacy="public")),
    partition_by="event_date", cluster_by=("product_id", "category"), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
    readers=("ml/feature_engineering.py", "ml/train.py", "ml/inference.py", "ml/accuracy.py"),
)
CATEGORY_REVENUE = Table(
    "gold.category_revenue", "Sales of each category on each day, with growth over the same day a week before",
    "event_date, category", ("event_date", "category"),
    (EVENT_DATE, Column("category", "STRING", "The events' own category", privacy="public"), *SALES_MEASURES,
     Column("net_amount_week_before", AMOUNT, "net_amount seven days before", nullable=True, privacy="public"),
     Column("net_growth_week", RATE,
            "(net_amount - net_amount_week_before) / net_amount_week_before as NUMERIC, to 6 decimals; NULL unless "
            "that base is above 0", nullable=True, privacy="public")),
    partition_by="event_date", cluster_by=("category",), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)
CANCELLATIONS = Table(
    "gold.cancellations", "What was cancelled on each day, and the order line that it takes back",
    "cancellation: event_date, event_id", ("event_date", "event_id"),
    (EVENT_DATE,
     Column("event_id", "STRING", "The order_cancelled event's identity within its day", privacy="personal"),
     PRODUCT_ID,
     Column("category", "STRING", "The event's own category", privacy="public"),
     Column("cancelled_units", "BIGINT", "Units of it", privacy="public"),
     Column("cancelled_amount", AMOUNT, "Price x quantity of it, positive", privacy="public"),
     Column("order_date", "DATE", "The shop's day of the order line; NULL where none was found within 90 days",
            nullable=True, privacy="public"),
     Column("order_event_id", "STRING", "The order line's identity within order_date", nullable=True,
            privacy="personal"),
     Column("matched_by", "STRING", "order_id: the user's latest line of that order and product; user_id: of whatever "
            "order; NULL where none was found", nullable=True, privacy="public"),
     Column("days_after", "INT", "event_date - order_date in days", nullable=True, privacy="public")),
    partition_by="event_date", cluster_by=("product_id",), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)
_ORDER_MEASURES = (
    Column("order_count", "BIGINT",
           "Distinct orders: a user's order_id; lines without one are one order where user and moment are the same",
           privacy="public"),
    Column("line_count", "BIGINT", "order_created events: what gold.daily_sales counts as order_count",
           privacy="public"),
    *SALES_MEASURES[1:],
)
DAILY_SALES_SUMMARY = Table(
    "gold.daily_sales_summary", "What the shop sold on each day that it has an event, and how many came and bought",
    "event_date", ("event_date",),
    (EVENT_DATE, *_ORDER_MEASURES, *INTEREST_MEASURES,
     Column("event_count", "BIGINT", "Valid events of any type", privacy="public"),
     Column("late_count", "BIGINT", "Events marked late", privacy="public"),
     Column("visitor_count", "BIGINT", "Distinct users with an event", privacy="public"),
     Column("buyer_count", "BIGINT", "Distinct users with an order", privacy="public"),
     # NULL also in the rows of an older lake, until their days are built again.
     Column("average_order_amount", AMOUNT, "gross_amount / order_count; NULL without an order", nullable=True,
            privacy="public"),
     Column("peak_hour", "INT", "The hour of the shop's day, 0 to 23, with most order_created events; the first of "
            "equal ones; NULL without an order", nullable=True, privacy="public")),
    partition_by="event_date", served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)
CUSTOMER_DAILY_SALES = Table(
    "gold.customer_daily_sales", "What each user ordered and cancelled on each day that they did either",
    "event_date, user_id", ("event_date", "user_id"),
    (EVENT_DATE, Column("user_id", "STRING", "Who bought", privacy="personal"),
     Column("is_guest", "BOOLEAN", "All of it was bought without a customer account"),
     *(replace(column, privacy="internal") for column in _ORDER_MEASURES)),
    partition_by="event_date", cluster_by=("user_id",), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events", "ops.ledger"),
)
