"""A simulated record with the verdict that it must get, known because it was planted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from shoplake.contract.events import FIELD_NAMES, derive_event_id, encode_event
from shoplake.simulation.shoppers import Activity

SOURCE = "simulator"
V1_EVENT_TYPES = ("product_viewed", "add_to_cart", "order_created")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Kind(StrEnum):
    """What a record is among the simulated ones; each is of exactly one kind."""

    NORMAL = "normal"
    LATE = "late"
    OUT_OF_ORDER = "out_of_order"
    CORRUPT = "corrupt"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    CONFLICT_SAME_TIME = "conflict_same_time"
    CONFLICT_OTHER_DATE = "conflict_other_date"


@dataclass(frozen=True, slots=True)
class SimulatedRecord:
    """One record and its right answers.

    Attributes:
        timestamp_ms: the simulated moment of sending, milliseconds since 1970.
        event: typed values of all contract fields; of a rejected record, what it was meant to be.
        event_id: the sent identity, or the derived one of a v1 record.
        event_date: the shop's day of the event.
        reasons: the names of all rules that must quarantine it, sorted; empty for a good record.
        is_late: it was sent more than quality.late_after after its event_time.
        shop_hour: the hour of the shop's day of the event.
    """

    key: bytes
    value: bytes
    timestamp_ms: int
    kind: Kind
    event: Mapping[str, Any]
    event_id: str
    event_date: date
    reasons: tuple[str, ...] = ()
    is_late: bool = False
    shop_hour: int = 0


def utc_moment(microseconds: int) -> datetime:
    """Give the UTC time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_microseconds(moment: datetime) -> int:
    """Give the microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def shop_date(moment: datetime, time_zone: ZoneInfo) -> date:
    """Give the shop's day of an aware time."""
    return moment.astimezone(time_zone).date()


def make_event(activity: Activity, event_time: datetime, event_id: str | None, currency: str) -> dict[str, Any]:
    """Type a shopper's activity as an event; without an event_id it is of schema version 1.

    A v1 event has no v2 field, but in silver the defaults stand in for them: they are values here too.
    """
    is_v2 = event_id is not None
    return {
        "event_time": event_time, "user_id": activity.user_id, "product_id": activity.product_id,
        "category": activity.category, "price": activity.price, "quantity": activity.quantity,
        "event_type": activity.event_type, "event_id": event_id,
        "order_id": activity.order_id if is_v2 else None, "session_id": activity.session_id if is_v2 else None,
        "brand": activity.brand if is_v2 else None, "currency": currency,
        "is_guest": activity.is_guest if is_v2 else False, "source": SOURCE if is_v2 else None,
        "schema_version": 2 if is_v2 else 1,
    }


def sent_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields that the shopper's device sends: a v1 device knows none of v2, not even the defaults."""
    if event["schema_version"] == 1:
        return {name: event[name] for name in FIELD_NAMES[:FIELD_NAMES.index("event_id")]}
    return dict(event)


def identify(event: Mapping[str, Any]) -> str:
    """Give the event's identity: the sent one, or the derived one."""
    return str(event["event_id"] or derive_event_id(event))


def make_record(
    event: Mapping[str, Any], timestamp_ms: int, kind: Kind, time_zone: ZoneInfo, *, value: bytes | None = None,
    reasons: tuple[str, ...] = (), is_late: bool = False,
) -> SimulatedRecord:
    """Put a typed event into a record, keyed by its user; `value` where it is not the plain encoding."""
    return SimulatedRecord(
        key=event["user_id"].encode(), value=encode_event(sent_fields(event)) if value is None else value,
        timestamp_ms=timestamp_ms, kind=kind, event=event, event_id=identify(event),
        event_date=shop_date(event["event_time"], time_zone), reasons=reasons, is_late=is_late,
        shop_hour=event["event_time"].astimezone(time_zone).hour,
    )
