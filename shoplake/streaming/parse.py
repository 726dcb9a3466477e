"""Read a record's JSON into typed candidate columns; what cannot be typed becomes NULL and a rule says so."""

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from shoplake.contract.events import (
    CANONICAL_NULL,
    CANONICAL_SEPARATOR,
    CONTROL_CHARACTERS,
    FIELD_NAMES,
    FIRST_EVENT_TIME,
    PRICE_TYPE,
    V1_FIELDS,
)
from shoplake.sections import ShopSettings
from shoplake.streaming.money import add_rates

_CORRUPT = "_corrupt_record"
# Every field is read as text, so that a wrong type spoils one field, not the record.
_TEXT_SCHEMA = StructType([StructField(name, StringType()) for name in (*FIELD_NAMES, _CORRUPT)])
_STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}

# \z and not $: in Java $ also matches before a line end.
_ISO_WITH_OFFSET = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\z"
_DECIMAL = r"^-?[0-9]{1,14}(\.[0-9]{1,4})?\z"
_INTEGER = r"^-?[0-9]{1,10}\z"

# One object that holds no other and no list, and nothing behind it: as most records are.
_FLAT = r"^[ \t\r\n]*+\{[^{}\[\]]*+\}[ \t\r\n]*+\z"
# A field's name with its colon. In a JSON string its quotes would be escaped, so this stands between strings only.
_COLON = r"[ \t\r\n]*:[ \t\r\n]*"
_PRICE_IS_NUMBER = rf'"price"{_COLON}-?[0-9]'
# One of more than 1000 signs stays: the JSON reader refuses it.
_PRICE_NUMBER = (rf'("price"{_COLON})(?![-+.eE0-9]{{1001}})(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)'
                 r"(?=[ \t\r\n]*[,}])")
_NESTED_FIELD = rf'"(?:{"|".join(FIELD_NAMES)})"{_COLON}[\[{{]'
# A letter, a digit or _ of a name as \\u0061: no writer of JSON does that, and it would hide a field from the above.
# Bounded and possessive: Java's loops over alternatives take stack for each turn, and a record may be a megabyte.
_ESCAPED_NAME = (r'(?i)(?<!\\)(?:\\\\)*+\\u00(?:3[0-9]|[46][1-9a-f]|[57][0-9a]|5f)'
                 rf'(?:[^"\\]|\\.){{0,{max(map(len, FIELD_NAMES))}}}+"[ \t\r\n]*:')
# A half of a surrogate pair alone, after an even number of backslashes; the lookbehinds must be bounded.
_LONE_SURROGATE = (r"(?i)(?<!\\)(?:\\\\)*+(?:\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f])")


def parse_records(records: DataFrame, shop: ShopSettings, rates: pa.Table | None) -> DataFrame:
    """Add the typed candidate columns to raw records.

    In: the columns of bronze.events up to `timestamp`. Out: the same rows in the same grain, with the contract's
    fields, `event_date` (the shop's day), `exchange_rate`, `ingest_time`, `ingest_date`, `content_hash`, `is_json`,
    `is_scalar` (no field is a list or an object) and `is_text_clean`. Reads no clock.

    What is rare is looked for with a cheap question first: most records are one flat object without a backslash.

    Args:
        rates: the rows of `read_exchange_rates`, if there are any.
    """
    text = F.col("value").cast("string")
    parsed = records.select("*", text.rlike(_FLAT).alias("_is_flat"), F.from_json(_quote_price(text), _TEXT_SCHEMA, {
        "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT, **_STRICT,
    }).alias("_json"))
    raw = {name: F.col(f"_json.{name}") for name in FIELD_NAMES}
    is_read = F.col("_json").isNotNull() & F.col(f"_json.{_CORRUPT}").isNull()
    is_json = F.is_valid_utf8(F.col("value")) & is_read & _is_one_object(text) & ~_has_odd_escape(text)
    has_escape = text.contains("\\") | text.contains("\x7f")
    typed = parsed.select(
        *records.columns,
        F.coalesce(is_json, F.lit(False)).alias("is_json"),
        (~_has_nested_field(text, raw)).alias("is_scalar"),
        (~has_escape | ~F.concat_ws("", *raw.values()).rlike(CONTROL_CHARACTERS)).alias("is_text_clean"),
        *(column.alias(name) for name, column in _typed(raw, shop).items()),
        F.col("timestamp").alias("ingest_time"), F.to_date("timestamp").alias("ingest_date"),
    )
    identified = typed.withColumn("event_id", F.coalesce("event_id", F.sha2(_canonical_text(V1_FIELDS), 256)))
    shop_day = F.to_date(F.from_utc_timestamp("event_time", shop.time_zone))
    # A rejected time far away (year 1, year 9999) would give a day that no reader can hold.
    has_day = F.expr(f"event_time BETWEEN TIMESTAMP'{FIRST_EVENT_TIME}' AND TIMESTAMP'9999-01-01'")
    dated = identified.select(
        "*",
        F.when(has_day, shop_day).alias("event_date"),
        F.sha2(_canonical_text(FIELD_NAMES), 256).alias("content_hash"),
    )
    return add_rates(dated, rates)


def _quote_price(text: Column) -> Column:
    """Make a price that is a JSON number a JSON string: from_json would read it as a double."""
    return F.when(text.rlike(_PRICE_IS_NUMBER), F.regexp_replace(text, _PRICE_NUMBER, '$1"$2"')).otherwise(text)


def _is_one_object(text: Column) -> Column:
    """Tell whether nothing follows the object: from_json looks no further than its end, and takes lists too."""
    as_list = F.from_json(F.concat(F.lit("["), text, F.lit(',"end"]')), "array<string>", _STRICT)
    is_whole = text.rlike(r"^[ \t\r\n]*\{") & (F.size(as_list) == 2) & (F.get(as_list, F.lit(1)) == "end")
    return F.when(F.col("_is_flat"), True).otherwise(is_whole)


def _has_nested_field(text: Column, raw: dict[str, Column]) -> Column:
    """Tell whether a field is a list or an object, which from_json hands over as its text."""
    looks_nested = F.concat_ws("\n", *raw.values()).rlike(r"(?m)^[\[{]")
    return F.when(F.col("_is_flat"), False).otherwise(looks_nested & text.rlike(_NESTED_FIELD))


def _has_odd_escape(text: Column) -> Column:
    is_odd = text.rlike(_LONE_SURROGATE) | text.rlike(_ESCAPED_NAME)
    return F.when(text.contains("\\u"), is_odd).otherwise(False)


def _typed(raw: dict[str, Column], shop: ShopSettings) -> dict[str, Column]:
    columns = dict(raw)
    columns["event_time"] = _if_like(raw["event_time"], _ISO_WITH_OFFSET, "timestamp")
    columns["price"] = _if_like(raw["price"], _DECIMAL, PRICE_TYPE)
    columns["quantity"] = _if_like(raw["quantity"], _INTEGER, "int")
    columns["currency"] = F.coalesce(raw["currency"], F.lit(shop.currency))
    is_guest = F.coalesce(raw["is_guest"], F.lit("false"))
    columns["is_guest"] = F.when(is_guest.isin("true", "false"), is_guest == "true")
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
