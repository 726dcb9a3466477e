"""The tables of customers, as each day of the shop knew them."""

from shoplake.contract.columns import AMOUNT, RATE, Column
from shoplake.contract.relations import Table


def _expected(name: str, text: str) -> Column:
    return Column(name, "DOUBLE", f"{text}; NULL without an order, and where too few customers came again", True)


def _of_orders(name: str, kind: str, text: str) -> Column:
    return Column(name, kind, f"{text}; NULL without an order", nullable=True)


CUSTOMER_METRICS = Table(
    "gold.customer_metrics", "What is known of each customer at the end of a day: how lately, often and much, and what "
    "is to be expected",
    "as_of_date, user_id", ("as_of_date", "user_id"),
    (Column("as_of_date", "DATE", "The last complete shop day used; nothing later is"),
     Column("user_id", "STRING", "Who ordered or cancelled with an account", privacy="personal"),
     _of_orders("first_order_date", "DATE", "The shop's day of the first order"),
     _of_orders("last_order_date", "DATE", "The shop's day of the last order"),
     _of_orders("recency_days", "INT", "Days from the last order to as_of_date"),
     _of_orders("tenure_days", "INT", "Days from the first order to as_of_date"),
     Column("order_days", "BIGINT", "Days with an order: the purchases of the model below"),
     Column("order_count", "BIGINT", "Distinct orders, as of gold.customer_daily_sales"),
     Column("units", "BIGINT", "Units ordered"), Column("gross_amount", AMOUNT, "What was ordered"),
     Column("cancelled_amount", AMOUNT, "What was cancelled, positive"),
     Column("net_amount", AMOUNT, "gross_amount - cancelled_amount"),
     _of_orders("average_order_amount", AMOUNT, "gross_amount / order_count"),
     _of_orders("orders_per_30_days", RATE, "30 x order_count / (tenure_days + 1)"),
     _of_orders("recency_score", "INT", "5 is the fifth of customers who ordered last; equal customers share a score"),
     _of_orders("frequency_score", "INT", "5 is the fifth with most orders"),
     _of_orders("monetary_score", "INT", "5 is the fifth with the highest net_amount"),
     Column("session_count", "BIGINT", "Visits that do not look like a program's, as of gold.sessions"),
     Column("events_per_session", RATE, "Events a visit; NULL without one", nullable=True),
     Column("mean_session_seconds", RATE, "Length of a visit; NULL without one", nullable=True),
     _expected("churn_risk", "1 - the probability that the customer still orders at all (BG/NBD over order_days)"),
     _expected("expected_purchases_90d", "Days with an order to be expected in the next 90 days (BG/NBD)"),
     _expected("expected_purchase_amount", "Gross amount of such a day to be expected (Gamma-Gamma)"),
     _expected("predicted_amount_90d", "Their product: the customer's value of the next 90 days, not discounted")),
    partition_by="as_of_date", cluster_by=("user_id",), served=True,
    writer="spark/batch_processing.py", inputs=("gold.customer_daily_sales", "gold.sessions"),
)

# What a table of groups says of all of them.
GROUPS = (
    Column("segment_count", "INT", "How many groups there were; the number with the highest silhouette of 3 to 6",
           nullable=True),
    Column("silhouette", "DOUBLE", "How well the groups stand apart, from -1 to 1", nullable=True),
)
CUSTOMER_SEGMENTS = Table(
    "gold.customer_segments", "The group of alike customers that each one belonged to at the end of a day",
    "as_of_date, user_id", ("as_of_date", "user_id"),
    (Column("as_of_date", "DATE", "The day of gold.customer_metrics that it was made of"),
     Column("user_id", "STRING", "Who ordered or cancelled with an account", privacy="personal"),
     Column("segment", "STRING", "champions, loyal, promising, at_risk, hibernating or lost: K-means by recency_days, "
            "order_count and net_amount, named by where the group's centre is; NULL without an order, and where fewer "
            "than 50 customers have one", nullable=True),
     *GROUPS),
    partition_by="as_of_date", cluster_by=("segment", "user_id"), served=True,
    writer="spark/batch_processing.py", inputs=("gold.customer_metrics",),
)
