"""The pipeline as a beginner would write it: four streaming queries that each read Kafka, with Spark's defaults.

Bronze as it came; silver with from_json and stateful dropDuplicatesWithinWatermark; quarantine; and both live windows,
added to their tables by foreachBatch. It has no ledger, cannot tell copies from conflicts (one of a conflicting pair is
silently kept) and its windows are partial rows, one for each batch. Run it with
spark-submit --properties-file benchmarks/naive_spark.conf benchmarks/naive_spark.py ...
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SCHEMA = ("event_time STRING, user_id STRING, product_id STRING, category STRING, price STRING, quantity STRING, "
          "event_type STRING, event_id STRING, order_id STRING, session_id STRING, brand STRING, currency STRING, "
          "is_guest STRING, source STRING, schema_version STRING, _corrupt_record STRING")
TEXTS = ("user_id", "product_id", "category", "event_id", "order_id", "session_id", "brand", "source")
TYPED = {
    "event_time": r"CASE WHEN e.event_time RLIKE '(Z|[+-][0-9]{2}:[0-9]{2})$' "
                  "THEN try_cast(e.event_time AS TIMESTAMP) END",
    "price": r"CASE WHEN e.price RLIKE '^-?[0-9]+([.][0-9]{1,4})?$' THEN try_cast(e.price AS DECIMAL(18,4)) END",
    "quantity": r"CASE WHEN e.quantity RLIKE '^-?[0-9]+$' THEN try_cast(e.quantity AS INT) END",
    "currency": "coalesce(e.currency, 'GBP')",
    "is_guest": "try_cast(coalesce(e.is_guest, 'false') AS BOOLEAN)",
    "schema_version": "try_cast(coalesce(e.schema_version, '1') AS INT)",
}
IDENTITY_OF_V1 = ("sha2(concat_ws('\x1f', date_format(event_time, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\"), user_id, "
                  "product_id, category, CAST(price AS STRING), CAST(quantity AS STRING), event_type), 256)")
VALID = {
    "json": "is_json", "event_time": "event_time IS NOT NULL", "price": "price >= 0", "quantity": "quantity > 0",
    "future": "event_time <= timestamp + INTERVAL 5 MINUTES", "ancient": "event_time >= TIMESTAMP'1970-01-02'",
    "user_id": "user_id <> ''", "product_id": "product_id <> ''", "category": "category <> ''",
    "amount": "price * quantity <= 1000000000000", "event_id": "event_id <> ''", "currency": "currency = 'GBP'",
    "event_type": "event_type IN ('product_viewed', 'add_to_cart', 'remove_from_cart', 'order_created', "
                  "'order_cancelled')",
    "is_guest": "is_guest IS NOT NULL", "schema_version": "schema_version IN (1, 2)",
    "scalar": r"NOT concat_ws('\n', {}) RLIKE '(?m)^(\\[|[{])'".replace("{}", ", ".join(TEXTS), 1),
    "length": " AND ".join(f"coalesce(length({name}), 0) <= 256" for name in TEXTS),
    "clean": r"NOT concat_ws('', {}) RLIKE '[\\x00-\\x1f\\x7f]'".replace("{}", ", ".join(TEXTS)),
}
SALES = {
    "order_count": "count(CASE WHEN event_type = 'order_created' THEN 1 END)",
    "units": "sum(CASE WHEN event_type = 'order_created' THEN quantity ELSE 0 END)",
    "gross_amount": "sum(CASE WHEN event_type = 'order_created' THEN price * quantity ELSE 0 END)",
    "cancelled_units": "sum(CASE WHEN event_type = 'order_cancelled' THEN quantity ELSE 0 END)",
    "cancelled_amount": "sum(CASE WHEN event_type = 'order_cancelled' THEN price * quantity ELSE 0 END)",
    "net_amount": "sum(CASE WHEN event_type = 'order_created' THEN price * quantity "
                  "WHEN event_type = 'order_cancelled' THEN -price * quantity ELSE 0 END)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Drain the topic with four queries side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--lake", type=Path, required=True)
    flags = parser.parse_args(argv)
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("naive").getOrCreate()

    def start(rows: "DataFrame", name: str, **sink: str) -> Any:
        place = f"{flags.lake}/_checkpoints/{name}"
        writer = rows.writeStream.trigger(availableNow=True).option("checkpointLocation", place)
        if not sink:
            return writer.foreachBatch(lambda batch, _: add_windows(batch, flags.lake)).start()
        return writer.format("delta").start(f"{flags.lake}/{name}", **sink)

    def read() -> "DataFrame":
        return read_topic(spark, flags.servers, flags.topic)

    queries = [
        start(add_ingest_date(read()), "bronze/events", partitionBy="ingest_date"),
        start(add_ingest_date(accept(parse(read()))), "silver/events", partitionBy="event_date"),
        start(add_ingest_date(reject(parse(read()))), "silver/quarantine", partitionBy="ingest_date"),
        start(accept(parse(read())), "windows"),
    ]
    for query in queries:
        query.awaitTermination()
    spark.stop()
    return 0


def read_topic(spark: "SparkSession", servers: str, topic: str) -> "DataFrame":
    """Open the topic from its beginning."""
    records = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers).option(
        "subscribe", topic).option("startingOffsets", "earliest").load()
    return records.selectExpr("topic", "partition", "offset", "key", "value", "timestamp")


def add_ingest_date(rows: "DataFrame") -> "DataFrame":
    """Add the partition's column."""
    return rows.selectExpr("*", "to_date(timestamp) AS ingest_date")


def parse(records: "DataFrame") -> "DataFrame":
    """Type the JSON fields."""
    text = "CAST(value AS STRING)"
    parsed = records.selectExpr(
        "*", f"from_json({text}, '{SCHEMA}', map('columnNameOfCorruptRecord', '_corrupt_record')) AS e",
        rf"is_valid_utf8(value) AND trim(BOTH ' \n' FROM {text}) RLIKE '(?s)^[{{].*[}}]$' AS is_object")
    names = [name.split()[0] for name in SCHEMA.split(", ")][:-1]
    typed = parsed.selectExpr(
        "topic", "partition", "offset", "key", "value", "timestamp",
        "coalesce(is_object AND e IS NOT NULL AND e._corrupt_record IS NULL, false) AS is_json",
        *(f"{TYPED.get(name, f'e.{name}')} AS {name}" for name in names))
    return typed.selectExpr(
        *(name for name in typed.columns if name != "event_id"), f"coalesce(event_id, {IDENTITY_OF_V1}) AS event_id",
        "to_date(from_utc_timestamp(event_time, 'Europe/London')) AS event_date")


def accept(events: "DataFrame") -> "DataFrame":
    """Keep what passes every rule, once for each identity."""
    valid = events.filter(" AND ".join(f"coalesce({rule}, false)" for rule in VALID.values())).drop("is_json")
    return valid.withWatermark("event_time", "7 days").dropDuplicatesWithinWatermark(["event_date", "event_id"])


def reject(events: "DataFrame") -> "DataFrame":
    """Keep what breaks a rule, with the names."""
    broken = ", ".join(f"CASE WHEN NOT coalesce({rule}, false) THEN '{name}' END" for name, rule in VALID.items())
    return events.selectExpr("topic", "partition", "offset", "key", "value", "timestamp",
                             f"array_compact(array({broken})) AS reasons").filter("size(reasons) > 0")


def add_windows(batch: "DataFrame", lake: Path) -> None:
    """Append the batch's part of both live windows."""
    batch.createOrReplaceTempView("accepted")
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SALES.items())
    for table, length, group in (("product_revenue_5min", "5 minutes", "product_id"),
                                 ("category_revenue_1h", "1 hour", "category")):
        rows = batch.sparkSession.sql(
            f"SELECT to_date(w.start) AS window_date, w.start AS window_start, w.end AS window_end, {group}, {sums} "
            f"FROM (SELECT *, window(event_time, '{length}') AS w FROM accepted "
            f"WHERE event_type IN ('order_created', 'order_cancelled')) GROUP BY w, {group}")
        rows.write.format("delta").mode("append").partitionBy("window_date").save(f"{lake}/silver/{table}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
