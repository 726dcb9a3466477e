"""Build the gold tables: the changed days of most from silver, the newest day of some from other gold tables.

Each table is written in one commit under its own lock.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shoplake.batch import cancellations, category_revenue, product_performance, product_recommendations, sessions
from shoplake.batch.cancellations import build_cancellations
from shoplake.batch.category_revenue import build_category_revenue
from shoplake.batch.conversion_funnel import build_conversion_funnel
from shoplake.batch.customer_daily_sales import build_customer_daily_sales
from shoplake.batch.customer_metrics import build_customer_metrics
from shoplake.batch.customer_segments import build_customer_segments
from shoplake.batch.daily_sales import build_daily_sales
from shoplake.batch.daily_sales_summary import build_daily_sales_summary
from shoplake.batch.product_performance import build_product_performance
from shoplake.batch.product_recommendations import build_product_recommendations
from shoplake.batch.products_dim import build_products_dim
from shoplake.contract.tables import (
    CANCELLATIONS,
    CATEGORY_REVENUE,
    CONVERSION_FUNNEL,
    CUSTOMER_DAILY_SALES,
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    DAILY_SALES_SUMMARY,
    PRODUCT_PERFORMANCE,
    PRODUCT_RECOMMENDATIONS,
    PRODUCTS_DIM,
    SESSIONS,
    SILVER_EVENTS,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import days_predicate, open_table
from shoplake.lake.changes import (
    AS_OF,
    LEDGER_VERSION,
    built_ledger_version,
    find_changes,
    has_read_all,
    newest_ledger_version,
)
from shoplake.lake.delta import read_days, replace_days, shop_time_zone
from shoplake.lake.locks import hold_lock
from shoplake.lake.partitions import list_files


@dataclass(frozen=True)
class GoldBuild:
    """How a gold table comes from silver: which days a change touches, and which days they are read from.

    `build` takes rows of silver.events with `shop_hour`, the hour of the shop's day.
    """

    table: Table
    build: Callable[[DataFrame], DataFrame]
    days_to_build: Callable[[Collection[date]], set[date]] = set
    days_to_read: Callable[[Collection[date]], set[date]] = set


GOLD_BUILDS = (
    GoldBuild(DAILY_SALES, build_daily_sales),
    GoldBuild(CATEGORY_REVENUE, build_category_revenue, category_revenue.days_to_build, category_revenue.days_to_read),
    GoldBuild(DAILY_SALES_SUMMARY, build_daily_sales_summary),
    GoldBuild(CUSTOMER_DAILY_SALES, build_customer_daily_sales),
    GoldBuild(CANCELLATIONS, build_cancellations, cancellations.days_to_build, cancellations.days_to_read),
    GoldBuild(SESSIONS, sessions.build_sessions, sessions.days_to_build, sessions.days_to_read),
    GoldBuild(CONVERSION_FUNNEL, build_conversion_funnel, sessions.days_to_build, sessions.days_to_read),
)


def build_gold_table(
    spark: SparkSession, lake: Lake, gold: GoldBuild, lock_timeout: float, only: Collection[date] | None = None,
) -> set[date]:
    """Replace the table's days that changed since its last build, or `only` the days given; give the days written.

    A build that dies leaves the table as it was, and the next one finds the same days to build.

    Raises:
        LockError: another build of this table held its lock for `lock_timeout` seconds.
    """
    with hold_lock(lake, gold.table.name, lock_timeout) as lock:
        changes = find_changes(lake, gold.table)
        if only is None:
            changed, version = changes.dates, changes.ledger_version
        else:  # other changed days still wait for their build: the version read stays what it was
            changed, version = frozenset(only), built_ledger_version(lake, gold.table)
        days = gold.days_to_build(changed) & (changes.all_dates | changed)
        if not days:
            return set()
        events = read_days(spark, lake, SILVER_EVENTS, gold.days_to_read(days)).withColumn(
            "shop_hour", F.hour(F.from_utc_timestamp("event_time", shop_time_zone(lake))))
        rows = gold.build(events).filter(days_predicate(gold.table, sorted(days)))
        replace_days(rows, lake, gold.table, sorted(days), _note(version), lock)
        return days


@dataclass(frozen=True)
class SnapshotBuild:
    """How a table of what was known at the end of a day comes from others, which are read up to that day.

    Attributes:
        days_back: how many days of the inputs are read; None for all.
    """

    table: Table
    inputs: tuple[Table, ...]
    build: Callable[..., DataFrame]
    days_back: int | None = None


# In the order in which they need each other.
SNAPSHOT_BUILDS = (
    SnapshotBuild(CUSTOMER_METRICS, (CUSTOMER_DAILY_SALES, SESSIONS), build_customer_metrics),
    SnapshotBuild(CUSTOMER_SEGMENTS, (CUSTOMER_METRICS,), build_customer_segments, 1),
    SnapshotBuild(PRODUCT_PERFORMANCE, (DAILY_SALES,), build_product_performance, product_performance.DAYS_BACK),
    SnapshotBuild(PRODUCT_RECOMMENDATIONS, (SILVER_EVENTS,), build_product_recommendations,
                  product_recommendations.DAYS_BACK),
)


def find_as_of(lake: Lake) -> date | None:
    """Give the last day that is surely complete: the one before the newest with an event; None without two."""
    days = sorted(find_changes(lake, DAILY_SALES).all_dates)
    return days[-1] - timedelta(days=1) if len(days) > 1 else None


def build_snapshot(
    spark: SparkSession, lake: Lake, snapshot: SnapshotBuild, as_of: date, lock_timeout: float, *, is_wanted: bool,
) -> set[date]:
    """Replace the table's rows of `as_of`, unless its inputs have read nothing new since; give the days written.

    Args:
        is_wanted: replace them in any case.

    Raises:
        LockError: another build of this table held its lock for `lock_timeout` seconds.
    """
    with hold_lock(lake, snapshot.table.name, lock_timeout) as lock:
        version = _version_of(lake, snapshot.inputs, as_of)
        is_there = as_of in days_of(lake, snapshot.table, as_of)
        built = built_ledger_version(lake, snapshot.table, as_of)
        if is_there and not is_wanted and has_read_all(lake, built, version):
            return set()
        first = date.min if snapshot.days_back is None else as_of - timedelta(days=snapshot.days_back - 1)
        inputs = [read_days(spark, lake, table, days_of(lake, table, as_of, first)) for table in snapshot.inputs]
        replace_days(snapshot.build(*inputs, as_of), lake, snapshot.table, [as_of], _note(version, as_of), lock)
        return {as_of}


def days_of(lake: Lake, table: Table, last: date, first: date = date.min) -> set[date]:
    """Give the days of a partitioned table from the first to the last one that is wanted."""
    files = list_files(open_table(lake, table), table)
    return {file.day for file in files if file.day is not None and first <= file.day <= last}


def build_dimension(spark: SparkSession, lake: Lake, lock_timeout: float, *, is_wanted: bool) -> bool:
    """Replace silver.products_dim, unless its input has read nothing new since; tell whether it was.

    Args:
        is_wanted: replace it in any case.

    Raises:
        LockError: another build of this table held its lock for `lock_timeout` seconds.
    """
    with hold_lock(lake, PRODUCTS_DIM.name, lock_timeout) as lock:
        version = built_ledger_version(lake, DAILY_SALES)
        if not is_wanted and has_read_all(lake, built_ledger_version(lake, PRODUCTS_DIM), version):
            return False
        sales = read_days(spark, lake, DAILY_SALES, days_of(lake, DAILY_SALES, date.max))
        replace_days(build_products_dim(sales), lake, PRODUCTS_DIM, (), _note(version), lock)
        return True


def _version_of(lake: Lake, inputs: Collection[Table], as_of: date) -> int | None:
    """Give the ledger version that every input has read, before they are read; None where one was never built.

    A batch that comes while tables are built is in silver and not yet in them.
    """
    dated = {snapshot.table for snapshot in SNAPSHOT_BUILDS}
    versions = [newest_ledger_version(lake) if table is SILVER_EVENTS
                else built_ledger_version(lake, table, as_of if table in dated else None) for table in inputs]
    return None if None in versions else min(version for version in versions if version is not None)


def _note(version: int | None, as_of: date | None = None) -> dict[str, int | str]:
    """Give what a commit says of the ledger version that it has read, and of the day of a snapshot."""
    if version is None:
        return {}
    return {LEDGER_VERSION: version, **({AS_OF: as_of.isoformat()} if as_of else {})}
