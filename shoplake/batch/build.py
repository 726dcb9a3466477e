"""Build the gold tables: the changed days of most from silver, the newest day of some from other gold tables.

Each table is written in one commit under its own lock.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, SparkSession

from shoplake.batch import category_revenue, sessions
from shoplake.batch.category_revenue import build_category_revenue
from shoplake.batch.conversion_funnel import build_conversion_funnel
from shoplake.batch.customer_daily_sales import build_customer_daily_sales
from shoplake.batch.customer_metrics import build_customer_metrics
from shoplake.batch.daily_sales import build_daily_sales
from shoplake.batch.daily_sales_summary import build_daily_sales_summary
from shoplake.contract.tables import (
    CATEGORY_REVENUE,
    CONVERSION_FUNNEL,
    CUSTOMER_DAILY_SALES,
    CUSTOMER_METRICS,
    DAILY_SALES,
    DAILY_SALES_SUMMARY,
    SESSIONS,
    SILVER_EVENTS,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import open_table
from shoplake.lake.changes import LEDGER_VERSION, built_ledger_version, find_changes
from shoplake.lake.delta import days_predicate, read_days, replace_days
from shoplake.lake.locks import hold_lock
from shoplake.lake.partitions import list_files


@dataclass(frozen=True)
class GoldBuild:
    """How a gold table comes from silver: which days a change touches, and which days they are read from."""

    table: Table
    build: Callable[[DataFrame], DataFrame]
    days_to_build: Callable[[Collection[date]], set[date]] = set
    days_to_read: Callable[[Collection[date]], set[date]] = set


GOLD_BUILDS = (
    GoldBuild(DAILY_SALES, build_daily_sales),
    GoldBuild(CATEGORY_REVENUE, build_category_revenue, category_revenue.days_to_build, category_revenue.days_to_read),
    GoldBuild(DAILY_SALES_SUMMARY, build_daily_sales_summary),
    GoldBuild(CUSTOMER_DAILY_SALES, build_customer_daily_sales),
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
        events = read_days(spark, lake, SILVER_EVENTS, gold.days_to_read(days))
        rows = gold.build(events).filter(days_predicate(gold.table, sorted(days)))
        metadata = {} if version is None else {LEDGER_VERSION: version}
        replace_days(rows, lake, gold.table, sorted(days), metadata, lock)
        return days


@dataclass(frozen=True)
class SnapshotBuild:
    """How a gold table of whole days' knowledge comes from other tables of gold, which are read up to that day."""

    table: Table
    inputs: tuple[Table, ...]
    build: Callable[..., DataFrame]


SNAPSHOT_BUILDS = (SnapshotBuild(CUSTOMER_METRICS, (CUSTOMER_DAILY_SALES, SESSIONS), build_customer_metrics),)


def find_as_of(lake: Lake) -> date | None:
    """Give the last day that is surely complete: the one before the newest with an event; None without two."""
    days = sorted(find_changes(lake, DAILY_SALES).all_dates)
    return days[-1] - timedelta(days=1) if len(days) > 1 else None


def build_snapshot(
    spark: SparkSession, lake: Lake, snapshot: SnapshotBuild, as_of: date, lock_timeout: float, *, is_wanted: bool,
) -> set[date]:
    """Replace the table's rows of `as_of`, unless they were made of what the ledger holds now; give the days written.

    Args:
        is_wanted: replace them in any case.

    Raises:
        LockError: another build of this table held its lock for `lock_timeout` seconds.
    """
    with hold_lock(lake, snapshot.table.name, lock_timeout) as lock:
        version = find_changes(lake, snapshot.table).ledger_version
        is_there = as_of in days_of(lake, snapshot.table, as_of)
        if is_there and not is_wanted and built_ledger_version(lake, snapshot.table) == version:
            return set()
        inputs = [read_days(spark, lake, table, days_of(lake, table, as_of)) for table in snapshot.inputs]
        metadata = {} if version is None else {LEDGER_VERSION: version}
        replace_days(snapshot.build(*inputs, as_of), lake, snapshot.table, [as_of], metadata, lock)
        return {as_of}


def days_of(lake: Lake, table: Table, last: date) -> set[date]:
    """Give the days of a partitioned table up to the last one that is wanted."""
    files = list_files(open_table(lake, table), table)
    return {file.day for file in files if file.day is not None and file.day <= last}
