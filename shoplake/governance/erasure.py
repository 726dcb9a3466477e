"""Take a person out of the lake: their key, their rows, and what older versions of the tables hold of them.

The key goes first, so nothing that comes in is kept any more, and a run that dies is ended by another one with the same
user. Rows leave tombstones in silver.erased, which say where a record lay and nothing of what it said, so the lake
balances. Aggregates of gold, which name nobody, stay as they are until their day is built again.
"""
# ruff: noqa: S608 - every name that is put into a query stands in this file or the contract; no value is.

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import duckdb
import pyarrow as pa
from deltalake import write_deltalake
from deltalake.table import TableMerger

from shoplake.contract.measures import LIVE_WINDOWS, SALES, SALES_EVENT_TYPES, LiveWindow
from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import (
    BRONZE_EVENTS,
    BRONZE_USERS,
    CANCELLATIONS,
    SILVER_DUPLICATES,
    SILVER_ERASED,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    TABLES,
    Table,
)
from shoplake.governance.erasure_files import names_user
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, replace_rows, table_exists, text_literal
from shoplake.lake.data_keys import DAY_KEY, OUTSIDE, DataKeys, unseal_payload
from shoplake.lake.locks import INGEST, HeldLock, hold_lock
from shoplake.lake.maintenance import purge_history, write_lock
from shoplake.lake.sql import connect_duckdb, select_table

_PLACES = {SILVER_EVENTS: "silver", SILVER_DUPLICATES: "duplicate", SILVER_QUARANTINE: "quarantine"}
_COORDINATES = ("origin", "partition", "offset")
_AT = ", ".join(f'"{name}"' for name in _COORDINATES)
_FETCH_ROWS = 1000


@dataclass
class Erasure:
    """What was taken out.

    Attributes:
        records: records of the person in bronze, now unreadable or without their payload.
        rows: table -> rows taken out of it.
        event_days: shop days on which silver.events lost rows; gold's aggregates of these days still count them.
    """

    records: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    event_days: set[date] = field(default_factory=set)


def erase_user(lake: Lake, data_keys: DataKeys, user: str, lock_timeout: float) -> Erasure:
    """Take a user out of every table; again, it finds nothing more.

    Raises:
        LockError: another writer held a table for `lock_timeout` seconds; what was done so far stays.
    """
    done = Erasure()
    pseudonym = data_keys.pseudonym(user)
    with hold_lock(lake, INGEST, lock_timeout) as lock:
        data_key_id = data_keys.destroy(user)
        with connect_duckdb(lake) as connection:
            _collect_places(connection, lake, data_keys, data_key_id, user)
            _take_out_payloads(connection, lake, lock)
            _add_tombstones(connection, lake, lock)
            done.records = _count(connection, "SELECT count(*) FROM places")
            done.event_days = _lost_days(connection, lake)
            for live in LIVE_WINDOWS:
                _count_windows_again(connection, lake, live, lock)
            for table in _PLACES:
                _note(done, table, _delete_at(connection, lake, table, lock))
        for table in (BRONZE_EVENTS, *_PLACES, *(live.table for live in LIVE_WINDOWS)):
            purge_history(lake, table, lock)
    for table in _tables_of_users():
        with hold_lock(lake, write_lock(table), lock_timeout) as lock:
            if table is CANCELLATIONS:
                _note(done, table, _delete_orphans(lake, table, lock))
            elif table is not BRONZE_USERS:
                _note(done, table, _delete_where(lake, table, pseudonym, lock))
            purge_history(lake, table, lock)
    return done


def _tables_of_users() -> Iterator[Table]:
    for table in TABLES:
        if table is BRONZE_USERS or table is CANCELLATIONS or (
                "user_id" in table.column_names and table is not SILVER_EVENTS):
            yield table


def _collect_places(
    connection: duckdb.DuckDBPyConnection, lake: Lake, data_keys: DataKeys, data_key_id: str, user: str,
) -> None:
    """Make the tables `named`, of records that name the user under another's key, and `places`, of all records."""
    bronze = select_table(connection, lake, BRONZE_EVENTS)
    answer = connection.execute(f"""
        SELECT {_AT}, data_key_id, key, value FROM ({bronze})
        WHERE data_key_id LIKE '{DAY_KEY}%' OR (octet_length(key) > 0 AND data_key_id <> ?)""", [data_key_id])
    destroyed = {*data_keys.destroyed_ids(), OUTSIDE}
    named: list[tuple[str, int, int]] = []
    while rows := answer.fetchmany(_FETCH_ROWS):
        for *place, name, sealed_key, sealed_value in rows:
            if name not in destroyed:
                at = "/".join(map(str, place)).encode()
                key, value = unseal_payload(data_keys, name, sealed_key, sealed_value, at)
                if any(names_user(text, user) for text in (key, value) if text):
                    named.append((place[0], place[1], place[2]))
    columns = zip(*named, strict=True) if named else ((), (), ())
    types = (pa.string(), pa.int32(), pa.int64())
    found = pa.table({name: pa.array(values, type_)
                      for name, values, type_ in zip(_COORDINATES, columns, types, strict=True)})
    connection.register("found", found)
    connection.execute("CREATE TEMP TABLE named AS FROM found")
    connection.execute(f"""
        CREATE TEMP TABLE places AS
        SELECT {_AT}, ingest_date FROM ({bronze}) WHERE data_key_id = ?
        UNION SELECT {_AT}, ingest_date FROM ({bronze}) SEMI JOIN named USING ({_AT})""", [data_key_id])


def _take_out_payloads(connection: duckdb.DuckDBPyConnection, lake: Lake, lock: HeldLock) -> None:
    named = connection.execute(f"FROM places SEMI JOIN named USING ({_AT})").to_arrow_table()
    if named.num_rows:
        lock.check()
        with delta_errors(lake):
            _merge(lake, BRONZE_EVENTS, named, ("ingest_date",)).when_matched_update(
                {"key": "NULL", "value": "NULL", "data_key_id": text_literal(OUTSIDE)}).execute()


def _add_tombstones(connection: duckdb.DuckDBPyConnection, lake: Lake, lock: HeldLock) -> None:
    """Say of each row where it was, before it goes; those that an earlier run has left stay."""
    names = ", ".join("place" if name == "place" else f'"{name}"' for name in SILVER_ERASED.column_names)
    rows = " UNION ALL ".join(f"SELECT * REPLACE ('{place}' AS place) FROM (SELECT {names} FROM (SELECT *, '' AS place "
                              f"FROM ({select_table(connection, lake, table)})) SEMI JOIN places USING ({_AT}))"
                              for table, place in _PLACES.items())
    stones = connection.execute(f"""
        SELECT {names} FROM ({rows})
        ANTI JOIN ({select_table(connection, lake, SILVER_ERASED)}) USING ({_AT})""").to_arrow_table()
    if stones.num_rows:
        lock.check()
        with delta_errors(lake):
            write_deltalake(open_table(lake, SILVER_ERASED), stones.cast(arrow_schema(SILVER_ERASED)), mode="append")


def _lost_days(connection: duckdb.DuckDBPyConnection, lake: Lake) -> set[date]:
    """Make the table `lost_days` of the days in UTC that will lose events; give the shop's days."""
    connection.execute(f"""
        CREATE TEMP TABLE lost_days AS SELECT DISTINCT event_time::DATE AS day, event_date
        FROM ({select_table(connection, lake, SILVER_EVENTS)}) SEMI JOIN places USING ({_AT})""")
    return {day for (day,) in connection.execute("SELECT DISTINCT event_date FROM lost_days").fetchall()}


def _delete_at(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, lock: HeldLock) -> int:
    gone = connection.execute(f"""
        SELECT {_AT}, {table.partition_by} FROM ({select_table(connection, lake, table)})
        SEMI JOIN places USING ({_AT})""").to_arrow_table()
    return _delete_matching(lake, table, gone, (*_COORDINATES, str(table.partition_by)), lock)


def _delete_orphans(lake: Lake, table: Table, lock: HeldLock) -> int:
    """Delete the rows whose event is not in silver.events any more, also those that a killed run has left."""
    with connect_duckdb(lake) as connection:
        events = select_table(connection, lake, SILVER_EVENTS)
        gone = connection.execute(f"""
            SELECT event_date, event_id FROM ({select_table(connection, lake, table)})
            ANTI JOIN ({events}) USING (event_date, event_id)""").to_arrow_table()
    return _delete_matching(lake, table, gone, ("event_date", "event_id"), lock)


def _delete_matching(lake: Lake, table: Table, rows: pa.Table, on: Sequence[str], lock: HeldLock) -> int:
    if not rows.num_rows or not table_exists(lake, table):
        return 0
    lock.check()
    with delta_errors(lake):
        return int(_merge(lake, table, rows, on).when_matched_delete().execute()["num_target_rows_deleted"])


def _merge(lake: Lake, table: Table, rows: pa.Table, on: Sequence[str]) -> TableMerger:
    names = dict.fromkeys((*on, *(_COORDINATES if set(_COORDINATES) <= set(rows.column_names) else ())))
    predicate = " AND ".join(f'mine."{name}" = gone."{name}"' for name in names)
    return open_table(lake, table).merge(rows, predicate, source_alias="gone", target_alias="mine")


def _delete_where(lake: Lake, table: Table, pseudonym: str, lock: HeldLock) -> int:
    if not table_exists(lake, table):
        return 0
    lock.check()
    with delta_errors(lake):
        return int(open_table(lake, table).delete(f"user_id = {text_literal(pseudonym)}")["num_deleted_rows"])


def _count_windows_again(
    connection: duckdb.DuckDBPyConnection, lake: Lake, live: LiveWindow, lock: HeldLock,
) -> None:
    """Make the live windows of the lost days what silver gives without the rows that will go.

    Before they go: a run that dies in between finds the same days again.
    """
    table = live.table
    days = [day for (day,) in connection.execute("SELECT DISTINCT day FROM lost_days ORDER BY 1").fetchall()]
    if not days:
        return
    sums = ", ".join(f"{sql} AS {name}" for name, sql in SALES.items())
    rows = connection.execute(f"""
        SELECT {", ".join(table.column_names)} FROM (
          SELECT window_start::DATE AS window_date, window_start, window_start + INTERVAL '{live.length}' AS window_end,
            {live.group}, {sums}
          FROM (
            SELECT *, time_bucket(INTERVAL '{live.length}', event_time) AS window_start
            FROM ({select_table(connection, lake, SILVER_EVENTS)}) ANTI JOIN places USING ({_AT})
            WHERE event_time::DATE IN (SELECT day FROM lost_days) AND event_type IN {SALES_EVENT_TYPES}
          ) GROUP BY ALL)""").to_arrow_table()
    listed = ", ".join(f"DATE '{day.isoformat()}'" for day in days)
    replace_rows(lake, table, rows.cast(arrow_schema(table)), f"window_date IN ({listed})", lock)


def _note(done: Erasure, table: Table, rows: int) -> None:
    if rows:
        done.rows[table.name] = done.rows.get(table.name, 0) + rows


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
