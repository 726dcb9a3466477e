"""Quarantined records that can be produced again, each once.

A copy carries its record's coordinates in the header `replay_of`, "origin/partition/offset". What was sent is read from
there: in bronze, and in what waits in the topic. The quarantine itself is never changed.
"""
# ruff: noqa: S608 - every name that is put into a query stands in this file or the contract; no value is.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from shoplake.contract.tables import BRONZE_EVENTS, SILVER_QUARANTINE
from shoplake.lake.addresses import Lake
from shoplake.lake.data_keys import HEADER, KEY, VALUE, DataKeys, open_rows
from shoplake.lake.sql import connect_duckdb, select_table

REPLAY_OF = "replay_of"
_FETCH_ROWS = 1000
_ORDER = 'ingest_time, origin, "partition", "offset"'
# An earlier copy's header goes: it names what it was a copy of, and would hide what it is.
_KEEP_HEADER = f"lambda header: header.key <> '{REPLAY_OF}'"
_MARK = """encode(origin || '/' || "partition" || '/' || "offset")"""


@dataclass(frozen=True)
class QuarantinedRecord:
    """A record to produce again: raw key and value, its headers and the mark, and the timestamp that it had.

    The timestamp stays, for it is the record's ingest_time, and every verdict that asks for a "now" asks it: with a new
    one, an event from the future would become valid by waiting, and each replayed event late.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


@dataclass(frozen=True)
class Waiting:
    """How many quarantined records there are of the reasons asked for, and why some of them are not sent.

    Attributes:
        found: all of them.
        replayed: a copy of them was sent before.
        rejected_again: copies themselves; sent only when asked for.
        empty: neither key nor value: the client sends none.
        by_reason: those to send; a record may fail several rules.
    """

    found: int
    replayed: int
    rejected_again: int
    empty: int
    to_send: int
    by_reason: dict[str, int]


class Quarantine:
    """The quarantine as it was when it was opened; see open_quarantine."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, quarantine: str, waiting: Waiting,
        data_keys: DataKeys | None,
    ) -> None:
        """Keep the connection; `quarantine` is the query of the table."""
        self.waiting = waiting
        self._connection = connection
        self._quarantine = quarantine
        self._data_keys = data_keys

    def read(self) -> Iterator[QuarantinedRecord]:
        """Give the records to send, in the order in which they came."""
        answer = self._connection.execute(f"""
            SELECT key, value, list_filter(coalesce(headers, []), {_KEEP_HEADER}), {_MARK}, epoch_ms(ingest_time),
              data_key_id
            FROM ({self._quarantine}) SEMI JOIN chosen USING (origin, "partition", "offset") ORDER BY {_ORDER}""")
        while rows := answer.fetchmany(_FETCH_ROWS):
            opener = open_rows(self._data_keys, {row[-1] for row in rows})
            for sealed_key, sealed_value, sealed_headers, mark, timestamp_ms, name in rows:
                place = mark.decode()
                key, value = opener.open(name, sealed_key, place, KEY), opener.open(name, sealed_value, place, VALUE)
                headers = [(one["key"], opener.open(name, one["value"], place, HEADER)) for one in sealed_headers]
                # The client takes no header without a value.
                kept = [(header, content or b"") for header, content in headers]
                yield QuarantinedRecord(key, value, [*kept, (REPLAY_OF, mark)], timestamp_ms)


@contextmanager
def open_quarantine(
    lake: Lake, data_keys: DataKeys | None, sent: Sequence[bytes], reasons: Sequence[str] = (),
    limit: int | None = None, again: bool = False,
) -> Iterator[Quarantine]:
    """Find the quarantined records that were not produced again yet.

    Args:
        data_keys: the lake's; None where its payloads are in the clear.
        sent: the marks in what waits in the topic; those in bronze are looked up here.
        reasons: only records that failed one of these rules; none given: all.
        limit: only the first so many.
        again: also copies that were rejected in their turn.
    """
    with connect_duckdb(lake) as connection:
        quarantine = select_table(connection, lake, SILVER_QUARANTINE)
        bronze = select_table(connection, lake, BRONZE_EVENTS)
        connection.register("tail", pa.table({"mark": pa.array(sent, pa.binary())}))
        connection.execute(f"""
            CREATE TEMP TABLE sent AS SELECT mark FROM tail UNION
            SELECT header.value FROM (SELECT unnest(headers) AS header FROM ({bronze})) WHERE header.key = '{REPLAY_OF}'
            """)
        connection.execute(f"""
            CREATE TEMP TABLE candidates AS
            SELECT origin, "partition", "offset", ingest_time, reasons, key IS NULL AND value IS NULL AS is_empty,
              len(list_filter(coalesce(headers, []), lambda header: header.key = '{REPLAY_OF}')) > 0 AS is_copy,
              {_MARK} IN (SELECT mark FROM sent WHERE mark IS NOT NULL) AS is_sent
            FROM ({quarantine}) WHERE len($reasons) = 0 OR list_has_any(reasons, $reasons)""",
            {"reasons": list(reasons)})
        connection.execute(f"""
            CREATE TEMP TABLE chosen AS
            SELECT * FROM candidates WHERE NOT is_sent AND NOT is_empty AND (NOT is_copy OR {again})
            ORDER BY {_ORDER} {'' if limit is None else f'LIMIT {limit:d}'}""")
        yield Quarantine(connection, quarantine, _count(connection, again), data_keys)


def _count(connection: duckdb.DuckDBPyConnection, again: bool) -> Waiting:
    counts: Any = connection.execute(f"""
        SELECT count(*), count(*) FILTER (is_sent), count(*) FILTER (NOT is_sent AND is_copy AND NOT {again}),
          count(*) FILTER (NOT is_sent AND is_empty), (SELECT count(*) FROM chosen) FROM candidates""").fetchone()
    by_reason = connection.execute(
        "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM chosen) GROUP BY 1 ORDER BY 1").fetchall()
    found, replayed, rejected_again, empty, to_send = counts
    return Waiting(found, replayed, rejected_again, empty, to_send, dict(by_reason))
