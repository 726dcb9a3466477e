"""The lake's tables in Spark: reads of days, appends that happen once, and replaced days.

Spark reads and writes the Parquet files; delta-rs reads and writes Delta's log.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from shoplake.contract.render import spark_schema
from shoplake.contract.tables import SILVER_EVENTS, Table
from shoplake.errors import ConfigError, StorageError
from shoplake.installation import check_connectors
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import (
    add_columns,
    commit_files,
    confirm_commit,
    confirm_transaction,
    delta_errors,
    open_table,
    open_unless_done,
    storage_options,
    table_exists,
)
from shoplake.lake.locks import HeldLock
from shoplake.lake.partitions import list_files
from shoplake.sections import ShopSettings
from shoplake.settings import Settings

_TIME_ZONE_PROPERTY = "shoplake.time_zone"
_CURRENCY_PROPERTY = "shoplake.currency"
_CHECKPOINT_EVERY = "10"  # commits, as Spark's Delta has it: a reader opens the files of the log since the last


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

    A table of an older version gets the columns that it lacks; they are NULL in its rows.

    Raises:
        ConfigError: the lake was built for another `shop.time_zone` or `shop.currency`, or lacks a column that may not
            be NULL.
    """
    check_shop(lake, shop)
    for table in tables:
        schema = Schema.from_json(spark_schema(table).json())
        with delta_errors(lake):
            DeltaTable.create(
                lake.table(table), schema, mode="ignore", name=table.name,
                description=table.description, partition_by=table.partition_by,
                configuration={_TIME_ZONE_PROPERTY: shop.time_zone, _CURRENCY_PROPERTY: shop.currency,
                               "delta.checkpointInterval": _CHECKPOINT_EVERY},
                storage_options=storage_options(lake), raise_if_key_not_exists=False,
            )
        if not lake.is_local and not table_exists(lake, table):
            raise StorageError(f"the new table {lake.table(table)} cannot be read back; run the command again")
        add_columns(lake, table, schema)


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


def shop_time_zone(lake: Lake) -> str:
    """Give the time zone of the shop's days, with which the lake was built."""
    return open_table(lake, SILVER_EVENTS).metadata().configuration.get(_TIME_ZONE_PROPERTY, "UTC")


def read_days(spark: SparkSession, lake: Lake, table: Table, days: Collection[date]) -> DataFrame:
    """Read the partitions of `days`, from the files that the newest version of the table's log names now.

    A write that comes later changes nothing of what is read.

    Raises:
        StorageError: the table asks its readers for more than to read its files.
    """
    with delta_errors(lake):
        delta = open_table(lake, table)
        if (version := delta.protocol().min_reader_version) > 1:
            raise StorageError(
                f"{lake.table(table)} asks its readers for version {version} of Delta's protocol (deletion vectors, "
                "renamed columns), shoplake reads and writes version 1. Copy its rows into a table without them")
        files = [file.path for file in list_files(delta, table) if file.day in days]
    schema = spark_schema(table)
    if not files:
        return spark.range(0).select(*(F.lit(None).cast(field.dataType).alias(field.name) for field in schema.fields))
    in_files = StructType([field for field in schema.fields if field.name != table.partition_by])
    rows = spark.read.schema(in_files).parquet(*(f"{lake.table(table)}/{path}" for path in files))
    day = F.regexp_extract("_metadata.file_path", f".*/{table.partition_by}=([0-9-]+)/", 1).cast("date")
    return rows.withColumn(str(table.partition_by), day).select(*table.column_names)


def append_once(
    rows: DataFrame, lake: Lake, table: Table, query_id: str, batch_id: int, lock: HeldLock, row_count: int,
) -> None:
    """Append a batch's rows, which are so many; the same (query_id, batch_id) again is skipped."""
    _commit_once(rows, lake, table, query_id, batch_id, lock, row_count=row_count)


def replace_days_once(
    rows: DataFrame, lake: Lake, table: Table, days: Sequence[date], query_id: str, batch_id: int, lock: HeldLock,
) -> None:
    """Replace whole partitions by a batch's rows, in one commit; the same (query_id, batch_id) again is skipped."""
    _commit_once(rows, lake, table, query_id, batch_id, lock, days=days)


def replace_days(
    rows: DataFrame, lake: Lake, table: Table, days: Sequence[date], metadata: Mapping[str, int | str], lock: HeldLock,
) -> None:
    """Replace whole partitions, in one commit that carries `metadata` as its userMetadata.

    Args:
        days: none for a table without partitions, which is replaced whole.
    """
    mark = uuid.uuid4().hex
    properties = CommitProperties({"userMetadata": json.dumps({**metadata, "commit": mark})})
    delta = open_table(lake, table)
    commit_files(lake, table, delta, _write_files(rows, lake, table), properties, lock, days=days)
    confirm_commit(lake, table, mark)


def _commit_once(
    rows: DataFrame, lake: Lake, table: Table, query_id: str, batch_id: int, lock: HeldLock,
    days: Sequence[date] | None = None, row_count: int | None = None,
) -> None:
    delta = open_unless_done(lake, table, query_id, batch_id)
    if delta is not None:
        properties = CommitProperties(app_transactions=[Transaction(query_id, batch_id)])
        commit_files(lake, table, delta, _write_files(rows, lake, table), properties, lock, days, row_count)
    confirm_transaction(lake, table, query_id, batch_id)


def _write_files(rows: DataFrame, lake: Lake, table: Table) -> str:
    """Write rows as Parquet files that no version of the table names yet; give their folder in the table's."""
    folder = uuid.uuid4().hex
    selected = rows.select(*table.column_names)
    if table.partition_by is None:
        writer = selected.coalesce(1).write
    else:
        # Without it each task writes a file into each day. Adaptive execution splits a day that is too large for one.
        writer = selected.hint("rebalance", table.partition_by).write.partitionBy(table.partition_by)
    # The committer's first algorithm: a task that fails half-way leaves no file where the others' are.
    committer = {"marksuccessfuljobs": "false", "algorithm.version": "1"}
    options = {f"mapreduce.fileoutputcommitter.{name}": value for name, value in committer.items()}
    writer.options(**options).parquet(f"{lake.table(table)}/{folder}")
    return folder
