"""Delta tables in Spark: reads, appends that happen once, and replaced days."""

import json
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from deltalake import DeltaTable, Schema
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

from shoplake.contract.render import spark_schema
from shoplake.contract.tables import SILVER_EVENTS, Table
from shoplake.errors import ConfigError, StorageError
from shoplake.installation import check_connectors
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import (
    confirm_commit,
    confirm_transaction,
    delta_errors,
    open_table,
    storage_options,
    table_exists,
)
from shoplake.settings import Settings, ShopSettings

_TIME_ZONE_PROPERTY = "shoplake.time_zone"
_CURRENCY_PROPERTY = "shoplake.currency"


def session_options(settings: Settings) -> dict[str, str]:
    """Give what a Spark session is built with beside spark-defaults.conf: how it reaches a lake in a bucket."""
    if "://" not in settings.lake_root:
        return {}
    endpoint = settings.gcp.storage_endpoint
    if not endpoint:
        return {"spark.hadoop.fs.gs.auth.type": "APPLICATION_DEFAULT"}
    return {"spark.hadoop.fs.gs.auth.type": "UNAUTHENTICATED", "spark.hadoop.fs.gs.storage.root.url": f"{endpoint}/"}


def check_session(spark: SparkSession) -> None:
    """Refuse a session with a wrong connector on its class path, before it fails with a missing class.

    Raises:
        ConfigError: names the jar and what fits.
    """
    added = spark.sparkContext.getConf().get("spark.jars") or ""
    core = spark.sparkContext._jsc.sc().getClass()
    jars = Path(core.getProtectionDomain().getCodeSource().getLocation().getPath()).parent
    check_connectors(jars, added.split(",") if added else ())


def create_tables(lake: Lake, tables: Sequence[Table], shop: ShopSettings) -> None:
    """Make the tables that are missing, empty, with the contract's columns (needs an active Spark session).

    Raises:
        ConfigError: the lake was built for another `shop.time_zone` or `shop.currency`.
    """
    check_shop(lake, shop)
    for table in tables:
        with delta_errors(lake):
            DeltaTable.create(
                lake.table(table), Schema.from_json(spark_schema(table).json()), mode="ignore", name=table.name,
                description=table.description, partition_by=table.partition_by,
                configuration={_TIME_ZONE_PROPERTY: shop.time_zone, _CURRENCY_PROPERTY: shop.currency},
                storage_options=storage_options(lake), raise_if_key_not_exists=False,
            )
        if not lake.is_local and not table_exists(lake, table):
            raise StorageError(f"the new table {lake.table(table)} cannot be read back; run the command again")


def check_shop(lake: Lake, shop: ShopSettings) -> None:
    """Refuse a lake whose days or money are those of another shop; a lake that does not exist yet is fine."""
    if not table_exists(lake, SILVER_EVENTS):
        return
    stored = open_table(lake, SILVER_EVENTS).metadata().configuration
    for key, setting, value in ((_TIME_ZONE_PROPERTY, "shop.time_zone", shop.time_zone),
                                (_CURRENCY_PROPERTY, "shop.currency", shop.currency)):
        if stored.get(key, value) != value:
            raise ConfigError(
                f"the lake {lake.root} was built for {setting} {stored[key]}, but it is {value} now: every day and "
                f"amount would change its meaning. Set it back to {stored[key]}, or build another lake: "
                "SHOPLAKE_LAKE__ROOT=<new folder>, with the stream and the historical files again"
            )


def read_delta(spark: SparkSession, lake: Lake, table: Table) -> DataFrame:
    """Read a table's newest version."""
    return spark.read.format("delta").load(lake.table(table))


def append_once(rows: DataFrame, lake: Lake, table: Table, query_id: str, batch_id: int) -> None:
    """Append a batch's rows; the same (query_id, batch_id) again is skipped by Delta's transaction log."""
    _write_once(rows, table, query_id, batch_id).mode("append").save(lake.table(table))
    confirm_transaction(lake, table, query_id, batch_id)


def replace_days_once(
    rows: DataFrame, lake: Lake, table: Table, days: Sequence[date], query_id: str, batch_id: int,
) -> None:
    """Replace whole partitions by a batch's rows, in one commit; the same (query_id, batch_id) again is skipped."""
    writer = _write_once(rows, table, query_id, batch_id).mode("overwrite")
    writer.option("replaceWhere", days_predicate(table, days)).save(lake.table(table))
    confirm_transaction(lake, table, query_id, batch_id)


def replace_days(rows: DataFrame, lake: Lake, table: Table, days: Sequence[date], metadata: dict[str, int]) -> None:
    """Replace whole partitions, in one commit that carries `metadata` as its userMetadata."""
    writer = _write(rows, table).mode("overwrite").option("replaceWhere", days_predicate(table, days))
    mark = uuid.uuid4().hex
    writer.option("userMetadata", json.dumps({**metadata, "commit": mark})).save(lake.table(table))
    confirm_commit(lake, table, mark)


def days_predicate(table: Table, days: Sequence[date]) -> str:
    """Give the SQL condition that picks the partitions of `days`."""
    listed = ", ".join(f"DATE'{day.isoformat()}'" for day in sorted(days))
    return f"{table.partition_by} IN ({listed})"


def _write_once(rows: DataFrame, table: Table, query_id: str, batch_id: int) -> DataFrameWriter:
    return _write(rows, table).option("txnAppId", query_id).option("txnVersion", batch_id)


def _write(rows: DataFrame, table: Table) -> DataFrameWriter:
    selected = rows.select(*table.column_names)
    if table.partition_by is None:
        return selected.coalesce(1).write.format("delta")
    # Without it each task writes a file into each day. Adaptive execution splits a day that is too large for one.
    return selected.hint("rebalance", table.partition_by).write.format("delta").partitionBy(table.partition_by)
