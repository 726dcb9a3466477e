"""The event contract: the JSON record on the topic, its versions and its canonical text.

Design: v1 is the first form (an event without an identity of its own); v2 adds optional fields only, so a v1 record
stays valid. Money and counts travel as strings or numbers and are never floats in here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shoplake.contract.columns import Column, Privacy

EVENT_TYPES = ("product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled")
SCHEMA_VERSIONS = (1, 2)
PRICE_TYPE = "DECIMAL(18,4)"
PRICE_SCALE = 4
# With a price's 18 digits a product of both has 38, as many as engines compute with: it is rounded once, at the end.
EXCHANGE_RATE_DIGITS, EXCHANGE_RATE_SCALE = 19, 11
EXCHANGE_RATE_TYPE = f"DECIMAL({EXCHANGE_RATE_DIGITS},{EXCHANGE_RATE_SCALE})"
MAX_TEXT_LENGTH = 256
CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]"  # a regular expression, of Java as of Python: no text of an event has one
# What stands for a category, and for a brand where one is counted, that nobody told.
UNCATEGORISED, UNBRANDED = "uncategorised", "unbranded"
# Kafka's timestamps begin in 1970; a day later its day is 1970 in every zone.
FIRST_EVENT_TIME = "1970-01-02 00:00:00+00:00"

# The typed v1 fields, in the order of their canonical text.
V1_FIELDS = ("event_time", "user_id", "product_id", "category", "price", "quantity", "event_type")

# Stands for NULL in canonical text: a control character that no trimmed identifier holds, so NULL and '' differ.
CANONICAL_NULL = "\x00"
CANONICAL_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Field:
    """One field of the JSON record.

    Attributes:
        type: the type in silver, in Spark's type language.
        since: the schema version that brought it.
        required: a record without it is quarantined.
    """

    name: str
    type: str
    since: int
    required: bool
    description: str
    privacy: Privacy = "internal"

    def column(self) -> Column:
        """Give the typed column of silver.events."""
        return Column(self.name, self.type, self.description, nullable=not self.required, privacy=self.privacy)


FIELDS = (
    Field("event_time", "TIMESTAMP", 1, True,
          "When it happened, UTC; sent as ISO 8601 with an offset, fractions beyond microseconds are cut"),
    Field("user_id", "STRING", 1, True, "Who did it", "personal"),
    Field("product_id", "STRING", 1, True, "Which product", "public"),
    Field("category", "STRING", 1, True, "The product's category as the event saw it", "public"),
    Field("price", PRICE_TYPE, 1, True,
          "Unit price, at least 0, at most 4 decimals; silver has it in the shop's currency", "public"),
    Field("quantity", "INT", 1, True, "How many, more than 0", "public"),
    Field("event_type", "STRING", 1, True, "One of " + ", ".join(EVENT_TYPES), "public"),
    Field("event_id", "STRING", 2, True,
          "Identity within the shop's day; without it the SHA-256 of the typed v1 fields", "personal"),
    Field("order_id", "STRING", 2, False, "The order or invoice", "personal"),
    Field("session_id", "STRING", 2, False, "The shopper's visit", "personal"),
    Field("brand", "STRING", 2, False, "The product's brand", "public"),
    Field("currency", "STRING", 2, True,
          "ISO 4217 of the price as it was sent; the shop's currency when not sent", "public"),
    Field("is_guest", "BOOLEAN", 2, True, "An order without a customer account; false when not sent"),
    Field("source", "STRING", 2, False, "The reader or shop system that the event came from"),
    Field("schema_version", "INT", 2, True, "1 or 2; 1 when not sent"),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)


def check_mapping(fields: Mapping[str, str], constants: Mapping[str, Any], needed: Sequence[str] = V1_FIELDS) -> None:
    """Refuse a mapping of somebody's rows to events that could never give one.

    Args:
        fields: the contract's field -> where it stands in a row.
        constants: the contract's field -> the same value for all rows.
        needed: the fields that one of the two must give.

    Raises:
        ValueError: saying what is wrong; settings and definitions name its place.
    """
    given = {*fields, *constants}
    if unknown := given - set(FIELD_NAMES):
        raise ValueError(f"no fields of the contract: {', '.join(sorted(unknown))}; there are {', '.join(FIELD_NAMES)}")
    if missing := set(needed) - given:
        raise ValueError(f"fields or constants lack {', '.join(sorted(missing))}")
    if twice := set(fields) & set(constants):
        raise ValueError(f"both a field and a constant: {', '.join(sorted(twice))}")


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Write an event as the topic's JSON: decimals as strings, times as ISO 8601 in UTC, absent fields left out."""
    return json.dumps(
        {name: _json_value(value) for name, value in event.items() if value is not None},
        ensure_ascii=False, separators=(",", ":"),
    ).encode()


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value


def utc_text(moment: datetime) -> str:
    """Write an aware time as ISO 8601 in UTC with six decimals, `2026-01-31T23:59:59.000000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def derive_event_id(event: Mapping[str, Any]) -> str:
    """Compute the identity of an event that carries none: SHA-256 (hex) over the canonical text of the v1 fields.

    The canonical text is UTC microseconds, a price with four decimals, and NULL apart from the empty string.
    `shoplake.streaming.parse` computes the same in Spark; a test holds the two together.

    Args:
        event: typed values (datetime, Decimal, int, str or None) of V1_FIELDS.
    """
    text = CANONICAL_SEPARATOR.join(_canonical(event.get(name)) for name in V1_FIELDS)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> str:
    if value is None:
        return CANONICAL_NULL
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Decimal):
        return f"{value:.{PRICE_SCALE}f}"
    return str(value)
