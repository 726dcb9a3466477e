"""gold.product_recommendations: which products go with a product, by the orders and visits that held both.

A basket is an order, or a visit that does not look like a program's: the distinct products of it. Two products' score
is the cosine of their baskets, n_both / sqrt(n_one x n_other), with SHRINKAGE added below the line, so that two that
met once by chance do not lead (Sarwar et al., Item-Based Collaborative Filtering, WWW 2001). A product with fewer than
RANKS such partners gets the best sold of its category, then of the shop.
"""

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from shoplake.batch.customer_daily_sales import identify_order
from shoplake.batch.product_performance import keep_last_days
from shoplake.batch.sessions import assign_sessions, looks_like_a_program

DAYS_BACK = 90
RANKS = 10
# Pairs grow with the square: what holds more is a wholesaler's list, which says little of what goes together.
MOST_PRODUCTS = 100
SHRINKAGE = 10.0
_METHODS = ("together", "category", "popular")


def build_product_recommendations(events: DataFrame, as_of: date) -> DataFrame:
    """Give up to RANKS products for each product with an event in the DAYS_BACK days up to `as_of`.

    Args:
        events: rows of silver.events; those of other days are not used.
    """
    days = keep_last_days(events, as_of, DAYS_BACK)
    # Both are read several times below, and are far smaller than the events.
    best, baskets = rank_sold(days).localCheckpoint(), find_baskets(days).localCheckpoint()
    candidates = score_pairs(baskets).unionByName(_offer_popular(best), allowMissingColumns=True)
    once = Window.partitionBy("product_id", "recommended_product_id").orderBy("_method")
    order = Window.partitionBy("product_id").orderBy(
        "_method", F.desc_nulls_last("score"), F.asc_nulls_last("_place"), "recommended_product_id")
    return (
        candidates.withColumn("_time", F.row_number().over(once)).filter("_time = 1")
        .withColumn("rank", F.row_number().over(order)).filter(F.col("rank") <= RANKS)
        .withColumns({"as_of_date": F.lit(as_of), "method": F.element_at(
            F.array(*map(F.lit, _METHODS)), F.col("_method") + 1)})
    )


def find_baskets(events: DataFrame) -> DataFrame:
    """Give the distinct products of each order and each person's visit, sorted: one column, `products`."""
    is_look = F.col("event_type").isin("product_viewed", "add_to_cart")
    visits = assign_sessions(events).groupBy("session_date", "session_key").agg(
        F.collect_set(F.when(is_look, F.col("product_id"))).alias("_products"),
        looks_like_a_program().alias("_is_bot")).filter("NOT _is_bot")
    both = find_orders(events).unionAll(visits.select("_products"))
    return both.filter(F.size("_products") <= MOST_PRODUCTS).select(F.sort_array("_products").alias("products"))


def find_orders(events: DataFrame) -> DataFrame:
    """Give the distinct products of each order: one column, `_products`."""
    return events.filter("event_type = 'order_created'").groupBy("user_id", identify_order()).agg(
        F.collect_set("product_id").alias("_products")).select("_products")


def score_pairs(baskets: DataFrame) -> DataFrame:
    """Give each product's best partners: product_id, recommended_product_id, score, basket_count, `_method`.

    Args:
        baskets: one column, `products`: distinct and sorted.
    """
    alone = baskets.select(F.explode("products").alias("product_id")).groupBy("product_id").agg(
        F.count("*").alias("_baskets"))
    pairs = (
        baskets.select("products", F.explode("products").alias("_one"))
        .select("_one", F.explode("products").alias("_other")).filter("_one < _other")
        .groupBy("_one", "_other").agg(F.count("*").alias("basket_count"))
    )
    counts = {name: alone.select(F.col("product_id").alias(name), F.col("_baskets").alias(f"{name}_baskets"))
              for name in ("_one", "_other")}
    both = F.sqrt(F.col("_one_baskets").cast("double") * F.col("_other_baskets"))
    scored = pairs.join(counts["_one"], "_one").join(counts["_other"], "_other").withColumn(
        "score", F.col("basket_count") / (both + SHRINKAGE))
    return _keep_best(scored, "_one", "_other").unionByName(_keep_best(scored, "_other", "_one"))


def _keep_best(scored: DataFrame, product: str, partner: str) -> DataFrame:
    order = Window.partitionBy(product).orderBy(F.desc("score"), partner)
    return scored.select(
        F.col(product).alias("product_id"), F.col(partner).alias("recommended_product_id"), "score", "basket_count",
        F.lit(_METHODS.index("together")).alias("_method"), F.row_number().over(order).alias("_best"),
    ).filter(F.col("_best") <= RANKS).drop("_best")


def rank_sold(events: DataFrame) -> DataFrame:
    """Give each product's last category, its orders, and its places by them in the category and among all."""
    sold = events.groupBy("product_id").agg(
        F.max_by("category", F.struct("event_time", "event_id")).alias("category"),
        F.count_if(F.col("event_type") == "order_created").alias("_orders"))
    order = (F.desc("_orders"), F.col("product_id"))
    return sold.withColumns({
        "_category_place": F.row_number().over(Window.partitionBy("category").orderBy(*order)),
        "_place": F.row_number().over(Window.orderBy(*order))})


def _offer_popular(best: DataFrame) -> DataFrame:
    """Offer each product the best sold of its category and of all, but itself: RANKS of each."""
    products = best.select("product_id", "category")
    of_category = best.filter((F.col("_category_place") <= RANKS + 1) & (F.col("_orders") > 0)).select(
        "category", F.col("product_id").alias("recommended_product_id"), F.col("_category_place").alias("_place"))
    of_all = best.filter((F.col("_place") <= RANKS + 1) & (F.col("_orders") > 0)).select(
        F.col("product_id").alias("recommended_product_id"), "_place")
    offered = [products.join(F.broadcast(of_category), "category"), products.crossJoin(F.broadcast(of_all))]
    named = [frame.select("product_id", "recommended_product_id", "_place",
                          F.lit(_METHODS.index(method)).alias("_method"))
             for method, frame in zip(_METHODS[1:], offered, strict=True)]
    return named[0].unionByName(named[1]).filter(F.col("product_id") != F.col("recommended_product_id"))
