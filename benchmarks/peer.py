"""The pipeline as it would be written without Spark: confluent-kafka, delta-rs, and Polars or DuckDB, in micro-batches.

The same tables from the same topic as spark/streaming_pipeline.py --drain: bronze, silver, duplicates, quarantine with
every reason, both live windows, and the ledger row at the end; each write carries the batch's Delta transaction. It has
neither locks nor checks of its own, and a JSON number passes through a float. Runs in the peers' environment.
"""

import argparse
import gc
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

FETCH = 20_000
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
LEDGER = pa.schema([
    ("query_id", pa.string()), ("batch_id", pa.int64()), ("origin", pa.string()), ("topic", pa.string()),
    ("ranges", pa.list_(pa.struct([("partition", pa.int32()), ("from_offset", pa.int64()),
                                   ("until_offset", pa.int64())]))),
    ("bronze_count", pa.int64()), ("silver_count", pa.int64()), ("duplicate_count", pa.int64()),
    ("quarantine_count", pa.int64()), ("late_count", pa.int64()),
    ("rules", pa.list_(pa.struct([("rule", pa.string()), ("passed", pa.int64()), ("failed", pa.int64())]))),
    ("event_dates", pa.list_(pa.date32())),
])


@dataclass(frozen=True)
class BatchLake:
    """The lake's tables for one batch; each write is the batch's transaction on its table."""

    root: Path
    query_id: str
    batch_id: int

    def table(self, name: str) -> str | None:
        """Give a table's folder, or None where it was never written."""
        place = str(self.root / name)
        return place if DeltaTable.is_deltatable(place) else None

    def append(self, rows: Any, name: str, partition: str | None = None) -> None:
        """Append rows."""
        self._write(rows, name, partition, mode="append")

    def replace_days(self, rows: Any, name: str, partition: str, days: Sequence[date]) -> None:
        """Replace the partitions of the days."""
        listed = ", ".join(f"'{day}'" for day in days)
        self._write(rows, name, partition, mode="overwrite", predicate=f"{partition} IN ({listed})")

    def _write(self, rows: Any, name: str, partition: str | None, **how: Any) -> None:
        write_deltalake(
            str(self.root / name), rows, partition_by=[partition] if partition else None, **how,
            commit_properties=CommitProperties(app_transactions=[Transaction(self.query_id, self.batch_id)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Drain the topic into the lake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("polars", "duckdb"), required=True)
    parser.add_argument("--servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--lake", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--batch", type=int, default=250_000, metavar="N",
                        help="records of a micro-batch (a million is no faster, and takes twice the memory)")
    flags = parser.parse_args(argv)
    engine = import_module(f"engines.{flags.engine}_engine")
    gc.disable()  # a million records make no cycles, only work for its passes
    query_id, batch_id, until = find_position(flags.lake)
    consumer = Consumer({"bootstrap.servers": flags.servers, "group.id": "peer", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest"})
    parts = [TopicPartition(flags.topic, part, until.get(part, 0))
             for part in consumer.list_topics(flags.topic).topics[flags.topic].partitions]
    left = sum(consumer.get_watermark_offsets(part)[1] - part.offset for part in parts)
    consumer.assign(parts)
    while left:
        lake = BatchLake(flags.lake, query_id, batch_id)
        records = read_batch(consumer, min(flags.batch, left), flags.topic, lake)
        lake.append(records.drop_columns(["text"]), "bronze/events", "ingest_date")
        counts = engine.ingest(records, lake)
        lake.append(ledger_row(records, counts, lake), "ops/ledger")
        print(f"batch {batch_id}: {len(records)} records -> {counts['silver_count']} silver, "
              f"{counts['duplicate_count']} duplicates, {counts['quarantine_count']} quarantined", flush=True)
        left, batch_id = left - len(records), batch_id + 1
    consumer.close()
    return 0


def find_position(root: Path) -> tuple[str, int, dict[int, int]]:
    """Give the query's id, its next batch and each partition's next offset, from the ledger."""
    place, until = BatchLake(root, "", 0).table("ops/ledger"), {}
    if place is None:
        return str(uuid.uuid4()), 0, {}
    rows = DeltaTable(place).to_pyarrow_table().to_pylist()
    for row in sorted(rows, key=lambda row: row["batch_id"]):
        until.update({taken["partition"]: taken["until_offset"] for taken in row["ranges"]})
    return rows[0]["query_id"], len(rows), until


def read_batch(consumer: Consumer, size: int, topic: str, lake: BatchLake) -> pa.Table:
    """Read `size` records, ordered by partition and offset: bronze's columns, and `text` where the value is UTF-8."""
    parts: list[int] = []
    offsets: list[int] = []
    times: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    while len(values) < size:
        messages = consumer.consume(min(FETCH, size - len(values)), timeout=10)
        errors = [message.error() for message in messages if message.error() is not None]
        if errors:
            raise SystemExit(f"error: {errors[0]}")
        parts += [message.partition() for message in messages]
        offsets += [message.offset() for message in messages]
        times += [message.timestamp()[1] for message in messages]
        keys += [message.key() for message in messages]
        values += [message.value() for message in messages]

    def repeat(value: Any, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_), size)

    moment = pa.array(times, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    value = pa.array(values, pa.large_binary())
    is_text = pa.array([value.isascii() or is_utf8(value) for value in values])
    return pa.table({
        "origin": repeat(topic, pa.string()), "topic": repeat(topic, pa.string()),
        "partition": pa.array(parts, pa.int32()), "offset": pa.array(offsets, pa.int64()),
        "key": pa.array(keys, pa.large_binary()), "value": value,
        "headers": pa.nulls(size, HEADERS), "timestamp": moment, "ingest_date": moment.cast(pa.date32()),
        "query_id": repeat(lake.query_id, pa.string()), "batch_id": repeat(lake.batch_id, pa.int64()),
        "text": pc.if_else(is_text, value, None).cast(pa.large_string()),
    }).sort_by([("partition", "ascending"), ("offset", "ascending")])


def is_utf8(value: bytes) -> bool:
    """Say whether bytes are text."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def ledger_row(records: pa.Table, counts: dict[str, Any], lake: BatchLake) -> pa.Table:
    """Give the batch's row of ops.ledger."""
    failed, json_rows = {"json_valid": 0, **counts.pop("failed")}, counts.pop("json_rows")
    asked = {"json_valid": len(records)}
    rules = [{"rule": name, "passed": asked.get(name, json_rows) - count, "failed": count}
             for name, count in failed.items()]
    ends = records.group_by("partition").aggregate([("offset", "min"), ("offset", "max")]).to_pylist()
    return pa.Table.from_pylist([{
        "query_id": lake.query_id, "batch_id": lake.batch_id, "origin": records["origin"][0].as_py(),
        "topic": records["topic"][0].as_py(), "bronze_count": len(records), **counts, "rules": rules,
        "ranges": [{"partition": end["partition"], "from_offset": end["offset_min"],
                    "until_offset": end["offset_max"] + 1} for end in ends],
    }], LEDGER)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
