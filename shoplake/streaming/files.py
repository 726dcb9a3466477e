"""Historical files through the stream's own functions: bounded chunks, each with its ledger row."""

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import count_batches, find_broken_off, ingested_until
from shoplake.settings import Settings
from shoplake.sources import SourceRecord
from shoplake.streaming.ingest import Batch, ingest_batch

_PARTITION = 0  # a file has one
LOG = logging.getLogger("shoplake.files")


def ingest_file(
    spark: SparkSession, records: Iterable[SourceRecord], source: str, sha256: str, lake: Lake, settings: Settings,
) -> Iterator[dict[str, Any]]:
    """Ingest a file's records chunk by chunk; give the ledger row of each chunk that was not in the ledger yet.

    The file's SHA-256 is both origin and query id. What the ledger holds of it is passed over, so the same file again
    adds nothing; a chunk that broke off is repeated as it was, whatever the chunk size is now.
    """
    rest = iter(records)
    done = ingested_until(lake, sha256).get(_PARTITION, 0)
    if done:
        LOG.info("%s: %d records are in the ledger already", source, done)
        next(islice(rest, done, done), None)
    broken_off = next(iter(find_broken_off(lake, sha256)), None)
    size = broken_off.until[_PARTITION] - done if broken_off else settings.spark.file_chunk_rows
    batch_id = count_batches(lake, sha256)
    while chunk := list(islice(rest, size)):
        yield ingest_batch(to_dataframe(spark, chunk), Batch(sha256, batch_id, sha256, source), lake, settings)
        batch_id, size = batch_id + 1, settings.spark.file_chunk_rows


def to_dataframe(spark: SparkSession, chunk: list[SourceRecord]) -> DataFrame:
    """Give records as the raw rows that `parse_records` takes, in Spark."""
    table = pa.table({
        "offset": pa.array([record.offset for record in chunk], pa.int64()),
        "key": pa.array([record.key for record in chunk], pa.binary()),
        "value": pa.array([record.value for record in chunk], pa.binary()),
        "timestamp_ms": pa.array([record.timestamp_ms for record in chunk], pa.int64()),
    })
    return spark.createDataFrame(table).select(
        F.lit(_PARTITION).alias("partition"), "offset", "key", "value",
        F.lit(None).cast("array<struct<key:string,value:binary>>").alias("headers"),
        F.timestamp_millis("timestamp_ms").alias("timestamp"),
    )
