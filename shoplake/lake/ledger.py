"""What ops.ledger says of the way so far: offsets taken in, and batches that are done."""

from typing import Any

import pyarrow.compute as pc

from shoplake.contract.tables import LEDGER
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, table_exists


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


def committed_batches(lake: Lake, query_id: str) -> set[int]:
    """Give the batch ids of a query that have their ledger row."""
    return {row["batch_id"] for row in _rows(lake, "query_id", query_id)}


def count_rows(lake: Lake) -> dict[str, int]:
    """Sum the whole ledger: batches, offsets in, and rows to each place."""
    totals = dict.fromkeys(("batches", "offsets", "silver", "duplicates", "quarantine", "late"), 0)
    if not table_exists(lake, LEDGER):
        return totals
    for row in read_table(lake, LEDGER).to_pylist():
        totals["batches"] += 1
        totals["offsets"] += sum(taken["until_offset"] - taken["from_offset"] for taken in row["ranges"])
        totals["silver"] += row["silver_count"]
        totals["duplicates"] += row["duplicate_count"]
        totals["quarantine"] += row["quarantine_count"]
        totals["late"] += row["late_count"]
    return totals


def _rows(lake: Lake, column: str, value: str) -> list[dict[str, Any]]:
    if not table_exists(lake, LEDGER):
        return []
    ledger = read_table(lake, LEDGER, ["query_id", "batch_id", "origin", "ranges"])
    rows: list[dict[str, Any]] = ledger.filter(pc.equal(ledger[column], value)).to_pylist()
    return rows
