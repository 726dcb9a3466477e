"""Ways to recommend products, judged by the orders of the days after those that they know."""

from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from shoplake.batch.build import days_of
from shoplake.batch.implicit_factors import find_alike
from shoplake.batch.product_recommendations import (
    DAYS_BACK,
    RANKS,
    build_product_recommendations,
    find_orders,
    rank_sold,
)
from shoplake.batch.recommendation_quality import judge
from shoplake.contract.tables import SILVER_EVENTS
from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.delta import read_days


def judge_ways(spark: SparkSession, lake: Lake, as_of: date, days: int) -> dict[str, Any]:
    """Judge what gold.product_recommendations would hold of `as_of`, and its opponents, by the orders of `days` after.

    Raises:
        ConfigError: nothing is known of the days up to `as_of`.
    """
    last, after = as_of + timedelta(days=days), as_of + timedelta(days=1)
    known = read_days(spark, lake, SILVER_EVENTS, days_of(
        lake, SILVER_EVENTS, as_of, as_of - timedelta(days=DAYS_BACK - 1))).cache()
    later = read_days(spark, lake, SILVER_EVENTS, days_of(lake, SILVER_EVENTS, last, after))
    sold = rank_sold(known).orderBy("_place").toPandas()
    if sold.empty:
        raise ConfigError(f"there is no event in the {DAYS_BACK} days up to {as_of}; name another --as-of")
    products = set(sold["product_id"])
    orders = [set(row["_products"]) for row in find_orders(later).collect()]
    best = sold.loc[sold["_orders"] > 0]
    popular = best["product_id"].head(RANKS + 1).tolist()
    of_category = best.groupby("category")["product_id"].apply(lambda one: one.head(RANKS + 1).tolist()).to_dict()
    ways: dict[str, dict[str, list[str]]] = {
        "table": _lists(build_product_recommendations(known, as_of)),
        "als": find_alike(known, RANKS),
        "category": {str(row.product_id): of_category.get(row.category, []) for row in sold.itertuples()},
        "popular": {},
    }
    known.unpersist()
    judged = {way: asdict(judge(offered, orders, products, popular)) for way, offered in ways.items()}
    return {"as_of": as_of.isoformat(), "days": days, "products": len(products), "ways": judged}


def _lists(recommendations: DataFrame) -> dict[str, list[str]]:
    rows = recommendations.select("product_id", "rank", "recommended_product_id").toPandas()
    found: dict[str, list[str]] = {}
    for row in rows.sort_values(["product_id", "rank"]).itertuples():
        found.setdefault(str(row.product_id), []).append(str(row.recommended_product_id))
    return found
