"""Read a record's JSON into typed candidate columns; what cannot be typed becomes NULL and a rule says so."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from shoplake.contract.events import (
    CANONICAL_NULL,
    CANONICAL_SEPARATOR,
    FIELD_NAMES,
    FIRST_EVENT_TIME,
    PRICE_TYPE,
    V1_FIELDS,
)
from shoplake.settings import ShopSettings

_CORRUPT = "_corrupt_record"
# Every field is read as the text that stood in the JSON (Spark 4 hands numbers over unchanged), so that money never
# passes through a float and a wrong type spoils one field, not the record.
_TEXT_SCHEMA = StructType([StructField(name, StringType()) for name in (*FIELD_NAMES, _CORRUPT)])

# \z and not $: in Java $ also matches before a line end.
_ISO_WITH_OFFSET = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\z"
_DECIMAL = r"^-?[0-9]{1,14}(\.[0-9]{1,4})?\z"
_INTEGER = r"^-?[0-9]{1,10}\z"
_BOOLEAN = r"^(true|false)\z"
_CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]"


def parse_records(records: DataFrame, shop: ShopSettings) -> DataFrame:
    """Add the typed candidate columns to raw records.

    In: the columns of bronze.events up to `timestamp`. Out: the same rows in the same grain, with the contract's
    fields, `event_date` (the shop's day), `ingest_time`, `ingest_date`, `content_hash`, `is_json` and
    `is_text_clean`. Reads no clock.
    """
    text = F.col("value").cast("string")
    parsed = records.withColumn("_json", F.from_json(text, _TEXT_SCHEMA, {
        "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT, "allowSingleQuotes": "false",
    }))
    # from_json also takes arrays of objects, and text after the object's end
    is_object = F.is_valid_utf8(F.col("value")) & text.rlike(r"(?s)^\s*\{.*\}\s*\z")
    raw = {name: F.col(f"_json.{name}") for name in FIELD_NAMES}
    is_json = is_object & F.col("_json").isNotNull() & F.col(f"_json.{_CORRUPT}").isNull()
    typed = parsed.select(
        *records.columns,
        F.coalesce(is_json, F.lit(False)).alias("is_json"),
        (~F.concat_ws("", *raw.values()).rlike(_CONTROL_CHARACTERS)).alias("is_text_clean"),
        *(column.alias(name) for name, column in _typed(raw, shop).items()),
        F.col("timestamp").alias("ingest_time"), F.to_date("timestamp").alias("ingest_date"),
    )
    identified = typed.withColumn("event_id", F.coalesce("event_id", F.sha2(_canonical_text(V1_FIELDS), 256)))
    shop_day = F.to_date(F.from_utc_timestamp("event_time", shop.time_zone))
    # A rejected time far away (year 1, year 9999) would give a day that no reader can hold.
    has_day = F.expr(f"event_time BETWEEN TIMESTAMP'{FIRST_EVENT_TIME}' AND TIMESTAMP'9999-01-01'")
    return identified.select(
        "*",
        F.when(has_day, shop_day).alias("event_date"),
        F.sha2(_canonical_text(FIELD_NAMES), 256).alias("content_hash"),
    )


def _typed(raw: dict[str, Column], shop: ShopSettings) -> dict[str, Column]:
    columns = dict(raw)
    columns["event_time"] = _if_like(raw["event_time"], _ISO_WITH_OFFSET, "timestamp")
    columns["price"] = _if_like(raw["price"], _DECIMAL, PRICE_TYPE)
    columns["quantity"] = _if_like(raw["quantity"], _INTEGER, "int")
    columns["currency"] = F.coalesce(raw["currency"], F.lit(shop.currency))
    columns["is_guest"] = _if_like(F.coalesce(raw["is_guest"], F.lit("false")), _BOOLEAN, "boolean")
    columns["schema_version"] = _if_like(F.coalesce(raw["schema_version"], F.lit("1")), _INTEGER, "int")
    return columns


def _if_like(text: Column, pattern: str, type_: str) -> Column:
    return F.when(text.rlike(pattern), text.try_cast(type_))


def _canonical_text(names: tuple[str, ...]) -> Column:
    """The text of `contract.events.derive_event_id`: UTC microseconds, plain decimals, NULL apart from ''."""
    texts = [
        F.date_format(name, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'") if name == "event_time" else F.col(name).cast("string")
        for name in names
    ]
    return F.concat_ws(CANONICAL_SEPARATOR, *(F.coalesce(text, F.lit(CANONICAL_NULL)) for text in texts))
