"""Raw records as the stream reads them, with keys, and what lies in a file for whoever can open it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Headers = list[tuple[str, bytes]] | None


def to_records(
    spark: "SparkSession", records: Sequence[tuple[bytes | None, bytes | None, Headers]], first_offset: int,
) -> "DataFrame":
    """Give records (key, value, headers) of one partition, of 2 January 2026."""
    count = len(records)
    keys, values, headers = zip(*records, strict=True)
    return spark.createDataFrame(pa.table({
        "partition": pa.array([0] * count, pa.int32()),
        "offset": pa.array(range(first_offset, first_offset + count), pa.int64()),
        "key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary()),
        "headers": pa.array(headers, pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        "timestamp": pa.array([datetime(2026, 1, 2, 4, tzinfo=UTC)] * count, pa.timestamp("us", "UTC"))}))


def clear_bytes(file: Path) -> bytes:
    """Give a file's bytes, and of Parquet its rows in the clear as well."""
    return file.read_bytes() + (repr(pq.read_table(file).to_pylist()).encode() if file.suffix == ".parquet" else b"")


def find_words(folder: Path, words: set[str]) -> dict[str, set[str]]:
    """Look for words in every byte below a folder, of Parquet in the clear as well; give file -> words."""
    pattern = re.compile(rb"(?<![0-9A-Za-z_-])(" + b"|".join(re.escape(word.encode()) for word in sorted(words))
                         + rb")(?![0-9A-Za-z_-])")
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = str(path).encode() + b"\n" + clear_bytes(path)
            if hits := {hit.decode() for hit in pattern.findall(content)}:
                found[str(path)] = hits
    return found
