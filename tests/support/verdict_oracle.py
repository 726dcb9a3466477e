"""What must become of a record, in plain Python: written from the contract's table (docs/data_dictionary.md), not from
the package's rules, and with no code of theirs. `judge` is the second opinion of the fuzz tests.

Where the contract leaves something open, the behaviour is decided here, marked with OPEN.
"""

import hashlib
import json
import re
import string
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

FIELDS = ("event_time", "user_id", "product_id", "category", "price", "quantity", "event_type", "event_id", "order_id",
          "session_id", "brand", "currency", "is_guest", "source", "schema_version")
V1_FIELDS = FIELDS[:7]
TEXT_FIELDS = ("user_id", "product_id", "category", "event_type", "event_id", "order_id", "session_id", "brand",
               "currency", "source")
BOUNDED = tuple(name for name in TEXT_FIELDS if name not in ("event_type", "currency"))
EVENT_TYPES = {"product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled"}
SHOP_CURRENCY, SHOP_ZONE = "GBP", ZoneInfo("Europe/London")
SECOND, MINUTE, DAY = 10**6, 60 * 10**6, 86_400 * 10**6  # microseconds
FUTURE_TOLERANCE, LATE_AFTER = 5 * MINUTE, 10 * MINUTE
LONGEST_TEXT, LARGEST_AMOUNT = 256, 10**12
# OPEN: what a JSON reader may refuse as too much. These are Spark's, and no record of a shop comes near them.
DEEPEST, LONGEST_NUMBER, LONGEST_NAME = 1000, 1000, 50_000

PART, RAW_SIGN = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL), re.compile(r"[^\"\\]|\\.", re.DOTALL)
LONGEST_NAME_OF_OURS = 14
PLAIN = frozenset(string.ascii_letters + string.digits + "_")
BLANK = " \t\r\n"  # what JSON calls white space, and nothing else
TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
                  r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))")
PRICE = re.compile(r"-?[0-9]{1,14}(?:\.[0-9]{1,4})?")
# OPEN: zeros in front are read (007 is 7), up to ten digits in all.
INTEGER = re.compile(r"-?[0-9]{1,10}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)|[^\\]+", re.DOTALL)
NAME = re.compile(r'("(?:[^"\\]|\\.)*")[ \t\r\n]*(:?)', re.DOTALL)

# For the nesting that is allowed, json wants more of Python's stack than its default.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))


@dataclass(frozen=True)
class Verdict:
    """What must become of a record.

    Attributes:
        reasons: the names of the rules that it breaks, sorted; none: it is a row of silver.events.
        row: that row's typed fields, each as text (None is NULL), with event_date, and the time in microseconds.
        is_late: it is marked late.
    """

    reasons: tuple[str, ...]
    row: dict[str, str | None] | None = None
    is_late: bool = False


class NotJson(Exception):
    """The value is not one JSON object in UTF-8."""


class Number(str):
    """A JSON number as it is written: no float ever stands for it."""


def judge(value: bytes | None, timestamp_ms: int) -> Verdict:
    """Judge a record by its bytes and its Kafka timestamp alone."""
    try:
        document = read_object(value)
    except NotJson:
        return Verdict(("json_valid",))
    reasons: set[str] = set()
    texts: dict[str, str | None] = {}
    for name in FIELDS:
        item = document.get(name)
        if isinstance(item, dict | list):
            # A type changed: read as text, a list would become a user's name.
            reasons.add("fields_scalar")
            item = json.dumps(item)
        # OPEN: a number or true in the place of a text is read as it is written; the other way round too.
        texts[name] = {True: "true", False: "false"}[item] if isinstance(item, bool) else item
    typed = type_fields(texts)
    reasons |= broken_rules(texts, typed, timestamp_ms * 1000)
    if reasons:
        return Verdict(tuple(sorted(reasons)))
    row = write_row(typed)
    return Verdict((), row, typed["event_time"] < timestamp_ms * 1000 - LATE_AFTER)


def read_object(value: bytes | None) -> dict[str, Any]:
    """Read the value as one JSON object in UTF-8 (RFC 8259): a name given twice has its last value."""
    if value is None:
        raise NotJson
    try:
        text = value.decode("utf-8").strip(BLANK)
    except UnicodeDecodeError as error:
        raise NotJson from error
    if not text.startswith("{") or is_too_deep(text) or has_lone_surrogate(text) or has_escaped_name(text):
        raise NotJson
    try:
        document = json.loads(text, parse_float=read_number, parse_int=read_number, parse_constant=refuse_constant,
                              object_pairs_hook=read_pairs)
    except json.JSONDecodeError as error:
        raise NotJson from error
    return dict(document)


def read_number(text: str) -> Number:
    if len(text) > LONGEST_NUMBER and sum(map(str.isdigit, text)) > LONGEST_NUMBER:
        raise NotJson
    return Number(text)


def refuse_constant(_: str) -> None:
    raise NotJson  # NaN and Infinity are no JSON


def read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if any(len(name) > LONGEST_NAME for name, _ in pairs):
        raise NotJson
    return dict(pairs)


def is_too_deep(text: str) -> bool:
    if text.count("{") + text.count("[") <= DEEPEST:
        return False
    depth = deepest = 0
    for sign in re.findall(r"[{}\[\]]", STRING.sub("", text)):
        depth += 1 if sign in "{[" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def has_lone_surrogate(text: str) -> bool:
    """Half of a character, as \\ud800 alone: no UTF-8 can write it, and what stands for it would merge two names."""
    if "\\u" not in text:
        return False
    is_open = False
    for match in ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        is_low = 0xDC00 <= code <= 0xDFFF
        if is_low != is_open:
            return True
        is_open = 0xD800 <= code <= 0xDBFF
    return is_open


def has_escaped_name(text: str) -> bool:
    """Whether a letter, a digit or _ of a name, at any depth, is written as an escape: \\u0061 for a.

    OPEN: JSON allows it, no writer does it, and it would hide a field from whoever looks at the text. Only the last 14
    characters before the name's end are looked at: none of our names is longer.
    """
    if "\\u" not in text:
        return False
    for name in (match[1] for match in NAME.finditer(text) if match[2] and "\\u" in match[1]):
        parts = PART.findall(name[1:-1])
        if any(is_plain(part) and len(RAW_SIGN.findall("".join(parts[place + 1:]))) <= LONGEST_NAME_OF_OURS
               for place, part in enumerate(parts)):
            return True
    return False


def is_plain(part: str) -> bool:
    return len(part) == 6 and chr(int(part[2:], 16)) in PLAIN


def type_fields(texts: dict[str, str | None]) -> dict[str, Any]:
    """Give each field's typed value: None where it was not sent, or cannot be typed."""
    typed: dict[str, Any] = dict(texts)
    typed["event_time"] = read_time(texts["event_time"])
    price = texts["price"]
    typed["price"] = Decimal(price) if price is not None and PRICE.fullmatch(price) else None
    typed["quantity"] = read_integer(texts["quantity"])
    typed["currency"] = SHOP_CURRENCY if texts["currency"] is None else texts["currency"]
    guest = texts["is_guest"]
    typed["is_guest"] = "false" if guest is None else guest if guest in ("true", "false") else None
    version = texts["schema_version"]
    typed["schema_version"] = 1 if version is None else read_integer(version)
    return typed


def read_integer(text: str | None) -> int | None:
    if text is None or not INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -2**31 <= number < 2**31 else None


def read_time(text: str | None) -> int | None:
    """Read ISO 8601 with an offset; microseconds since 1970, what is finer is cut."""
    match = TIME.fullmatch(text) if text is not None else None
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[number]) for number in range(1, 7))
    if not (1 <= month <= 12 and 1 <= day <= days_in_month(year, month) and hour < 24 and minute < 60 and second < 60):
        return None  # OPEN: no leap seconds, and the day's end is 00:00 of the next
    offset = 0
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if minutes > 59 or 60 * hours + minutes > 18 * 60:
            return None  # OPEN: no place on earth is more than 14 hours away from UTC; 18 is Java's limit
        offset = (60 * hours + minutes) * (1 if match[8] == "+" else -1)
    micros = int(((match[7] or "") + "000000")[:6])
    days = days_before_year(year) - days_before_year(1970) + day - 1
    days += sum(days_in_month(year, earlier) for earlier in range(1, month))
    return days * DAY + (hour * 60 + minute - offset) * MINUTE + second * SECOND + micros


def days_before_year(year: int) -> int:
    last = year - 1
    return 365 * last + last // 4 - last // 100 + last // 400


def days_in_month(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def broken_rules(texts: dict[str, str | None], typed: dict[str, Any], sent: int) -> set[str]:
    time, price, quantity = typed["event_time"], typed["price"], typed["quantity"]
    is_broken = {
        "event_time_valid": time is None,
        "event_time_not_future": time is not None and time > sent + FUTURE_TOLERANCE,
        "event_time_not_ancient": time is not None and time < DAY,  # before 1970-01-02
        "user_id_present": not texts["user_id"],  # OPEN: a blank is a name
        "product_id_present": not texts["product_id"],
        "category_present": not texts["category"],
        "price_valid": price is None,
        "price_not_negative": price is not None and price < 0,
        "quantity_valid": quantity is None,
        "quantity_positive": quantity is not None and quantity <= 0,
        "amount_bounded": price is not None and quantity is not None and price * quantity > LARGEST_AMOUNT,
        "event_type_known": typed["event_type"] not in EVENT_TYPES,
        "event_id_present": texts["event_id"] == "",
        "currency_supported": typed["currency"] != SHOP_CURRENCY,
        "is_guest_valid": typed["is_guest"] is None,
        "schema_version_supported": typed["schema_version"] not in (1, 2),
        "text_bounded": any(len(texts[name] or "") > LONGEST_TEXT for name in BOUNDED),
        "text_clean": any(CONTROL.search(text) for text in texts.values() if text),
    }
    return {name for name, broken in is_broken.items() if broken}


def write_row(typed: dict[str, Any]) -> dict[str, str | None]:
    """Write a good record's typed fields as text, with the identity and the shop's day."""
    texts = {name: None if typed[name] is None else str(typed[name]) for name in FIELDS}
    texts["price"] = f"{abs(typed['price']):.4f}"  # it is not negative; minus nothing is nothing
    if texts["event_id"] is None:
        texts["event_id"] = derive_identity(texts, typed["event_time"])
    return {**texts, "event_date": shop_day(typed["event_time"]).isoformat()}


def derive_identity(texts: dict[str, str | None], time: int) -> str:
    """SHA-256 of the typed v1 fields in canonical text."""
    parts = {**texts, "event_time": write_time(time)}
    return hashlib.sha256("\x1f".join(str(parts[name]) for name in V1_FIELDS).encode()).hexdigest()


def write_time(micros: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z"


def shop_day(micros: int) -> date:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return moment.astimezone(SHOP_ZONE).date()
