"""All that the lake knows of one person, for a request of access."""
# ruff: noqa: S608 - every name that is put into a query stands in this file or the contract; no value is.

import base64
from typing import Any

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    BRONZE_USERS,
    CANCELLATIONS,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    TABLES,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.data_keys import VALUE, DataKeys, open_rows
from shoplake.lake.pseudonyms import check_pseudonyms
from shoplake.lake.sql import connect_duckdb, select_table
from shoplake.lake.users import line_place

_AT = 'origin, "partition", "offset"'


def read_user(lake: Lake, data_keys: DataKeys, user: str) -> dict[str, Any]:
    """Give the records of a user as they came, and the rows of every table that stand for them.

    Returns:
        `pseudonym`; `records`, each with topic, timestamp, value and the reasons for which it was rejected, if it was;
        `lines` of files of users; `tables`: name -> rows. Bytes that are no text are base64.

    Raises:
        ConfigError: these are not the keys of the lake.
    """
    data_key = data_keys.find_owner(user)
    pseudonym = data_keys.pseudonym(user)
    check_pseudonyms(lake, data_keys)
    found: dict[str, Any] = {"pseudonym": pseudonym, "records": [], "lines": [], "tables": {}}
    with connect_duckdb(lake) as connection:
        if data_key is not None and data_key.key is not None:
            opener = open_rows(data_keys, [data_key.data_key_id])
            rows = connection.execute(f"""
                SELECT {_AT}, topic, "timestamp", value, reasons FROM ({select_table(connection, lake, BRONZE_EVENTS)})
                LEFT JOIN (
                  SELECT {_AT}, reasons FROM ({select_table(connection, lake, SILVER_QUARANTINE)})) USING ({_AT})
                WHERE data_key_id = ? ORDER BY "timestamp", {_AT}""", [data_key.data_key_id]).fetchall()
            for origin, part, offset, topic, timestamp, value, reasons in rows:
                clear = opener.open(data_key.data_key_id, value, f"{origin}/{part}/{offset}", VALUE)
                found["records"].append({"topic": topic, "timestamp": timestamp.isoformat(), "value": _text(clear),
                                         "rejected_for": reasons or []})
            lines = connection.execute(f"""
                SELECT source, origin, "offset", value FROM ({select_table(connection, lake, BRONZE_USERS)})
                WHERE data_key_id = ? ORDER BY ALL""", [data_key.data_key_id]).fetchall()
            for source, origin, offset, value in lines:
                clear = opener.open(data_key.data_key_id, value, line_place(origin, offset), VALUE)
                found["lines"].append({"source": source, "value": _text(clear)})
        events = f"SELECT event_id FROM ({select_table(connection, lake, SILVER_EVENTS)}) WHERE user_id = ?"
        places = f"SELECT {_AT} FROM ({select_table(connection, lake, BRONZE_EVENTS)}) WHERE data_key_id = ?"
        conditions = {
            **{table: ("user_id = ?", pseudonym) for table in TABLES if "user_id" in table.column_names},
            CANCELLATIONS: (f"event_id IN ({events})", pseudonym),
            SILVER_DUPLICATES: (f"({_AT}) IN ({places})", data_key and data_key.data_key_id)}
        for table, (condition, value) in conditions.items():
            answer = connection.execute(
                f"SELECT * FROM ({select_table(connection, lake, table)}) WHERE {condition} ORDER BY ALL", [value])
            names = [column[0] for column in answer.description or ()]
            if rows := answer.fetchall():
                found["tables"][table.name] = [dict(zip(names, row, strict=True)) for row in rows]
    return found


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
