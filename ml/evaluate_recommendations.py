"""Judge ways to recommend products by the orders of the days after --as-of: recall@10, NDCG@10 and coverage.

Each way knows the 90 days up to --as-of. `table` is what gold.product_recommendations would hold, `als` factors of
implicit feedback, `category` and `popular` the best sold of the product's category and of all. Writes nothing. Run it
with spark-submit.
"""

import argparse
import sys
from datetime import date, timedelta
from typing import Any

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

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
    from shoplake.batch.recommendation_ways import judge_ways
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
        result = judge_ways(spark, lake, as_of, flags.days)
    finally:
        if own_session:
            spark.stop()
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _describe(result: dict[str, Any]) -> str:
    lines = [f"{result['products']:,} products known up to {result['as_of']}, judged by the orders of {result['days']} "
             "days after", f"{'way':<10} {'recall@10':>10} {'NDCG@10':>10} {'coverage':>10} {'orders':>8}"]
    lines += [f"{way:<10} {one['recall']:>10.4f} {one['ndcg']:>10.4f} {one['coverage']:>10.4f} {one['order_count']:>8,}"
              for way, one in result["ways"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
