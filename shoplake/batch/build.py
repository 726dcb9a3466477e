"""Build the gold tables' changed days from silver, each table in one commit under its own lock."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame, SparkSession

from shoplake.batch import category_revenue
from shoplake.batch.category_revenue import build_category_revenue
from shoplake.batch.customer_daily_sales import build_customer_daily_sales
from shoplake.batch.daily_sales import build_daily_sales
from shoplake.batch.daily_sales_summary import build_daily_sales_summary
from shoplake.contract.tables import (
    CATEGORY_REVENUE,
    CUSTOMER_DAILY_SALES,
    DAILY_SALES,
    DAILY_SALES_SUMMARY,
    SILVER_EVENTS,
    Table,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.changes import LEDGER_VERSION, built_ledger_version, find_changes
from shoplake.lake.delta import days_predicate, read_days, replace_days
from shoplake.lake.locks import hold_lock


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
