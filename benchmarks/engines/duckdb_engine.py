"""The micro-batch in DuckDB; the rules are the platform's own, which Spark and DuckDB share."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from shoplake.contract.events import EXCHANGE_RATE_TYPE, FIELD_NAMES, V1_FIELDS
from shoplake.contract.measures import SALES
from shoplake.quality.rules import JSON_VALID, NOT_LATE, event_rules
from shoplake.settings import load_settings

TYPED = {
    "event_time": (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$",
                   "TIMESTAMPTZ"),
    "price": (r"^-?[0-9]{1,14}(\.[0-9]{1,4})?$", "DECIMAL(18,4)"), "quantity": (r"^-?[0-9]{1,10}$", "INT"),
    "is_guest": ("^(true|false)$", "BOOLEAN"), "schema_version": (r"^-?[0-9]{1,10}$", "INT"),
}
DEFAULTS = {"currency": "GBP", "is_guest": "false", "schema_version": "1"}
WINDOWS = (("silver/product_revenue_5min", "5 minutes", "product_id"),
           ("silver/category_revenue_1h", "1 hour", "category"))


def ingest(records: pa.Table, lake: Any) -> dict[str, Any]:
    """Take a batch's records into every table but bronze and the ledger; give the counts for the ledger's row."""
    settings = load_settings()
    rules = [rule for rule in event_rules(settings.quality, settings.shop) if rule.name != NOT_LATE]
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        extension = Path(find_spec("duckdb_extension_delta").submodule_search_locations[0])  # type: ignore[union-attr, index]
        connection.execute(f"LOAD '{extension}/extensions/v{duckdb.__version__}/delta.duckdb_extension'")
        connection.register("records", records)
        judge(connection, rules)
        deduplicate(connection, lake.table("silver/events"))
        write(connection, lake)
        failed = dict(connection.execute(
            "SELECT name, count(*) FROM (SELECT unnest(reasons) AS name FROM rejected) GROUP BY 1").fetchall())
        json_rows, late_rows, late, dates, *counts = connection.execute(
            """SELECT (SELECT count(*) FROM judged WHERE is_json),
            (SELECT count(*) FROM judged WHERE is_json AND is_late), count(*) FILTER (is_late),
            list_sort(list(DISTINCT event_date)), count(*), (SELECT count(*) FROM copies WHERE is_same),
            (SELECT count(*) FROM rejected) + (SELECT count(*) FROM copies WHERE NOT is_same)
            FROM firsts""").fetchall()[0]
    return {
        **dict(zip(("silver_count", "duplicate_count", "quarantine_count"), counts, strict=True)),
        "late_count": late, "event_dates": dates, "json_rows": json_rows,
        "failed": {**dict.fromkeys((rule.name for rule in rules), 0), **failed, NOT_LATE: late_rows},
    }


def judge(connection: duckdb.DuckDBPyConnection, rules: list[Any]) -> None:
    """Make `judged`, the typed records, and `rejected`, those that break a rule, with the names."""
    structure = "{" + ", ".join(f'"{name}": "VARCHAR"' for name in FIELD_NAMES) + "}"
    raw = {name: f"coalesce(e.{name}, '{DEFAULTS[name]}')" if name in DEFAULTS else f"e.{name}" for name in FIELD_NAMES}
    typed = ", ".join(
        f"CASE WHEN regexp_matches({text}, '{TYPED[name][0]}') THEN try_cast({text} AS {TYPED[name][1]}) END AS {name}"
        if name in TYPED else f"{text} AS {name}" for name, text in raw.items())
    fields = ", ".join(f"e.{name}" for name in FIELD_NAMES)
    is_good = " AND ".join(f"coalesce({rule.expression}, true)" for rule in rules if rule.name != JSON_VALID)
    connection.execute(f"""
    CREATE TABLE judged AS
    WITH parsed AS (SELECT * RENAME ("timestamp" AS ingest_time),
        coalesce(regexp_full_match(text, '(?s)\\s*\\{{.*\\}}\\s*') AND json_valid(text), false) AS is_json,
        CASE WHEN is_json THEN from_json(text, '{structure}') END AS e FROM records),
    typed AS (SELECT * EXCLUDE (text, e), NOT regexp_matches(concat({fields}), '[\\x00-\\x1f\\x7f]') AS is_text_clean,
        NOT regexp_matches(concat_ws(chr(10), {fields}), '(?m)^[\\[{{]') AS is_scalar, {typed},
        CAST(NULL AS {EXCHANGE_RATE_TYPE}) AS exchange_rate FROM parsed),
    identified AS (SELECT * REPLACE (coalesce(event_id, {hash_fields(V1_FIELDS)}) AS event_id) FROM typed)
    SELECT *, CASE WHEN event_time BETWEEN '1970-01-02 00:00:00+00' AND '9999-01-01 00:00:00+00'
        THEN CAST(timezone('Europe/London', event_time) AS DATE) END AS event_date,
        {hash_fields(FIELD_NAMES)} AS content_hash, event_time < ingest_time - INTERVAL 10 MINUTE AS is_late,
        CAST("partition" AS BIGINT) << 40 | "offset" AS place, is_json AND {is_good} AS is_good FROM identified
    """)
    names = ", ".join(f"CASE WHEN NOT ({rule.expression}) THEN '{rule.name}' END" for rule in rules
                      if rule.name != JSON_VALID)
    connection.execute(f"""
    CREATE TABLE rejected AS SELECT *, CASE WHEN is_json THEN list_filter([{names}], lambda name: name IS NOT NULL)
        ELSE ['{JSON_VALID}'] END AS reasons FROM judged WHERE NOT is_good""")


def hash_fields(names: tuple[str, ...]) -> str:
    """Give the SHA-256 of the fields' canonical text, in which NULL is not the empty text."""
    texts = {name: f"CAST({name} AS VARCHAR)" for name in names}
    texts["event_time"] = "strftime(timezone('UTC', event_time), '%Y-%m-%dT%H:%M:%S.%fZ')"
    listed = ", ".join(f"coalesce({text}, chr(0))" for text in texts.values())
    return f"sha256(concat_ws(chr(31), {listed}))"


def deduplicate(connection: duckdb.DuckDBPyConnection, silver: str | None) -> None:
    """Make `firsts`, and `copies` with the row kept; those of earlier batches are looked up in silver."""
    kept = 'origin AS kept_origin, "partition" AS kept_partition, "offset" AS kept_offset, content_hash AS kept_hash'
    days = connection.execute("SELECT list(DISTINCT event_date) FROM judged WHERE is_good").fetchall()[0][0]
    listed = ", ".join(f"DATE '{day}'" for day in days)
    source = f"delta_scan('{silver}') WHERE event_date IN ({listed})" if silver else "judged WHERE false"
    connection.execute(f"""
    CREATE TABLE known AS SELECT event_date, event_id, {kept} FROM (SELECT * FROM {source})
        SEMI JOIN (FROM judged WHERE is_good) USING (event_date, event_id)""")
    connection.execute("""
    CREATE TABLE doubled AS SELECT event_date, event_id, min(place) AS place FROM judged WHERE is_good
        GROUP BY ALL HAVING count(*) > 1""")
    connection.execute(f"""
    INSERT INTO known SELECT event_date, event_id, {kept} FROM judged
        SEMI JOIN doubled USING (event_date, event_id, place)
        WHERE is_good AND (event_date, event_id) NOT IN (SELECT (event_date, event_id) FROM known)""")
    connection.execute("""
    CREATE TABLE copies AS SELECT *, content_hash = kept_hash AS is_same FROM judged
        JOIN known USING (event_date, event_id)
        WHERE is_good AND NOT (kept_origin = origin AND kept_partition = "partition" AND kept_offset = "offset")""")
    connection.execute("CREATE VIEW firsts AS FROM judged ANTI JOIN copies USING (place) WHERE is_good")


def write(connection: duckdb.DuckDBPyConnection, lake: Any) -> None:
    """Append silver, duplicates and quarantine, and add to the windows."""
    coordinates = 'origin, topic, "partition", "offset"'
    rest = "ingest_time, ingest_date, query_id, batch_id"
    kept = "kept_origin, kept_partition, kept_offset"
    for sql, table, partition in (
        (f"SELECT event_date, {', '.join(FIELD_NAMES)}, ingest_time, ingest_date, is_late, content_hash, "
         f"{coordinates}, query_id, batch_id FROM firsts", "silver/events", "event_date"),
        (f"SELECT {coordinates}, event_date, event_id, {kept}, {rest} FROM copies WHERE is_same", "silver/duplicates",
         "ingest_date"),
        (f"""SELECT {coordinates}, key, value, headers, reasons, event_date, event_id, {kept}, {rest} FROM (
         FROM rejected UNION ALL BY NAME
         SELECT *, ['conflicting_duplicate'] AS reasons FROM copies WHERE NOT is_same)""", "silver/quarantine",
         "ingest_date"),
    ):
        lake.append(connection.execute(sql).to_arrow_reader(), table, partition)
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SALES.items())
    again = ", ".join(f"sum({name})::{'DECIMAL(28,4)' if name.endswith('amount') else 'BIGINT'} AS {name}"
                      for name in SALES)
    for table, length, group in WINDOWS:
        keys = f"window_date, window_start, window_end, {group}"
        added = f"""SELECT time_bucket(INTERVAL '{length}', event_time) AS window_start,
            CAST(window_start AS DATE) AS window_date, window_start + INTERVAL '{length}' AS window_end, {group}, {sums}
            FROM firsts WHERE event_type IN ('order_created', 'order_cancelled') GROUP BY ALL"""
        connection.execute(f"CREATE OR REPLACE TABLE added AS {added}")
        days = [day for day, in connection.execute("SELECT DISTINCT window_date FROM added ORDER BY 1").fetchall()]
        place = lake.table(table)
        if place is None:
            lake.append(connection.execute("FROM added").to_arrow_reader(), table, "window_date")
            continue
        listed = ", ".join(f"DATE '{day}'" for day in days)
        both = f"""SELECT {keys}, {again} FROM (SELECT * FROM delta_scan('{place}') WHERE window_date IN ({listed})
            UNION ALL BY NAME FROM added) GROUP BY ALL"""
        lake.replace_days(connection.execute(both).fetch_arrow_table(), table, "window_date", days)
