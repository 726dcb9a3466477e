"""Judge ways to recommend products by the orders of the days after --as-of: recall@10, NDCG@10 and coverage.

Each way knows the 90 days up to --as-of. `table` is what gold.product_recommendations would hold, `als` factors of
implicit feedback, `category` and `popular` the best sold of the product's category and of all. Writes nothing. Run it
with spark-submit.
"""

import argparse
import sys
from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shoplake.lake.addresses import Lake

DAYS_AFTER = 28


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="evaluate_recommendations.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--as-of", type=date.fromisoformat, metavar="DAY",
                        help=f"last day that is known (default: {DAYS_AFTER} days before the last complete one)")
    parser.add_argument("--days", type=int, default=DAYS_AFTER, metavar="N",
                        help=f"days after it whose orders are asked about (default: {DAYS_AFTER})")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    if not 1 <= flags.days <= 366:
        raise ConfigError(f"--days is {flags.days}; allowed are 1 to 366")
    from pyspark.sql import SparkSession

    from shoplake.batch.build import find_as_of
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.delta import check_session, session_options

    lake = locate_lake(settings)
    newest = find_as_of(lake)
    if newest is None:
        raise ConfigError("gold.daily_sales has no two days yet. Build it: spark-submit spark/batch_processing.py")
    as_of = flags.as_of or newest - timedelta(days=flags.days)
    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-recommendations").config(
        map={**session_options(settings)}).getOrCreate()
    try:
        check_session(spark)
        result = _judge_all(spark, lake, as_of, flags.days)
    finally:
        if own_session:
            spark.stop()
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _judge_all(spark: "SparkSession", lake: "Lake", as_of: date, days: int) -> dict[str, Any]:
    from pyspark.sql import functions as F

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
    from shoplake.lake.delta import read_days

    known = read_days(spark, lake, SILVER_EVENTS, _days(as_of - timedelta(days=DAYS_BACK - 1), as_of)).cache()
    later = read_days(spark, lake, SILVER_EVENTS, _days(as_of + timedelta(days=1), as_of + timedelta(days=days)))
    sold = rank_sold(known).orderBy("_place").toPandas()
    if sold.empty:
        raise ConfigError(f"there is no event in the {DAYS_BACK} days up to {as_of}; name another --as-of")
    products = set(sold["product_id"])
    orders = [set(row["products"]) for row in find_orders(later).select(F.col("_products").alias("products")).collect()]
    best = sold.loc[sold["_orders"] > 0]
    popular = best["product_id"].head(RANKS + 1).tolist()
    of_category = best.groupby("category")["product_id"].apply(lambda one: one.head(RANKS + 1).tolist()).to_dict()
    ways: dict[str, dict[str, list[str]]] = {
        "table": _lists(build_product_recommendations(known, as_of)),
        "als": find_alike(known, RANKS),
        "category": {str(row.product_id): of_category.get(row.category, []) for row in sold.itertuples()},
        "popular": {},
    }
    judged = {way: asdict(judge(offered, orders, products, popular)) for way, offered in ways.items()}
    return {"as_of": as_of.isoformat(), "days": days, "products": len(products), "ways": judged}


def _lists(recommendations: "DataFrame") -> dict[str, list[str]]:
    rows = recommendations.select("product_id", "rank", "recommended_product_id").toPandas()
    found: dict[str, list[str]] = {}
    for row in rows.sort_values(["product_id", "rank"]).itertuples():
        found.setdefault(str(row.product_id), []).append(str(row.recommended_product_id))
    return found


def _days(first: date, last: date) -> set[date]:
    return {first + timedelta(days=number) for number in range((last - first).days + 1)}


def _describe(result: dict[str, Any]) -> str:
    lines = [f"{result['products']:,} products known up to {result['as_of']}, judged by the orders of {result['days']} "
             "days after", f"{'way':<10} {'recall@10':>10} {'NDCG@10':>10} {'coverage':>10} {'orders':>8}"]
    lines += [f"{way:<10} {one['recall']:>10.4f} {one['ndcg']:>10.4f} {one['coverage']:>10.4f} {one['order_count']:>8,}"
              for way, one in result["ways"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
