"""Which days a gold table has still to build: what the ledger gained since the version that the table has read."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

from deltalake.exceptions import DeltaError

from shoplake.contract.tables import LEDGER, Table
from shoplake.errors import StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, scan_table, table_exists

LEDGER_VERSION = "ledger_version"
AS_OF = "as_of_date"


@dataclass(frozen=True)
class Changes:
    """Days with new rows in silver.events, all days that have rows, and the ledger version that names them.

    `ledger_version` is None where there is no ledger.
    """

    dates: frozenset[date]
    all_dates: frozenset[date]
    ledger_version: int | None


def find_changes(lake: Lake, table: Table) -> Changes:
    """Compare the ledger with what the newest commits of `table` say they have read."""
    version = newest_ledger_version(lake)
    if version is None:
        return Changes(frozenset(), frozenset(), None)
    built = built_ledger_version(lake, table)
    known = set() if built is None else _batches_at(lake, built)
    with delta_errors(lake):
        ended = scan_table(lake, LEDGER, version).to_table(columns=["query_id", "batch_id", "event_dates"])
    rows = ended.to_pylist()
    new = [row for row in rows if (row["query_id"], row["batch_id"]) not in known]
    return Changes(_dates_of(new), _dates_of(rows), version)


def newest_ledger_version(lake: Lake) -> int | None:
    """Give the version of the ledger; None where there is none."""
    return open_table(lake, LEDGER).version() if table_exists(lake, LEDGER) else None


def has_read_all(lake: Lake, built: int | None, wanted: int | None) -> bool:
    """Tell whether a build that has read one version of the ledger knows every batch of another.

    A merge of the ledger's files makes a new version without a new batch.
    """
    if built is None or wanted is None or built == wanted:
        return built is not None and built == wanted
    batches = _batches_at(lake, wanted)
    return bool(batches) and batches <= _batches_at(lake, built)


def built_ledger_version(lake: Lake, table: Table, as_of: date | None = None) -> int | None:
    """Give the ledger version that the table's newest build has read; None where it was never built.

    Args:
        as_of: of the newest build of this day's snapshot.
    """
    if not table_exists(lake, table):
        return None
    with delta_errors(lake):
        commits = open_table(lake, table).history()
    for commit in commits:
        metadata = json.loads(commit.get("userMetadata") or "{}")
        if LEDGER_VERSION in metadata and (as_of is None or metadata.get(AS_OF) == as_of.isoformat()):
            return int(metadata[LEDGER_VERSION])
    return None


def _batches_at(lake: Lake, version: int) -> set[tuple[str, int]]:
    try:
        with delta_errors(lake):
            rows = scan_table(lake, LEDGER, version).to_table(columns=["query_id", "batch_id"])
    except (DeltaError, OSError, StorageError):  # that version was vacuumed away: build every day again
        return set()
    return {(row["query_id"], row["batch_id"]) for row in rows.to_pylist()}


def _dates_of(rows: list[dict[str, Any]]) -> frozenset[date]:
    return frozenset(day for row in rows for day in row["event_dates"])
