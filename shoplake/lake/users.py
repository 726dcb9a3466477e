"""Files of users: every line into bronze.users, the good ones of a source's newest file into silver.users_dim."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from shoplake.contract.render import arrow_schema
from shoplake.contract.users import BRONZE_USERS, USER_COUNTS, USER_FLAGS, USER_TEXTS, USERS_DIM
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, replace_rows, table_exists, text_literal
from shoplake.lake.data_keys import VALUE, DataKeys, day_owner, encrypt, is_user_id, open_rows
from shoplake.lake.locks import HeldLock, hold_lock
from shoplake.lake.pseudonyms import check_pseudonyms
from shoplake.quality.rules import JSON_VALID
from shoplake.quality.user_rules import USER_RULES
from shoplake.sources import SourceRecord
from shoplake.sources.c2c_users import USER_ID

_TOLD = {name: told for columns in (USER_TEXTS, USER_COUNTS, USER_FLAGS) for name, (told, _) in columns.items()}
_TOLD_RATE = "productsPassRate"


def ingest_users(
    records: Iterable[SourceRecord], source: str, sha256: str, kept_at_ms: int, lake: Lake, data_keys: DataKeys | None,
    lock_timeout: float,
) -> dict[str, int]:
    """Take a file's users in; give how many lines are new, went to silver, and were rejected.

    The same file again adds nothing. Each table is written in one commit, bronze first; a run that died between the
    two is ended by the next. Erased users are left out. The newest file is the one that came last, for the first time:
    what is in it cannot tell.

    Args:
        data_keys: the lake's; None leaves lines and users in the clear.

    Raises:
        ConfigError: the lake's events have pseudonyms of another key, or none.
        SourceError: the file holds no line that can be read.
        LockError: another run held the lock for `lock_timeout` seconds.
    """
    kept_at = datetime.fromtimestamp(kept_at_ms / 1000, UTC)
    check_pseudonyms(lake, data_keys)
    with hold_lock(lake, USERS_DIM.name, lock_timeout) as lock:
        if _is_in_bronze(lake, sha256):
            _replace_users(lake, source, data_keys, lock)
            return {"records": 0, "silver": 0, "rejected": 0}
        values = [record.value for record in records]
        judged = judge_users(values)
        sealed, data_key_ids = _seal(values, judged["user_id"].to_pylist(), sha256, kept_at, data_keys)
        rows = pa.table({
            "origin": pa.repeat(sha256, len(values)), "source": pa.repeat(source, len(values)),
            "offset": judged["offset"], "value": pa.array(sealed, pa.binary()), "reasons": judged["reasons"],
            "kept_at": pa.repeat(pa.scalar(kept_at, pa.timestamp("us", "UTC")), len(values)),
            "data_key_id": pa.array(data_key_ids, pa.string()),
        }).cast(arrow_schema(BRONZE_USERS))
        replace_rows(lake, BRONZE_USERS, rows, f"origin = {text_literal(sha256)}", lock)
        _replace_users(lake, source, data_keys, lock)
    good = pc.sum(pc.equal(pc.list_value_length(rows["reasons"]), 0)).as_py() or 0
    return {"records": len(values), "silver": good, "rejected": len(values) - good}


def _is_in_bronze(lake: Lake, sha256: str) -> bool:
    if not table_exists(lake, BRONZE_USERS):
        return False
    return bool(pc.any(pc.equal(read_table(lake, BRONZE_USERS, ["origin"])["origin"], sha256)).as_py())


def _seal(
    values: list[bytes], users: list[str | None], sha256: str, kept_at: datetime, data_keys: DataKeys | None,
) -> tuple[list[bytes | None], list[str | None]]:
    """Encrypt lines, each with the key of its user, or of the day; give them and the keys' ids."""
    if data_keys is None:
        return [*values], [None] * len(values)
    day = day_owner(kept_at.date().isoformat())
    owners = [user if user is not None and is_user_id(user) else day for user in users]
    keys = data_keys.find_or_make(set(owners))
    sealed = [None if (key := keys[owner].key) is None else encrypt(
        key, value, f"{line_place(sha256, offset)}/{VALUE}".encode())
        for offset, (owner, value) in enumerate(zip(owners, values, strict=True))]
    return sealed, [keys[owner].data_key_id for owner in owners]


def _unseal(lines: pa.Table, data_keys: DataKeys | None) -> list[bytes]:
    """Give the lines of bronze.users, which have a value, as they came."""
    opener = open_rows(data_keys, set(lines["data_key_id"].to_pylist()))
    columns = (lines[name].to_pylist() for name in ("data_key_id", "value", "origin", "offset"))
    opened = (opener.open(name, value, line_place(origin, offset), VALUE)
              for name, value, origin, offset in zip(*columns, strict=True))
    return [value for value in opened if value is not None]


def line_place(origin: str, offset: int) -> str:
    """Give the coordinates of a line, which its ciphertext is bound to."""
    return f"{origin}/{offset}"


def _replace_users(lake: Lake, source: str, data_keys: DataKeys | None, lock: HeldLock) -> None:
    """Make the source's rows of silver.users_dim those of its newest file with a good line."""
    bronze = read_table(lake, BRONZE_USERS)
    is_good = pc.equal(pc.list_value_length(bronze["reasons"]), 0)
    good = bronze.filter(pc.and_(pc.equal(bronze["source"], source), is_good)).sort_by([
        ("kept_at", "descending"), ("origin", "ascending"), ("offset", "ascending")])
    newest = good["origin"][0].as_py() if good.num_rows else None
    if newest == _tells(lake, source):
        return
    good = good.filter(pc.equal(good["origin"], newest))
    if data_keys is not None:
        good = good.filter(pc.invert(pc.is_in(good["data_key_id"], pa.array(data_keys.destroyed_ids(), pa.string()))))
    users = judge_users(_unseal(good, data_keys))
    if data_keys is not None:
        names = pa.array([data_keys.pseudonym(user) for user in users["user_id"].to_pylist()], pa.string())
        users = users.set_column(users.column_names.index("user_id"), "user_id", names)
    told = {"source": good["source"], "origin": good["origin"], "as_of_date": good["kept_at"].cast(pa.date32())}
    rows = pa.table([told[name] if name in told else users[name] for name in USERS_DIM.column_names],
                    names=list(USERS_DIM.column_names)).cast(arrow_schema(USERS_DIM))
    replace_rows(lake, USERS_DIM, rows, f"source = {text_literal(source)}", lock)


def _tells(lake: Lake, source: str) -> str | None:
    """Give the file that silver.users_dim has the source's users of."""
    if not table_exists(lake, USERS_DIM):
        return None
    rows = read_table(lake, USERS_DIM, ["source", "origin"])
    origins: list[str] = rows.filter(pc.equal(rows["source"], source))["origin"].to_pylist()
    return origins[0] if origins else None


def judge_users(values: Iterable[bytes]) -> pa.Table:
    """Type a file's lines and judge them by USER_RULES.

    Args:
        values: as `read_c2c_users` gives them, all of one file.

    Returns:
        offset, reasons (names of the broken rules), user_id, and the columns of silver.users_dim that a line tells;
        one row for each line, in their order.
    """
    users = [_read(value) for value in values]
    columns = (USER_ID, _TOLD_RATE, *_TOLD.values())
    lines = pa.table({
        "offset": pa.array(range(len(users)), pa.int64()), "is_json": pa.array([user is not None for user in users]),
        **{name: pa.array([None if user is None else user.get(name) for user in users], pa.string())
           for name in columns}})
    broken = ", ".join(f"CASE WHEN NOT ({rule.expression}) THEN '{rule.name}' END"
                       for rule in USER_RULES if rule.name != JSON_VALID)
    with duckdb.connect(":memory:") as connection:
        connection.register("lines", lines)
        return connection.execute(f"""
            WITH typed AS (
              SELECT "offset", is_json, "{USER_ID}" AS user_id, {_typed()},
                row_number() OVER (PARTITION BY "{USER_ID}" ORDER BY "offset") = 1 AS is_first FROM lines)
            SELECT *, CASE WHEN NOT is_json THEN ['{JSON_VALID}']
              ELSE list_filter([{broken}], lambda name: name IS NOT NULL) END AS reasons
            FROM typed ORDER BY "offset" """).to_arrow_table()  # noqa: S608 - of the contract's names and rules


def _typed() -> str:
    return ", ".join([
        *(f'"{told}" AS {name}' for name, (told, _) in USER_TEXTS.items()),
        *(f"CASE WHEN regexp_full_match(\"{told}\", '[0-9]{{1,12}}') THEN CAST(\"{told}\" AS BIGINT) END AS {name}"
          for name, (told, _) in USER_COUNTS.items()),
        f"CASE WHEN regexp_full_match(\"{_TOLD_RATE}\", '([0-9]{{1,2}}(\\.[0-9]{{1,20}})?|100(\\.0{{1,20}})?)') "
        f'THEN CAST("{_TOLD_RATE}" AS DECIMAL(28,6)) END AS pass_rate',
        *(f"CASE lower(\"{told}\") WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END AS {name}"
          for name, (told, _) in USER_FLAGS.items()),
    ])


def _read(value: bytes) -> dict[str, Any] | None:
    try:
        user = json.loads(value)
    except ValueError:
        return None
    is_user = isinstance(user, dict) and all(isinstance(cell, str) for cell in user.values())
    return user if is_user else None
