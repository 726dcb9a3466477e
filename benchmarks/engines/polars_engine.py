"""The micro-batch in Polars."""

import json
from collections.abc import Sequence
from typing import Any

import polars as pl
import polars_hash as plh
import pyarrow as pa

TEXT = ("event_time", "user_id", "product_id", "category", "price", "quantity", "event_type", "event_id", "order_id",
        "session_id", "brand", "currency", "is_guest", "source", "schema_version")
V1 = TEXT[:7]
TYPES = ("product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled")
COORDINATES = ["origin", "topic", "partition", "offset"]
IDENTITY = ["event_date", "event_id"]
KEPT = ["kept_origin", "kept_partition", "kept_offset"]
INGEST = ["ingest_time", "ingest_date"]
BATCH = ["query_id", "batch_id"]
PAYLOAD = ["key", "value", "headers"]
SALES = ("order_count", "units", "gross_amount", "cancelled_units", "cancelled_amount", "net_amount")
AMOUNT = pl.Decimal(28, 4)
PATTERNS = {
    "event_time": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$",
    "price": r"^-?[0-9]{1,14}(\.[0-9]{1,4})?$", "quantity": r"^-?[0-9]{1,10}$", "is_guest": "^(true|false)$",
    "schema_version": r"^-?[0-9]{1,10}$",
}
PLAINLY_JSON = r'^\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})'
col = pl.col


def ingest(records: pa.Table, lake: Any) -> dict[str, Any]:
    """Take a batch's records into every table but bronze and the ledger; give the counts for the ledger's row."""
    judged = parse(pl.DataFrame(pl.from_arrow(records)))
    broken = rules()
    judged = judged.with_columns(is_good=col("is_json") & ~pl.any_horizontal(
        rule.fill_null(False) for rule in broken.values()))
    silver, duplicates, conflicts = deduplicate(judged.filter("is_good"), lake.table("silver/events"))
    rejected = judged.filter(~col("is_good")).with_columns(reasons=give_reasons(broken))
    conflicts = conflicts.with_columns(reasons=pl.concat_list(pl.lit("conflicting_duplicate")))
    quarantine = pl.concat([rejected, conflicts], how="diagonal")
    lake.append(silver.select("event_date", *TEXT, *INGEST, "is_late", "content_hash", *COORDINATES, *BATCH),
                "silver/events", "event_date")
    lake.append(duplicates.select(*COORDINATES, *IDENTITY, *KEPT, *INGEST, *BATCH), "silver/duplicates", "ingest_date")
    lake.append(quarantine.select(*COORDINATES, *PAYLOAD, "reasons", *IDENTITY, *KEPT, *INGEST, *BATCH),
                "silver/quarantine", "ingest_date")
    add_windows(silver, lake, "silver/product_revenue_5min", "5m", "product_id")
    add_windows(silver, lake, "silver/category_revenue_1h", "1h", "category")
    failed = dict(rejected["reasons"].explode().value_counts().iter_rows())
    json_rows, late_rows = judged.select(
        col("is_json").sum(), late=(col("is_json") & col("is_late")).sum()).row(0)
    return {
        "silver_count": len(silver), "duplicate_count": len(duplicates), "quarantine_count": len(quarantine),
        "late_count": int(silver["is_late"].sum()), "event_dates": silver["event_date"].unique().sort().to_list(),
        "json_rows": json_rows, "failed": {**dict.fromkeys(broken, 0), **failed, "not_late": late_rows},
    }


def give_reasons(broken: dict[str, pl.Expr]) -> pl.Expr:
    """List the names of the rules that a record breaks."""
    names = pl.concat_list(pl.when(rule.fill_null(False)).then(pl.lit(name)) for name, rule in broken.items())
    return pl.when("is_json").then(names.list.drop_nulls()).otherwise(pl.concat_list(pl.lit("json_valid")))


def parse(records: pl.DataFrame) -> pl.DataFrame:
    """Add the typed fields; what cannot be typed is NULL."""
    texts = quote_nested(records["text"])
    # json_decode stops at the first text that is no JSON: what is plainly none is left out, the rest found by halving.
    plainly = texts.str.contains(PLAINLY_JSON) & texts.str.strip_chars_end().str.ends_with("}")
    decoded = decode(pl.select(pl.when(plainly).then(texts)).to_series())
    fields = decoded.struct.unnest().with_columns(is_json=decoded.is_not_null())
    is_like = {name: col(name).str.contains(pattern) for name, pattern in PATTERNS.items()}

    def typed(name: str, value: pl.Expr) -> pl.Expr:
        return pl.when(is_like[name]).then(value).alias(name)

    filled = fields.with_columns(
        **find_odd_texts(texts, fields),
        currency=col("currency").fill_null("GBP"), is_guest=col("is_guest").fill_null("false"),
        schema_version=col("schema_version").fill_null("1"))
    cast = filled.with_columns(
        typed("event_time", col("event_time").str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)),
        typed("price", col("price").cast(pl.Decimal(18, 4), strict=False)),
        typed("quantity", col("quantity").cast(pl.Int32, strict=False)),
        typed("is_guest", col("is_guest") == "true"),
        typed("schema_version", col("schema_version").cast(pl.Int32, strict=False)))
    nameless = cast["event_id"].is_null().arg_true()
    derived = cast[nameless].select(sha256(V1)).to_series()
    identified = cast.with_columns(event_id=cast["event_id"].scatter(nameless, derived))
    day = col("event_time").dt.convert_time_zone("Europe/London").dt.date()
    moment = records["timestamp"]
    return records.drop("timestamp", "text").hstack(identified).with_columns(
        ingest_time=moment, event_date=pl.when(col("event_time").is_between(
            pl.datetime(1970, 1, 2, time_zone="UTC"), pl.datetime(9999, 1, 1, time_zone="UTC"))).then(day),
        is_late=(moment - col("event_time")) > pl.duration(minutes=10),
        content_hash=sha256(TEXT))


def find_odd_texts(texts: pl.Series, fields: pl.DataFrame) -> dict[str, pl.Series]:
    """Tell of each record whether no field is a list or an object, and none has a control character."""
    suspects = texts.str.contains(r"(?s)[\\\x7f\[]|.\{").fill_null(True).arg_true()
    looked_at = fields[suspects].select(
        is_scalar=~pl.concat_str(TEXT, separator="\n", ignore_nulls=True).str.contains(r"(?m)^[\[{]"),
        is_text_clean=~pl.concat_str(TEXT, ignore_nulls=True).str.contains(r"[\x00-\x1f\x7f]"))
    fine = pl.Series([True]).new_from_index(0, len(texts))
    return {name: fine.clone().scatter(suspects, looked_at[name]) for name in looked_at.columns}


def quote_nested(texts: pl.Series) -> pl.Series:
    """Make lists and objects in a field's place texts: json_decode fails at a single one in all records."""
    nested = texts.str.contains(r"[:,]\s*[\[{]").fill_null(False).arg_true()
    return texts.scatter(nested, [quote_values(text) for text in texts[nested]])


def quote_values(text: str) -> str:
    """Make each list and each object of a JSON object a text; what is no JSON object stays as it is."""
    try:
        fields = json.loads(text, parse_float=str, parse_int=str)
        return json.dumps({name: json.dumps(value) if isinstance(value, (list, dict)) else value
                           for name, value in fields.items()})
    except (ValueError, AttributeError):
        return text


def decode(texts: pl.Series) -> pl.Series:
    """Read JSON objects, NULL where a text is none."""
    try:
        return texts.str.json_decode(pl.Struct(dict.fromkeys(TEXT, pl.String)))
    except pl.exceptions.ComputeError:
        if len(texts) == 1:
            return pl.Series([None], dtype=pl.Struct(dict.fromkeys(TEXT, pl.String)))
        middle = len(texts) // 2
        return pl.concat([decode(texts[:middle]), decode(texts[middle:])])


def sha256(names: Sequence[str]) -> pl.Expr:
    """Hash the fields' canonical text, in which NULL is not the empty text."""
    texts = {name: col(name).cast(pl.String) for name in names}
    texts["event_time"] = col("event_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return plh.concat_str([text.fill_null("\0") for text in texts.values()], separator="\x1f").chash.sha2_256()


def rules() -> dict[str, pl.Expr]:
    """Give by its name what breaks each rule that quarantines, of a record that is JSON."""
    texts = ("user_id", "product_id", "category", "event_id", "order_id", "session_id", "brand", "source")
    absent = {f"{name}_present": col(name).is_null() | (col(name) == "") for name in TEXT[1:4]}
    return {
        "event_time_valid": col("event_time").is_null(),
        "event_time_not_future": col("event_time") > col("ingest_time") + pl.duration(minutes=5),
        "event_time_not_ancient": col("event_time") < pl.datetime(1970, 1, 2, time_zone="UTC"),
        **absent,
        "price_valid": col("price").is_null(), "price_not_negative": col("price") < 0,
        "quantity_valid": col("quantity").is_null(), "quantity_positive": col("quantity") <= 0,
        "amount_bounded": col("price").cast(pl.Float64) * col("quantity") > 1e12,
        "event_type_known": col("event_type").is_null() | ~col("event_type").is_in(TYPES),
        "event_id_present": col("event_id") == "", "currency_supported": col("currency") != "GBP",
        "is_guest_valid": col("is_guest").is_null(),
        "schema_version_supported": col("schema_version").is_null() | ~col("schema_version").is_in([1, 2]),
        "fields_scalar": ~col("is_scalar"),
        "text_bounded": pl.any_horizontal((col(name).str.len_chars() > 256).fill_null(False) for name in texts),
        "text_clean": ~col("is_text_clean"),
    }


def deduplicate(good: pl.DataFrame, silver: str | None) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split into first copies, exact duplicates and conflicts; those of earlier batches are looked up in silver."""
    kept = [*(col(name).alias(f"kept_{name}") for name in ("origin", "partition", "offset")),
            col("content_hash").alias("kept_hash")]
    is_first = good.select(pl.struct(IDENTITY).is_first_distinct()).to_series()
    firsts, copies = good.filter(is_first), good.filter(~is_first)
    known = firsts.clear().select(*IDENTITY, *kept)
    if silver:
        days = good["event_date"].unique().to_list()
        known = pl.scan_delta(silver).filter(col("event_date").is_in(days)).select(*IDENTITY, *kept).join(
            firsts.lazy().select(IDENTITY), on=IDENTITY, how="semi").collect()
        copies = pl.concat([copies, firsts.join(known, on=IDENTITY, how="semi")])
        firsts = firsts.join(known, on=IDENTITY, how="anti")
    kept_rows = pl.concat([known, firsts.join(copies, on=IDENTITY, how="semi").select(*IDENTITY, *kept)])
    copies = copies.join(kept_rows, on=IDENTITY, how="left")
    is_same = col("content_hash") == col("kept_hash")
    return firsts, copies.filter(is_same), copies.filter(~is_same)


def add_windows(silver: pl.DataFrame, lake: Any, table: str, length: str, group: str) -> None:
    """Add the batch's sales to the live windows of the days that it touches, in one commit."""
    is_order, amount = col("event_type") == "order_created", col("price") * col("quantity").cast(pl.Decimal(10, 0))
    sold = pl.when(is_order).then(amount.cast(AMOUNT)).otherwise(0)
    cancelled = pl.when(~is_order).then(amount.cast(AMOUNT)).otherwise(0)
    added = silver.filter(col("event_type").is_in(TYPES[3:])).group_by(
        col("event_time").dt.truncate(length).alias("window_start"), group).agg(
            order_count=is_order.sum().cast(pl.Int64), units=col("quantity").filter(is_order).sum().cast(pl.Int64),
            gross_amount=sold.sum(), cancelled_units=col("quantity").filter(~is_order).sum().cast(pl.Int64),
            cancelled_amount=cancelled.sum(), net_amount=sold.sum() - cancelled.sum())
    rows = added.select(col("window_start").dt.date().alias("window_date"), "window_start",
                        col("window_start").dt.offset_by(length).alias("window_end"), group,
                        *(col(name).cast(AMOUNT) if name.endswith("amount") else name for name in SALES))
    place, days = lake.table(table), sorted(rows["window_date"].unique())
    if place is None:
        lake.append(rows, table, "window_date")
        return
    current = pl.scan_delta(place).filter(col("window_date").is_in(days)).collect()
    both = pl.concat([current, rows]).group_by("window_date", "window_start", "window_end", group).agg(
        col(name).sum().cast(AMOUNT) if name.endswith("amount") else col(name).sum() for name in SALES)
    lake.replace_days(both, table, "window_date", days)
