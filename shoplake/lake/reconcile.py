"""Prove that nothing was lost and nothing doubled: offsets = ledger = bronze = all its places.

A record of bronze has one place: silver, duplicates, quarantine, or erased.

And that the live windows are what silver gives, and nobody who was erased has rows. Every check is a query that gives
the rows which break a guarantee, so an empty answer is the proof. Of the events coordinates, batch ids, identities, ids
of keys and what the windows sum are read, never a payload; DuckDB does the joins and spills them to disk when large.
"""
# ruff: noqa: S608 - every name that is put into a query stands in this file; no value is.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from shoplake.contract.measures import LIVE_WINDOWS, SALES, SALES_EVENT_TYPES, LiveWindow
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.sql import ask_number, connect_duckdb, select_table

MAX_EXAMPLES = 5
ERASED_USER_IS_BACK = "erased_user_is_back"

_SOURCES = {
    "bronze": BRONZE_EVENTS, "silver": SILVER_EVENTS, "duplicates": SILVER_DUPLICATES, "quarantine": SILVER_QUARANTINE,
    "erased": SILVER_ERASED, "ledger": LEDGER, **{f"{live.group}_windows": live.table for live in LIVE_WINDOWS},
}

_EACH_ROOM = "\nUNION ALL\n".join(
    f"SELECT '{room}' AS room, origin, \"partition\", \"offset\", query_id, batch_id FROM {room}"
    for room in ("bronze", "silver", "duplicates", "quarantine", "erased")
)
# What several checks share: small tables, or the offenders alone.
_PREPARATIONS = {
    "ranges": """
        SELECT query_id, batch_id, origin, r."partition" AS "partition", r.from_offset AS from_offset,
          r.until_offset AS until_offset
        FROM (SELECT query_id, batch_id, origin, unnest(ranges) AS r FROM ledger)""",
    "batches": f"""
        SELECT room, query_id, batch_id, origin, "partition", count(*) AS row_count, min("offset") AS first_offset,
          max("offset") AS last_offset
        FROM ({_EACH_ROOM}) GROUP BY ALL""",
    # An erased row counts where it was when the ledger counted it.
    "counted": """
        SELECT query_id, batch_id, place, sum(row_count)::BIGINT AS row_count FROM (
          SELECT query_id, batch_id, room AS place, row_count FROM batches WHERE room <> 'erased'
          UNION ALL
          SELECT query_id, batch_id, CASE place WHEN 'duplicate' THEN 'duplicates' ELSE place END, 1 FROM erased
        ) GROUP BY ALL""",
    "odd_coordinates": f"""
        SELECT origin, "partition", "offset", count(*) FILTER (room = 'bronze') AS bronze_count,
          count(*) FILTER (room <> 'bronze') AS verdict_count
        FROM ({_EACH_ROOM}) GROUP BY origin, "partition", "offset" HAVING bronze_count <> 1 OR verdict_count <> 1""",
}
_RANGE_CHECK = """
    SELECT origin, "partition", from_offset AS "offset", query_id, batch_id, covered_until
    FROM (
      SELECT *, coalesce(max(until_offset) OVER (
        PARTITION BY origin, "partition" ORDER BY from_offset, until_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ), 0) AS covered_until
      FROM ranges WHERE from_offset <> until_offset
    ) WHERE {problem}"""


def _count_check(room: str, column: str) -> str:
    return f"""
        SELECT query_id, batch_id, {column} AS ledger_count, coalesce(row_count, 0) AS counted
        FROM ledger LEFT JOIN (FROM counted WHERE place = '{room}') USING (query_id, batch_id)
        WHERE coalesce({column}, 0) <> coalesce(row_count, 0)"""


def _window_check(live: LiveWindow) -> str:
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SALES.items())
    key = f"window_start, {live.group}"
    return f"""
        WITH recomputed AS (
          SELECT time_bucket(INTERVAL '{live.length}', event_time) AS window_start, {live.group}, {sums}
          FROM silver WHERE event_type IN {SALES_EVENT_TYPES} GROUP BY ALL
        ), stored AS (SELECT {key}, {", ".join(SALES)} FROM {live.group}_windows)
        SELECT {key} FROM ((FROM recomputed EXCEPT ALL FROM stored) UNION ALL (FROM stored EXCEPT ALL FROM recomputed))
        GROUP BY ALL"""


# Name of the check -> the rows that break it.
_CHECKS = {
    "bronze_coordinate_repeated": 'SELECT origin, "partition", "offset" FROM odd_coordinates WHERE bronze_count > 1',
    "bronze_row_without_verdict":
        'SELECT origin, "partition", "offset" FROM odd_coordinates WHERE bronze_count > 0 AND verdict_count = 0',
    "verdict_without_bronze_row": 'SELECT origin, "partition", "offset" FROM odd_coordinates WHERE bronze_count = 0',
    "several_verdicts": 'SELECT origin, "partition", "offset" FROM odd_coordinates WHERE verdict_count > 1',
    "row_without_ledger": """
        SELECT room, query_id, batch_id, sum(row_count)::BIGINT AS row_count
        FROM batches ANTI JOIN ledger USING (query_id, batch_id) GROUP BY ALL""",
    "ledger_key_repeated": "SELECT query_id, batch_id FROM ledger GROUP BY ALL HAVING count(*) > 1",
    "ledger_batch_gap": """
        SELECT query_id, batch_id, previous FROM (
          SELECT query_id, batch_id, lag(batch_id, 1, -1) OVER (PARTITION BY query_id ORDER BY batch_id) AS previous
          FROM (SELECT DISTINCT query_id, batch_id FROM ledger)
        ) WHERE batch_id <> previous + 1""",
    "ledger_range_inverted": """
        SELECT query_id, batch_id, "partition", from_offset, until_offset FROM ranges
        WHERE from_offset > until_offset""",
    "ledger_range_gap": _RANGE_CHECK.format(problem="from_offset > covered_until"),
    "ledger_range_overlap": _RANGE_CHECK.format(problem="from_offset < covered_until"),
    # bronze_coordinate_repeated finds copies; so equal numbers between equal ends are equal sets.
    "ledger_range_is_not_bronze": """
        SELECT query_id, batch_id, origin, "partition", from_offset, until_offset, first_offset, last_offset,
          coalesce(row_count, 0) AS row_count
        FROM (SELECT * FROM ranges WHERE from_offset < until_offset)
        FULL JOIN (SELECT * FROM batches SEMI JOIN ledger USING (query_id, batch_id) WHERE room = 'bronze')
        USING (query_id, batch_id, origin, "partition")
        WHERE NOT coalesce(row_count = until_offset - from_offset AND first_offset = from_offset
          AND last_offset = until_offset - 1, false)""",
    "ledger_bronze_count": _count_check("bronze", "bronze_count"),
    "ledger_silver_count": _count_check("silver", "silver_count"),
    "ledger_duplicate_count": _count_check("duplicates", "duplicate_count"),
    "ledger_quarantine_count": _count_check("quarantine", "quarantine_count"),
    "ledger_erased_count": _count_check("erased", "erased_count"),
    "silver_key_repeated": "SELECT event_date, event_id FROM silver GROUP BY ALL HAVING count(*) > 1",
    "kept_copy_not_in_silver": """
        SELECT origin, "partition", "offset" FROM (
          SELECT * FROM duplicates AS copy ANTI JOIN silver AS kept
          ON kept.origin = copy.kept_origin AND kept."partition" = copy.kept_partition
            AND kept."offset" = copy.kept_offset AND kept.event_date = copy.event_date AND kept.event_id = copy.event_id
          UNION ALL BY NAME
          SELECT * FROM (FROM quarantine WHERE kept_origin IS NOT NULL) AS copy ANTI JOIN silver AS kept
          ON kept.origin = copy.kept_origin AND kept."partition" = copy.kept_partition
            AND kept."offset" = copy.kept_offset
        ) AS copy ANTI JOIN erased AS kept  -- a copy of another user's may differ from an erased one
        ON kept.origin = copy.kept_origin AND kept."partition" = copy.kept_partition
          AND kept."offset" = copy.kept_offset""",
    # An older copy of the lake was put back, or an erasure was killed.
    ERASED_USER_IS_BACK: """
        SELECT origin, "partition", "offset" FROM bronze SEMI JOIN destroyed USING (data_key_id)
        ANTI JOIN erased USING (origin, "partition", "offset")""",
    **{f"{live.group}_window_is_not_silver": _window_check(live) for live in LIVE_WINDOWS},
}


@dataclass(frozen=True)
class Residual:
    """A broken guarantee: how many rows break it, and up to five of them."""

    check: str
    count: int
    examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Reconciliation:
    """What the lake holds, in rows, and every residual; `offsets` are the records in the ledger's ranges."""

    offsets: int
    bronze: int
    silver: int
    duplicates: int
    quarantine: int
    erased: int
    by_reason: dict[str, int]
    reused_event_ids: int
    residuals: tuple[Residual, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether no residual was found."""
        return not self.residuals

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever ingested."""
        return self.is_balanced and self.offsets == 0

    def as_dict(self) -> dict[str, Any]:
        """Give the form that `--json` promises; by_reason may sum to more than rows: a record can fail several."""
        return {
            "offsets": self.offsets, "bronze": self.bronze, "silver": self.silver, "duplicates": self.duplicates,
            "quarantine": {"rows": self.quarantine, "by_reason": self.by_reason},
            "erased": self.erased, "reused_event_ids": self.reused_event_ids,
            "residuals": [{"check": residual.check, "count": residual.count, "examples": list(residual.examples)}
                          for residual in self.residuals],
            "balanced": self.is_balanced,
        }


def reconcile(lake: Lake, destroyed: Sequence[str] = ()) -> Reconciliation:
    """Count what the lake holds and look for residuals.

    The caller holds the `ingest` lock, so that nothing is under way. A missing lake or table counts as empty.

    Args:
        destroyed: ids of data keys that were destroyed: what they encrypted belongs to people who were erased.
    """
    with connect_duckdb(lake) as connection:
        connection.execute("CREATE TEMP TABLE destroyed AS SELECT unnest(?::VARCHAR[]) AS data_key_id",
                           [list(destroyed)])
        for name, table in _SOURCES.items():
            connection.execute(f"CREATE TEMP VIEW {name} AS {select_table(connection, lake, table)}")
        for name, query in _PREPARATIONS.items():
            connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
        found = [_find_residual(connection, check, query) for check, query in _CHECKS.items()]
        return Reconciliation(
            offsets=ask_number(connection, "SELECT coalesce(sum(until_offset - from_offset), 0) FROM ranges"),
            bronze=_count_rows(connection, "bronze"), silver=_count_rows(connection, "silver"),
            duplicates=_count_rows(connection, "duplicates"), quarantine=_count_rows(connection, "quarantine"),
            erased=_count_rows(connection, "erased"),
            by_reason=dict(connection.execute(
                "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM quarantine) GROUP BY 1 ORDER BY 1"
            ).fetchall()),
            reused_event_ids=ask_number(connection, """
                SELECT count(*) FROM (
                  SELECT event_id FROM silver GROUP BY event_id HAVING min(event_date) <> max(event_date)
                )"""),
            residuals=tuple(residual for residual in found if residual),
        )


def _find_residual(connection: duckdb.DuckDBPyConnection, check: str, query: str) -> Residual | None:
    # Not count(*) OVER (): now and then DuckDB 1.5.5 ends with an internal error there (its issue 25713).
    answer = connection.execute(
        f"WITH broken AS MATERIALIZED ({query}) "
        f"SELECT (SELECT count(*) FROM broken) AS found, * FROM broken ORDER BY ALL LIMIT {MAX_EXAMPLES}"
    )
    names = [column[0] for column in answer.description or ()]
    rows = answer.fetchall()
    if not rows:
        return None
    return Residual(check, rows[0][0], tuple(dict(zip(names[1:], row[1:], strict=True)) for row in rows))


def _count_rows(connection: duckdb.DuckDBPyConnection, room: str) -> int:
    return ask_number(connection, f"SELECT coalesce(sum(row_count), 0) FROM batches WHERE room = '{room}'")
