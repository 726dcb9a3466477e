"""Take a person out of the lake: their key, their rows, and what older versions of the tables hold of them.

The key goes first, so nothing that comes in is kept any more, and a run that dies is ended by another one with the same
user. Rows leave tombstones in silver.erased, which say where a record lay and nothing of what it said, so the lake
balances. Aggregates of gold, which name nobody, stay as they are until their day is built again.
"""
# ruff: noqa: S608 - every name that is put into a query stands in this file or the contract; no value is.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

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
from shoplake.errors import GateRefusedError
from shoplake.governance.erasure_files import names_user
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import (
    days_predicate,
    delta_errors,
    open_table,
    read_table,
    replace_rows,
    table_exists,
    text_literal,
)
from shoplake.lake.data_keys import DAY_KEY, KEY, OUTSIDE, VALUE, DataKeys, open_rows
from shoplake.lake.ledger import find_broken_off
from shoplake.lake.locks import INGEST, HeldLock, hold_lock
from shoplake.lake.maintenance import purge_history, write_lock
from shoplake.lake.pseudonyms import check_pseudonyms
from shoplake.lake.rebuild import clear_scratch
from shoplake.lake.repair import clear_aside
from shoplake.lake.replay import REPLAY_OF
from shoplake.lake.sql import ask_number, connect_duckdb, select_table
from shoplake.lake.users import line_place

_PLACES = {SILVER_EVENTS: "silver", SILVER_DUPLICATES: "duplicate", SILVER_QUARANTINE: "quarantine"}
_COORDINATES = ("origin", "partition", "offset")
_AT = ", ".join(f'"{name}"' for name in _COORDINATES)
_PLACE = (*_COORDINATES, "ingest_date")
_MARK_OF_A_COPY = f"[header FOR header IN headers IF header.key = '{REPLAY_OF}']"
_FETCH_ROWS = 1000
_STREAMED_ROWS = 100_000


@dataclass
class Erasure:
    """What was taken out.

    Attributes:
        records: records of the person in bronze, now unreadable or without their payload.
        rows: table -> rows taken out of it.
        unsure: records that cannot be read and hold the user's id, which is a number and may be anything there; they
            stay.
        event_days: shop days on which silver.events lost rows; gold's aggregates of these days still count them.
    """

    records: int = 0
    unsure: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    event_days: set[date] = field(default_factory=set)


def erase_user(lake: Lake, data_keys: DataKeys, user: str, lock_timeout: float) -> Erasure:
    """Take a user out of every table; again, it finds nothing more.

    Raises:
        ConfigError: these are not the keys of the lake.
        GateRefusedError: a batch has broken off: its repeat would write what is taken out here.
        LockError: another writer held a table for `lock_timeout` seconds; what was done so far stays.
    """
    done = Erasure()
    pseudonym = data_keys.pseudonym(user)
    with hold_lock(lake, INGEST, lock_timeout) as lock:
        check_pseudonyms(lake, data_keys)
        _refuse_broken_off(lake)
        data_key_id = data_keys.destroy(user)
        if table_exists(lake, BRONZE_EVENTS):
            _take_out_records(lake, data_keys, data_key_id, user, done, lock)
        if lake.is_local:
            clear_scratch(lake)
            clear_aside(lake)
    for table in _tables_of_users():
        with hold_lock(lake, write_lock(table), lock_timeout) as lock, connect_duckdb(lake) as connection:
            if table is CANCELLATIONS:
                _note(done, table, _delete_orphans(connection, lake, lock))
            elif table is BRONZE_USERS:
                done.unsure += _take_out_lines(connection, lake, data_keys, user, lock)
            else:
                _note(done, table, _delete(connection, lake, table, f"user_id = {text_literal(pseudonym)}", lock))
            purge_history(lake, table, lock)
    return done


def tables_to_publish() -> tuple[Table, ...]:
    """Give the served tables that an erasure may change."""
    return tuple(table for table in (*_tables_of_users(), *(live.table for live in LIVE_WINDOWS)) if table.served)


def _refuse_broken_off(lake: Lake) -> None:
    for batch in find_broken_off(lake):
        command = ("spark-submit spark/streaming_pipeline.py --drain" if batch.query_id != batch.origin else
                   "spark-submit spark/batch_processing.py with the same historical file")
        raise GateRefusedError(f"a batch of {batch.query_id} has broken off, and its repeat would bring back what an "
                               f"erasure takes out; nothing was erased. End it first: {command}")


def _take_out_records(
    lake: Lake, data_keys: DataKeys, data_key_id: str, user: str, done: Erasure, lock: HeldLock,
) -> None:
    with connect_duckdb(lake) as connection:
        done.unsure = _collect_places(connection, lake, data_keys, data_key_id, user)
        _add_tombstones(connection, lake, lock)
        done.records = ask_number(connection, "SELECT count(*) FROM places")
        _find_lost_days(connection, lake, done)
        for live in LIVE_WINDOWS:
            _count_windows_again(connection, lake, live, lock)
        for table in _PLACES:
            _note(done, table, _delete(connection, lake, table, _stands_in("places"), lock))
        # The last, because a broken record that names the user is found by its payload.
        for table in (SILVER_QUARANTINE, BRONZE_EVENTS):
            _update(connection, lake, table, _stands_in("keyed"), {"key": "NULL", "headers": _MARK_OF_A_COPY}, lock)
        _update(connection, lake, BRONZE_EVENTS, _stands_in("named"), {
            "key": "NULL", "value": "NULL", "headers": _MARK_OF_A_COPY, "data_key_id": text_literal(OUTSIDE)}, lock)
    for table in (BRONZE_EVENTS, *_PLACES, *(live.table for live in LIVE_WINDOWS)):
        purge_history(lake, table, lock)


def _tables_of_users() -> Iterator[Table]:
    for table in TABLES:
        if table is BRONZE_USERS or table is CANCELLATIONS or (
                "user_id" in table.column_names and table is not SILVER_EVENTS):
            yield table


def _collect_places(
    connection: duckdb.DuckDBPyConnection, lake: Lake, data_keys: DataKeys, data_key_id: str, user: str,
) -> int:
    """Make three tables of coordinates with ingest_date.

    `named`: of records with a day's key that name the user; `keyed`: of other users' records whose Kafka key is the
    user's id; `places`: of all that go, the user's own and `named`.

    Returns:
        Erasure.unsure.
    """
    unsure = 0
    bronze = select_table(connection, lake, BRONZE_EVENTS)
    answer = connection.execute(f"""
        SELECT origin, "partition", "offset", ingest_date, data_key_id, key, value FROM ({bronze})
        WHERE data_key_id LIKE '{DAY_KEY}%' OR (octet_length(key) > 0 AND data_key_id <> ?)""", [data_key_id])
    found: dict[str, list[tuple[Any, ...]]] = {"named": [], "keyed": []}
    while rows := answer.fetchmany(_FETCH_ROWS):
        opener = open_rows(data_keys, {row[4] for row in rows})
        for origin, part, offset, day, name, sealed_key, sealed_value in rows:
            if opener.is_erased(name):
                continue
            place = f"{origin}/{part}/{offset}"
            key = opener.open(name, sealed_key, place, KEY)
            if not name.startswith(DAY_KEY):
                if key == user.encode():
                    found["keyed"].append((origin, part, offset, day))
                continue
            said = {names_user(text, user) for text in (key, opener.open(name, sealed_value, place, VALUE)) if text}
            if True in said:
                found["named"].append((origin, part, offset, day))
            elif None in said:
                unsure += 1
    types = (pa.string(), pa.int32(), pa.int64(), pa.date32())
    for name, places in found.items():
        columns = zip(*places, strict=True) if places else ((), (), (), ())
        connection.register(f"{name}_rows", pa.table({
            column: pa.array(values, type_)
            for column, values, type_ in zip(_PLACE, columns, types, strict=True)}))
        connection.execute(f"CREATE TEMP TABLE {name} AS FROM {name}_rows")
    connection.execute(f"""
        CREATE TEMP TABLE places AS
        SELECT {_AT}, ingest_date FROM ({bronze}) WHERE data_key_id = ? UNION FROM named""", [data_key_id])
    return unsure


def _take_out_lines(
    connection: duckdb.DuckDBPyConnection, lake: Lake, data_keys: DataKeys, user: str, lock: HeldLock,
) -> int:
    """Take lines of files of users that do not tell one user, and name this one, out of bronze.users.

    Returns:
        How many more are like Erasure.unsure.
    """
    if not table_exists(lake, BRONZE_USERS):
        return 0
    lines = read_table(lake, BRONZE_USERS, ["origin", "offset", "data_key_id", "value"])
    lines = lines.filter(pc.starts_with(lines["data_key_id"], DAY_KEY))
    opener = open_rows(data_keys, set(lines["data_key_id"].to_pylist()))
    said = [(row, names_user(opener.open(row["data_key_id"], row["value"], line_place(row["origin"], row["offset"]),
                                         VALUE) or b"", user)) for row in lines.to_pylist()]
    connection.register("named", pa.Table.from_pylist(
        [{"origin": row["origin"], "offset": row["offset"]} for row, names in said if names],
        schema=pa.schema([("origin", pa.string()), ("offset", pa.int64())])))
    _update(connection, lake, BRONZE_USERS, _stands_in("named", ("origin", "offset")),
            {"value": "NULL", "data_key_id": text_literal(OUTSIDE)}, lock)
    return sum(names is None for _, names in said)


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


def _find_lost_days(connection: duckdb.DuckDBPyConnection, lake: Lake, done: Erasure) -> None:
    """Make the table `lost_days` of the days in UTC that will lose events; note the shop's days.

    Those of an earlier run, too, which its tombstones tell.
    """
    connection.execute(f"""
        CREATE TEMP TABLE lost_days AS SELECT DISTINCT event_time::DATE AS day
        FROM ({select_table(connection, lake, SILVER_EVENTS)}) SEMI JOIN places USING ({_AT})""")
    days = connection.execute(f"""
        SELECT DISTINCT event_date FROM ({select_table(connection, lake, SILVER_ERASED)}) SEMI JOIN places USING ({_AT})
        WHERE place = 'silver'""").fetchall()
    done.event_days |= {day for (day,) in days}


def _delete_orphans(connection: duckdb.DuckDBPyConnection, lake: Lake, lock: HeldLock) -> int:
    """Delete the cancellations whose event is not in silver.events any more, also those that a killed run has left."""
    events = select_table(connection, lake, SILVER_EVENTS)
    has_event = _stands_in(f"({events})", ("event_date", "event_id"))
    return _delete(connection, lake, CANCELLATIONS, f"NOT {has_event}", lock)


def _stands_in(rows: str, names: tuple[str, ...] = _COORDINATES) -> str:
    """Give the condition that a row has its like among others."""
    same = " AND ".join(f'other."{name}" = mine."{name}"' for name in names)
    return f"EXISTS (SELECT 1 FROM {rows} AS other WHERE {same})"


def _delete(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, gone: str, lock: HeldLock) -> int:
    """Delete the rows of which a condition in SQL holds; give how many there were."""
    return _write_again(connection, lake, table, gone, "SELECT * EXCLUDE gone FROM ({rows}) WHERE NOT gone", lock)


def _update(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, changed: str, values: Mapping[str, str],
    lock: HeldLock,
) -> None:
    """Set columns to values in SQL, in the rows of which a condition holds."""
    columns = ", ".join(f"CASE WHEN gone THEN {value} ELSE {name} END AS {name}" for name, value in values.items())
    _write_again(connection, lake, table, changed, f"SELECT * EXCLUDE gone REPLACE ({columns}) FROM ({{rows}})", lock)


def _write_again(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table, condition: str, query: str, lock: HeldLock,
) -> int:
    """Replace the days that have rows of which a condition holds by what a query makes of them, in one commit.

    delta-rs can delete, update and merge, too, but writes texts as string_view then, by which Arrow cannot filter; and
    a lake in a bucket is read through Arrow.

    Returns:
        How many rows there were of which it holds.
    """
    rows = f"SELECT *, {condition} AS gone FROM ({select_table(connection, lake, table)}) AS mine"
    found = dict(connection.execute(
        f"SELECT {table.partition_by or 'NULL'}, count(*) FROM ({rows}) WHERE gone GROUP BY 1").fetchall())
    if not found:
        return 0
    where = days_predicate(table, list(found)) if table.partition_by else None
    if where:
        rows = f"SELECT * FROM ({rows}) WHERE {where}"
    answer = connection.execute(query.format(rows=rows)).to_arrow_reader(_STREAMED_ROWS)
    replace_rows(lake, table, answer, where, lock)
    return sum(found.values())


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
    replace_rows(lake, table, rows.cast(arrow_schema(table)), days_predicate(table, days), lock)


def _note(done: Erasure, table: Table, rows: int) -> None:
    if rows:
        done.rows[table.name] = done.rows.get(table.name, 0) + rows
