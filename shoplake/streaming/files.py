"""Historical files through the stream's own functions: bounded chunks, each with its ledger row."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.ledger import committed_batches
from shoplake.settings import Settings
from shoplake.sources import SourceRecord
from shoplake.streaming.ingest import Batch, ingest_batch

LOG = logging.getLogger("shoplake.files")


def keep_file(path: Path, lake: Lake, source: str, sha256: str) -> Path:
    """Copy the untouched file into the lake, under its SHA-256; a copy that is there already is left alone.

    Raises:
        ConfigError: the lake is not on a local disk.
    """
    if not lake.is_local:
        raise ConfigError(f"a file can be ingested into a lake on a local disk only, and lake.root is {lake.root}")
    kept = Path(lake.kept_file(source, sha256))
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{sha256}.partial")
        shutil.copyfile(path, partial)
        partial.replace(kept)
    return kept


def ingest_file(
    spark: SparkSession, records: Iterable[SourceRecord], source: str, sha256: str, lake: Lake, settings: Settings,
) -> Iterator[dict[str, Any]]:
    """Ingest a file's records chunk by chunk; give the ledger row of each chunk that was not in the ledger yet.

    The file's SHA-256 is both origin and query id, so the same file again adds nothing, and a broken-off one goes on.
    """
    done = committed_batches(lake, sha256)
    for batch_id, chunk in enumerate(_chunks(records, settings.spark.file_chunk_rows)):
        if batch_id in done:
            LOG.info("%s chunk %d is in the ledger already", source, batch_id)
            continue
        yield ingest_batch(_to_dataframe(spark, chunk), Batch(sha256, batch_id, sha256, source), lake, settings)


def _chunks(records: Iterable[SourceRecord], size: int) -> Iterator[list[SourceRecord]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _to_dataframe(spark: SparkSession, chunk: list[SourceRecord]) -> DataFrame:
    table = pa.table({
        "offset": pa.array([record.offset for record in chunk], pa.int64()),
        "key": pa.array([record.key for record in chunk], pa.binary()),
        "value": pa.array([record.value for record in chunk], pa.binary()),
        "timestamp_ms": pa.array([record.timestamp_ms for record in chunk], pa.int64()),
    })
    return spark.createDataFrame(table).select(
        F.lit(0).alias("partition"), "offset", "key", "value",
        F.lit(None).cast("array<struct<key:string,value:binary>>").alias("headers"),
        F.timestamp_millis("timestamp_ms").alias("timestamp"),
    )
