"""Compare two lakes that were made from the same topic, row by row; exit 3 and say where they differ.

Equal must be: bronze with its bytes, silver with every field and hash, duplicates with the copy kept, quarantine with
every reason, both live windows, and the ledger's sums. Ids of runs and batches may differ, and where batches were cut.
--naive compares what a job without identity, ledger and conflicts can have: bronze; silver but for events in conflict;
the rejected records without the names of rules; and the windows, summed over their parts, in which no conflict lies.
--gold compares the four gold tables, with every column.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shoplake.errors import EXIT_OK, EXIT_REFUSED, SourceError
from shoplake.outcome import print_result, run_to_exit_code

if TYPE_CHECKING:
    import duckdb

EVENT = ("event_date, event_id, event_time, user_id, product_id, category, price, quantity, event_type, order_id, "
         "session_id, brand, currency, is_guest, source, schema_version")
PLACE = 'topic, "partition", "offset"'
SALES = ("order_count", "units", "gross_amount", "cancelled_units", "cancelled_amount", "net_amount")
WINDOWS = {"silver/product_revenue_5min": "product_id", "silver/category_revenue_1h": "category"}
LEDGER = ", ".join(f"sum({name}_count)" for name in ("bronze", "silver", "duplicate", "quarantine", "late"))
SAME = {
    "bronze/events": f"SELECT {PLACE}, key, value, timestamp, ingest_date FROM {{table}}",
    "silver/events": f"SELECT {EVENT}, ingest_time, ingest_date, is_late, content_hash, {PLACE} FROM {{table}}",
    "silver/duplicates": f"SELECT {PLACE}, event_date, event_id, kept_partition, kept_offset, ingest_time "
                         "FROM {table}",
    "silver/quarantine": f"SELECT {PLACE}, value, list_sort(reasons), kept_partition, kept_offset, ingest_time "
                         "FROM {table}",
    **{name: f"SELECT window_date, window_start, window_end, {group}, {', '.join(SALES)} FROM {{table}}"
       for name, group in WINDOWS.items()},
    "ops/ledger": f"SELECT {LEDGER} FROM {{table}} UNION ALL BY NAME SELECT rule.rule, sum(rule.passed), "
                  "sum(rule.failed) FROM (SELECT unnest(rules) AS rule FROM {table}) GROUP BY ALL",
}
# Of the left lake: who is in conflict, and the windows in which a naive job may therefore have the other copy.
CONFLICTS = """CREATE TABLE conflicts AS SELECT event_date, event_id, event_time, product_id, category
FROM delta_scan('{left}/silver/events') SEMI JOIN (SELECT event_date, event_id
FROM delta_scan('{left}/silver/quarantine') WHERE list_contains(reasons, 'conflicting_duplicate'))
USING (event_date, event_id)"""
NAIVE = {
    "bronze/events": SAME["bronze/events"],
    "silver/events": f"SELECT {EVENT} FROM {{table}} ANTI JOIN conflicts USING (event_date, event_id)",
    "silver/quarantine": f"SELECT {PLACE}, value FROM {{table}} "
                         "WHERE NOT list_contains(reasons, 'conflicting_duplicate')",
    **{name: f"""SELECT window_start, {group}, {', '.join(f'sum({sale})' for sale in SALES)} FROM {{table}} AS live
       WHERE NOT EXISTS (FROM conflicts WHERE conflicts.{group} = live.{group} AND conflicts.event_time >= window_start
       AND conflicts.event_time < window_end) GROUP BY ALL""" for name, group in WINDOWS.items()},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("left", type=Path, help="the lake that is right")
    parser.add_argument("right", type=Path, help="the lake that is compared with it")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--naive", action="store_true", help="compare what a naive job can have")
    kind.add_argument("--gold", action="store_true", help="compare the gold tables")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: compare(flags))


def compare(flags: argparse.Namespace) -> int:
    """Count the rows that stand in one lake only."""
    left, right = flags.left.resolve(), flags.right.resolve()
    connection = connect()
    selects = NAIVE if flags.naive else select_gold() if flags.gold else SAME
    for table in [lake / name for lake in (left, right) for name in selects]:
        if not (table / "_delta_log").is_dir():
            raise SourceError(f"no Delta table in {table}; both lakes must have {', '.join(selects)}")
    if flags.naive:
        connection.execute(CONFLICTS.format(left=left))
    result = {}
    for name, select in selects.items():
        sides = [select.format(table=f"delta_scan('{lake}/{name}')") for lake in (left, right)]
        for side, sql in zip(("ours", "theirs"), sides, strict=True):
            connection.execute(f"CREATE OR REPLACE TABLE {side} AS {sql}")
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM (FROM ours EXCEPT ALL FROM theirs)), "
            "(SELECT count(*) FROM (FROM theirs EXCEPT ALL FROM ours))").fetchall()[0]
        result[name] = dict(zip(("rows", "only_left", "only_right"), counts, strict=True))
    is_equal = not any(counts["only_left"] or counts["only_right"] for counts in result.values())
    text = "\n".join(f"{name}: {counts['rows']:,} rows, {counts['only_left']:,} only in {left}, "
                     f"{counts['only_right']:,} only in {right}" for name, counts in result.items())
    print_result({"equal": is_equal, "tables": result}, text, flags.json)
    return EXIT_OK if is_equal else EXIT_REFUSED


def select_gold() -> dict[str, str]:
    """Give for each gold table that the peers build too the SELECT of all its columns."""
    from shoplake.contract.tables import CATEGORY_REVENUE, CUSTOMER_DAILY_SALES, DAILY_SALES, DAILY_SALES_SUMMARY

    tables = (DAILY_SALES, CATEGORY_REVENUE, DAILY_SALES_SUMMARY, CUSTOMER_DAILY_SALES)
    return {table.name.replace(".", "/"): f"SELECT {', '.join(table.column_names)} FROM {{table}}" for table in tables}


def connect() -> "duckdb.DuckDBPyConnection":
    """Open a DuckDB that reads Delta tables."""
    import duckdb

    from shoplake.lake.sql import find_delta_extension

    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"LOAD '{find_delta_extension()}'")
    return connection


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
