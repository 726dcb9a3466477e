"""All tables of the batch job in their order: of the shop's days, of products, and of what is known at a day's end.

Each is built in its own commit. One that fails undoes no other; the next run builds it.
"""

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from pyspark.sql import SparkSession

from shoplake.batch.build import (
    GOLD_BUILDS,
    SNAPSHOT_BUILDS,
    GoldBuild,
    build_dimension,
    build_gold_table,
    build_snapshot,
    find_as_of,
)
from shoplake.batch.user_segments import build_user_segments
from shoplake.contract.tables import PRODUCTS_DIM, USER_SEGMENTS, Table
from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.delta import create_tables
from shoplake.settings import Settings

LOG = logging.getLogger("shoplake.batch")
BUILT_TABLES = (*(gold.table for gold in GOLD_BUILDS), PRODUCTS_DIM, *(one.table for one in SNAPSHOT_BUILDS),
                USER_SEGMENTS)
# Planning and committing a table's few days leaves a core idle: two tables side by side take a third less time.
TABLES_AT_ONCE = 2
WHOLE = "whole"  # stands for the days of a table that has none


def choose_tables(names: Collection[str] | None) -> tuple[Table, ...]:
    """Give the tables of these names; without names all that this job builds.

    Raises:
        ConfigError: it builds no table of that name.
    """
    known = {table.name: table for table in BUILT_TABLES}
    if unknown := sorted(set(names or ()) - set(known)):
        raise ConfigError(f"{', '.join(unknown)} is not built by this job; it builds {', '.join(known)}")
    return tuple(table for name, table in known.items() if not names or name in names)


def build_tables(
    spark: SparkSession, lake: Lake, settings: Settings, tables: Collection[Table], days: set[date] | None = None,
    as_of: date | None = None,
) -> dict[str, list[str]]:
    """Build tables; give the days written of each, or WHOLE.

    Args:
        days: build these days, changed or not; None builds those that changed.
        as_of: the day at whose end customers and products are looked at; None for the day before the newest.

    Raises:
        ShoplakeError: what the first table that failed did.
    """
    # That of users is made when there are any.
    create_tables(lake, [table for table in BUILT_TABLES if table in tables and table is not USER_SEGMENTS],
                  settings.shop)
    wait = settings.lake.lock_timeout
    built = _build_days(spark, lake, [gold for gold in GOLD_BUILDS if gold.table in tables], wait, days)
    if PRODUCTS_DIM in tables:
        is_new = build_dimension(spark, lake, wait, is_wanted=bool(days))
        built[PRODUCTS_DIM.name] = [WHOLE] if is_new else []
    if USER_SEGMENTS in tables:
        built[USER_SEGMENTS.name] = _as_texts(build_user_segments(lake, wait, is_wanted=bool(days)))
    day = as_of or find_as_of(lake)
    if day is None:
        LOG.info("one day of events is not over: customers and products are looked at when the next has begun")
        return built
    for snapshot in SNAPSHOT_BUILDS:
        if snapshot.table in tables:
            written = build_snapshot(spark, lake, snapshot, day, wait, is_wanted=bool(days))
            built[snapshot.table.name] = _as_texts(written)
    return built


def _build_days(
    spark: SparkSession, lake: Lake, builds: Collection[GoldBuild], wait: float, days: set[date] | None,
) -> dict[str, list[str]]:
    def build_one(gold: GoldBuild) -> list[str]:
        written = build_gold_table(spark, lake, gold, wait, days)
        LOG.info("%s: %d days written", gold.table.name, len(written))
        return _as_texts(written)

    with ThreadPoolExecutor(TABLES_AT_ONCE) as workers:
        built = {gold.table.name: workers.submit(build_one, gold) for gold in builds}
        try:
            failed = {table: error for table, one in built.items() if (error := one.exception())}
        except KeyboardInterrupt:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    for table, error in failed.items():
        LOG.error("%s was not built: %s: %s", table, type(error).__name__, error)
    return {table: one.result() for table, one in built.items()}


def _as_texts(days: Collection[date]) -> list[str]:
    return [day.isoformat() for day in sorted(days)]
