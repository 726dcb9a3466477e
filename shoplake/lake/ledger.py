"""What ops.ledger says of the way so far: offsets taken in, batches that are done, and one that broke off."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from shoplake.contract.tables import BRONZE_EVENTS, LEDGER
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, read_table, scan_table, table_exists
from shoplake.lake.sql import connect_duckdb, select_table

_READ: dict[tuple[str, str], list[dict[str, Any]]] = {}  # the rows by lake and data file


def ingested_until(lake: Lake, origin: str) -> dict[int, int]:
    """Give the first offset of each partition of `origin` that no ledger row holds yet."""
    until: dict[int, int] = {}
    for row in _rows(lake, "origin", origin):
        for taken in row["ranges"]:
            until[taken["partition"]] = max(until.get(taken["partition"], 0), taken["until_offset"])
    return until


def origins_of(lake: Lake, query_id: str) -> set[str]:
    """Give the origins that a query's batches came from: one, unless the topic was made anew."""
    return {row["origin"] for row in _rows(lake, "query_id", query_id)}


def find_ledger_row(lake: Lake, query_id: str, batch_id: int) -> dict[str, Any] | None:
    """Give a batch's ledger row, or None where the batch never ended."""
    return next((row for row in _rows(lake, "query_id", query_id) if row["batch_id"] == batch_id), None)


def count_batches(lake: Lake, query_id: str) -> int:
    """Give how many batches of a query have their ledger row: the id of its next one."""
    return len(_rows(lake, "query_id", query_id))


@dataclass(frozen=True)
class BrokenOff:
    """A batch whose records are in bronze, but whose ledger row is missing: only its own repetition may go on.

    `until` is each partition's first offset after it.
    """

    query_id: str
    batch_id: int
    origin: str
    row_count: int
    until: dict[int, int]


def find_broken_off(lake: Lake, origin: str | None = None) -> list[BrokenOff]:
    """Find the batches that died between bronze and their ledger row, of all origins or of one; it has at most one."""
    with connect_duckdb(lake) as lake_sql:
        rows = lake_sql.execute(
            f"""
            SELECT query_id, batch_id, origin, sum(row_count)::BIGINT, list("partition"), list(until) FROM (
              SELECT query_id, batch_id, origin, "partition", max("offset") + 1 AS until, count(*) AS row_count
              FROM ({select_table(lake_sql, lake, BRONZE_EVENTS)})
              ANTI JOIN ({select_table(lake_sql, lake, LEDGER)}) USING (query_id, batch_id)
              WHERE origin = $origin OR $origin IS NULL GROUP BY ALL
            ) GROUP BY query_id, batch_id, origin ORDER BY ALL
            """,  # noqa: S608 - names of the contract
            {"origin": origin}).fetchall()
    return [BrokenOff(query_id, batch_id, origin, count, dict(zip(parts, until, strict=True)))
            for query_id, batch_id, origin, count, parts, until in rows]


def count_rows(lake: Lake) -> dict[str, int]:
    """Sum the whole ledger: batches, offsets in, and rows to each place."""
    totals = dict.fromkeys(("batches", "offsets", "silver", "duplicates", "quarantine", "erased", "late"), 0)
    if not table_exists(lake, LEDGER):
        return totals
    for row in read_table(lake, LEDGER).to_pylist():
        totals["batches"] += 1
        totals["offsets"] += sum(taken["until_offset"] - taken["from_offset"] for taken in row["ranges"])
        totals["silver"] += row["silver_count"]
        totals["duplicates"] += row["duplicate_count"]
        totals["quarantine"] += row["quarantine_count"]
        totals["erased"] += row["erased_count"] or 0
        totals["late"] += row["late_count"]
    return totals


def days_with_events(lake: Lake) -> set[date]:
    """Give the shop days that have rows in silver."""
    if not table_exists(lake, LEDGER):
        return set()
    return {day for days in read_table(lake, LEDGER, ["event_dates"])["event_dates"].to_pylist() for day in days}


def _rows(lake: Lake, column: str, value: str) -> list[dict[str, Any]]:
    return [row for row in _read_rows(lake) if row[column] == value]


def _read_rows(lake: Lake) -> list[dict[str, Any]]:
    """Read who took in what; each data file once in a process, for it never changes and a stream adds one a batch."""
    if not table_exists(lake, LEDGER):
        return []
    columns = ["query_id", "batch_id", "origin", "ranges"]
    with delta_errors(lake):
        files = {(lake.root, file.path): file for file in scan_table(lake, LEDGER).get_fragments()}
        rows = {place: _READ[place] if place in _READ else file.to_table(columns=columns).to_pylist()
                for place, file in files.items()}
    for place in list(_READ):
        if place[0] == lake.root and place not in rows:
            _READ.pop(place, None)
    _READ.update(rows)
    return [row for of_file in rows.values() for row in of_file]
