"""The tables of products: how they changed, what they did for the shop, and what goes with them."""

from shoplake.contract.columns import PRODUCT_ID, RATE, Column
from shoplake.contract.events import PRICE_TYPE
from shoplake.contract.relations import Table
from shoplake.contract.sales import INTEREST_MEASURES, SALES_MEASURES

_CATEGORY = Column("category", "STRING", "Its last category up to as_of_date", privacy="public")


def _public(name: str, kind: str, text: str, *, nullable: bool = False) -> Column:
    return Column(name, kind, text, nullable, "public")


PRODUCTS_DIM = Table(
    "silver.products_dim", "Each version of a product: its category, brand and price, and the days that it had them",
    "version of a product: product_id, valid_from", ("product_id", "valid_from"),
    (PRODUCT_ID, _public("valid_from", "DATE", "The shop's day of the first event that says so"),
     _public("valid_to", "DATE", "The day from which it was another; NULL for the newest version", nullable=True),
     _public("category", "STRING", "The category of its last event of a day"),
     _public("brand", "STRING", "The brand of that event; NULL where it says none", nullable=True),
     _public("price", PRICE_TYPE, "The unit price of that event; NULL in days that an older shoplake has built",
             nullable=True)),
    cluster_by=("product_id",), served=True, writer="spark/batch_processing.py", inputs=("gold.daily_sales",),
)
PRODUCT_PERFORMANCE = Table(
    "gold.product_performance", "What each product did for the shop in the twelve weeks up to a day",
    "as_of_date, product_id", ("as_of_date", "product_id"),
    (_public("as_of_date", "DATE", "The last complete shop day used; 84 days up to it are"), PRODUCT_ID, _CATEGORY,
     _public("brand", "STRING", "Its last brand; NULL where its events say none", nullable=True),
     *SALES_MEASURES, *INTEREST_MEASURES,
     _public("cart_rate", RATE, "cart_count / view_count; NULL without a look", nullable=True),
     _public("order_rate", RATE, "order_count / view_count: its conversion; NULL without a look", nullable=True),
     _public("net_rank", "BIGINT", "1 is the highest net_amount of all; equal amounts share a rank"),
     _public("category_rank", "BIGINT", "The same within its category"),
     _public("brand_rank", "BIGINT", "The same within its brand; those without one are a brand here"),
     _public("cumulative_share", RATE, "Share of all net_amount above 0 that it and those with at least as much bring",
             nullable=True),
     _public("abc_class", "STRING", "A: larger products bring less than 80% of it, B: less than 95%, C: the rest"),
     _public("units_variation", "DOUBLE", "Standard deviation of its weekly units over their mean; NULL without units",
             nullable=True),
     _public("xyz_class", "STRING", "X: units_variation at most 0.5, Y: at most 1, Z: more, or NULL")),
    partition_by="as_of_date", cluster_by=("category", "product_id"), served=True,
    writer="spark/batch_processing.py", inputs=("gold.daily_sales",),
)
PRODUCT_RECOMMENDATIONS = Table(
    "gold.product_recommendations", "The products that go with a product, best first: up to ten",
    "as_of_date, product_id, rank", ("as_of_date", "product_id", "rank"),
    (_public("as_of_date", "DATE", "The last complete shop day used; 90 days up to it are"), PRODUCT_ID,
     _public("rank", "INT", "1 is the best"),
     _public("recommended_product_id", "STRING", "The product that goes with it"),
     _public("method", "STRING", "together: they stood in the same orders or visits; category: among the best sold of "
             "its category; popular: among the best sold of all"),
     _public("score", "DOUBLE", "together: how much more often than each alone, from 0 to 1; NULL otherwise",
             nullable=True),
     _public("basket_count", "BIGINT", "Orders and visits with both; NULL where the method is not together",
             nullable=True)),
    partition_by="as_of_date", cluster_by=("product_id",), served=True,
    writer="spark/batch_processing.py", inputs=("silver.events",),
)
