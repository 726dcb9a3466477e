"""What must be true of a lake, whatever happened: by the producer's ledger, the simulator's truth, a quiet run."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from shoplake.batch.job import BUILT_TABLES
from shoplake.contract import tables
from shoplake.contract.events import derive_event_id
from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, table_exists
from shoplake.lake.data_keys import DAY, KEY, OUTSIDE, VALUE, DataKeys, open_data_keys, open_rows
from shoplake.lake.ledger import count_rows
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.lake.reconcile import reconcile
from shoplake.settings import load_settings

SALES = ("order_count", "units", "gross_amount", "cancelled_units", "cancelled_amount", "net_amount")
COLUMNS = {
    tables.SILVER_EVENTS: ("event_date", "event_id", "event_type", "product_id", "category", "price", "quantity",
                           "is_late", "event_time", "user_id"),
    tables.SILVER_DUPLICATES: ("event_date", "event_id"),
    tables.DAILY_SALES: tables.DAILY_SALES.column_names,
    tables.CATEGORY_REVENUE: ("event_date", "category", *SALES, "net_amount_week_before", "net_growth_week"),
    tables.DAILY_SALES_SUMMARY: tables.DAILY_SALES_SUMMARY.column_names,
    tables.CUSTOMER_DAILY_SALES: tables.CUSTOMER_DAILY_SALES.column_names,
    tables.SESSIONS: tables.SESSIONS.column_names,
    tables.CONVERSION_FUNNEL: tables.CONVERSION_FUNNEL.column_names,
    tables.PRODUCT_REVENUE_5MIN: ("window_start", "product_id", *SALES),
    tables.CATEGORY_REVENUE_1H: ("window_start", "category", *SALES),
}
COORDINATES = ("origin", "partition", "offset")
_EVENT_IDS = {"event_id", "session_key", "order_event_id"}
RECORDS = (tables.BRONZE_EVENTS, tables.SILVER_EVENTS, tables.SILVER_DUPLICATES, tables.SILVER_QUARANTINE)


def as_text(value: Any) -> Any:
    """Write a cell as the simulator's truth writes it: money and growth as text, times in UTC with six digits.

    Lists become tuples, which can be counted.
    """
    if isinstance(value, list):
        return tuple(as_text(one) for one in value)
    if isinstance(value, dict):
        return tuple((key, as_text(one)) for key, one in value.items())
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return value


def rows_of(lake: Lake, table: Table, columns: Sequence[str] | None = None) -> Counter[tuple[Any, ...]]:
    """Read a table's columns (default: all) as a multiset of rows, by delta-rs: Spark does not check itself.

    Users and events have their own ids, whether they are pseudonyms or digests with a key in the lake or not: those
    differ from lake to lake.
    """
    names = list(columns or table.column_names)
    told = told_users(lake) if "user_id" in names else {}
    if _EVENT_IDS & set(names):
        told |= told_events(lake)
    return Counter(
        tuple(told.get(row[name], row[name]) if name == "user_id" or name in _EVENT_IDS else as_text(row[name])
              for name in names)
        for row in read_table(lake, table, names).to_pylist())


def keys_of(lake: Lake) -> DataKeys | None:
    """Give the keys of a test's lake, which lie beside it; None where its records are in the clear."""
    place = Path(lake.root).parent
    if not (place / "keys" / "data_keys").exists():
        return None
    settings = load_settings()
    governance = settings.governance.model_copy(update={"pseudonyms": True})
    return open_data_keys(settings.model_copy(update={"data_dir": place, "governance": governance}), lake)


def told_users(lake: Lake) -> dict[str, str]:
    """Give who each pseudonym of a lake is."""
    data_keys = keys_of(lake)
    if data_keys is None:
        return {}
    ids = {name for table in (tables.BRONZE_EVENTS, tables.BRONZE_USERS) if table_exists(lake, table)
           for name in read_table(lake, table, ["data_key_id"])["data_key_id"].to_pylist()}
    owners = data_keys.owners(ids - {None, OUTSIDE}).values()
    return {data_keys.pseudonym(owner): owner for owner in owners if not owner.startswith(DAY)}


def told_events(lake: Lake) -> dict[str, str]:
    """Give the digest that each keyed one of an event_id is made of, by the records of bronze.events."""
    data_keys = keys_of(lake)
    if data_keys is None or not table_exists(lake, tables.BRONZE_EVENTS):
        return {}
    ids = {_identity(row["value"]) for row in payloads_of(lake, tables.BRONZE_EVENTS, ["value"], erased=True)}
    return {hashlib.sha256(data_keys.digest_key() + one.encode()).hexdigest(): one for one in ids - {None}}


def _identity(value: bytes | None) -> str | None:
    """Give an event's event_id, or the one that is made of it; None where nothing can be read."""
    try:
        event = json.loads(value or b"", parse_float=Decimal)
        return event.get("event_id") or derive_event_id({
            **event, "event_time": datetime.fromisoformat(event["event_time"]), "price": Decimal(event["price"])})
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        return None


def payloads_of(lake: Lake, table: Table, columns: Sequence[str], erased: bool = False) -> list[dict[str, Any]]:
    """Read columns of bronze.events or silver.quarantine with `key` and `value` as they were sent.

    Args:
        erased: whether rows may be there whose key was destroyed; they have None.
    """
    data_keys = keys_of(lake)
    rows: list[dict[str, Any]] = read_table(
        lake, table, [*{*columns, *COORDINATES, "key", "value", "data_key_id"}]).to_pylist()
    opener = open_rows(data_keys, {row["data_key_id"] for row in rows})
    for row in rows:
        place = "/".join(str(row[name]) for name in COORDINATES)
        for part in (KEY, VALUE):
            if erased and opener.is_erased(row["data_key_id"]):
                row[part] = None
                continue
            row[part] = opener.open(row["data_key_id"], row[part], place, part)
    return rows


def assert_same(name: str, seen: Counter[Any], right: Counter[Any]) -> None:
    """Fail with the rows that one of the two lacks."""
    missing, extra = right - seen, seen - right
    found = (f"{name}: {missing.total()} rows missing, e.g. {list(missing)[:3]}; "
             f"{extra.total()} too many, e.g. {list(extra)[:3]}")
    assert not missing, found
    assert not extra, found


def check_truth(lake: Lake, truth: Mapping[str, Any]) -> None:
    """Compare the lake with the simulator's right answers: zero differing rows, money to the last digit."""
    for table in COLUMNS:
        assert_same(table.name, rows_of(lake, table, COLUMNS[table]), Counter(map(tuple, truth[table.name])))
    bronze = payloads_of(lake, tables.BRONZE_EVENTS, ["value"])
    assert_same("bronze.events", Counter(hashlib.sha256(row["value"]).hexdigest() for row in bronze),
                Counter(truth["bronze.events"]))
    quarantine = payloads_of(lake, tables.SILVER_QUARANTINE, ["value", "reasons"])
    refused = ((hashlib.sha256(row["value"]).hexdigest(), tuple(sorted(row["reasons"]))) for row in quarantine)
    assert_same("silver.quarantine", Counter(refused),
                Counter((value, tuple(reasons)) for value, reasons in truth["silver.quarantine"]))
    ledger = count_rows(lake)
    assert {"offsets": ledger["offsets"], "late": ledger["late"], "silver": ledger["silver"]} == {
        "offsets": truth["rows"]["bronze.events"], "late": truth["late_count"],
        "silver": truth["rows"]["silver.events"]}


def read_acks(path: Path) -> Counter[tuple[int, int, str]]:
    """Read what `producer.py --acks` wrote; a line that a kill has cut short is none."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    return Counter((int(partition), int(offset), identity)
                   for partition, offset, identity in csv.reader(whole.splitlines()))


def check_acknowledged(lake: Lake, acks: Iterable[tuple[int, int, str]]) -> None:
    """Fail unless each acknowledged record is in bronze exactly once, under its coordinates and with its identity."""
    bronze = payloads_of(lake, tables.BRONZE_EVENTS, ["partition", "offset", "value"])
    places = Counter((row["partition"], row["offset"]) for row in bronze)
    values = {(row["partition"], row["offset"]): row["value"] for row in bronze}
    for partition, offset, identity in acks:
        assert offset >= 0, f"the broker did not say where {identity} is"
        assert places[partition, offset] == 1, f"{identity} is {places[partition, offset]} times in bronze"
        sent = _event_id(values[partition, offset])
        assert not sent or sent == identity, f"{partition}/{offset} is {sent}, not {identity}"


def _event_id(value: bytes) -> str | None:
    try:
        event_id = json.loads(value)["event_id"]
    except (ValueError, KeyError, TypeError):
        return None  # a broken record, or one of version 1, whose identity is derived
    return event_id if isinstance(event_id, str) else None  # a planted fault may have emptied it


def hash_gold(lake: Lake) -> dict[str, str]:
    """Give a hash of each table's sorted rows that the batch job builds."""
    return {table.name: hashlib.sha256(repr(sorted(rows_of(lake, table).items(), key=repr)).encode()).hexdigest()
            for table in BUILT_TABLES if table_exists(lake, table)}


def check_nothing_doubled(lake: Lake) -> None:
    """Fail if a record stands twice in a table: it may be half-way, but never doubled."""
    for table in RECORDS:
        if table_exists(lake, table):
            doubled = [row for row, count in rows_of(lake, table, COORDINATES).items() if count > 1]
            assert not doubled, f"{table.name}: {len(doubled)} records stand there twice, e.g. {doubled[:3]}"


def check_balanced(lake: Lake) -> None:
    """Fail unless offsets = ledger = bronze = silver + duplicates + quarantine, record by record."""
    with hold_lock(lake, INGEST, 0):
        found = reconcile(lake)
    assert found.is_balanced, found.residuals
    assert found.offsets == found.bronze == found.silver + found.duplicates + found.quarantine + found.erased


@dataclass(frozen=True)
class Oracle:
    """All right answers of one sending.

    Attributes:
        truth: the simulator's document; None where it does not tell.
        acks: what the producer was told by the broker.
        gold: `hash_gold` of an undisturbed run; None where there is none.
    """

    truth: Mapping[str, Any] | None = None
    acks: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    gold: Mapping[str, str] | None = None

    def check(self, lake: Lake) -> None:
        """Fail unless nothing was lost, doubled or changed."""
        check_nothing_doubled(lake)
        check_balanced(lake)
        check_acknowledged(lake, self.acks)
        if self.truth is not None:
            check_truth(lake, self.truth)
        if self.gold is not None:
            assert hash_gold(lake) == self.gold
