"""Make records out of shoppers' activities, and plant the faults among them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from shoplake.quality.rules import CONFLICTING_DUPLICATE
from shoplake.settings import Settings
from shoplake.simulation.draws import Draws
from shoplake.simulation.records import (
    V1_EVENT_TYPES,
    Kind,
    SimulatedRecord,
    make_event,
    make_record,
    to_microseconds,
    utc_moment,
)
from shoplake.simulation.shoppers import Activity
from shoplake.simulation.texts import CORRUPTIONS, SAME_CONTENT

COPIES = frozenset({Kind.DUPLICATE, Kind.CONFLICT_SAME_TIME, Kind.CONFLICT_OTHER_DATE})

_MINUTE_MS = 60_000
_LATEST_MS = 2 * 86_400_000
_USUAL_DELAY_MS = 2_000
_V1_SHARE = 0.05
_OTHER_TEXT_SHARE = 0.1
_SAME_BYTES_SHARE = 0.5
_ON_THE_BOUNDARY = 0.05
_PENNY = Decimal("0.01")
# How far a future-dated event lies beyond what is tolerated: a moment, an hour, a year, the year 2099 and later.
_AHEAD_MS = (1, 3_600_000, 365 * 86_400_000, 75 * 365 * 86_400_000)


class Planter:
    """Make the records of one run; equal calls in equal order make equal records."""

    def __init__(self, run: str, settings: Settings, draws: Draws) -> None:
        self.run = run
        self.draws = draws
        self._zone = ZoneInfo(settings.shop.time_zone)
        self._currency = settings.shop.currency
        self._late_after_ms = settings.quality.late_after * _MINUTE_MS
        self._tolerance_ms = settings.quality.future_tolerance * _MINUTE_MS

    def draw_delay(self, kind: Kind, longest_ms: int) -> int:
        """Draw the milliseconds between an event's millisecond and its sending.

        Lateness turns at exactly late_after: some late events are one millisecond beyond it, some that are merely out
        of order are exactly on it.
        """
        late_after = self._late_after_ms
        on_boundary = self.draws.chance(_ON_THE_BOUNDARY)
        if kind is Kind.LATE:
            delay = late_after + 1 if on_boundary else late_after + self.draws.between(1, _LATEST_MS)
            return delay if delay <= longest_ms else self.draws.between(late_after + 1, longest_ms)
        if kind is Kind.OUT_OF_ORDER:
            return late_after if on_boundary else self.draws.between(late_after // 10, late_after)
        return min(self.draws.between(0, min(_USUAL_DELAY_MS, late_after)), longest_ms)

    def make_original(
        self, number: int, activity: Activity, kind: Kind, event_us: int, sent_ms: int,
    ) -> SimulatedRecord:
        """Make the record of an activity; of a copy kind: the normal record that the copy will follow.

        Args:
            number: the activity's number, the part of its identity that no other event of the run has.
            event_us: microseconds since 1970; a future-dated event gets a time of its own.
        """
        if kind is Kind.FUTURE:
            ahead = self.draws.between(1, _AHEAD_MS[self.draws.between(0, len(_AHEAD_MS) - 1)])
            event_us = (sent_ms + self._tolerance_ms + ahead) * 1000 + number % 1000
        is_v1 = (
            kind not in (Kind.CORRUPT, Kind.FUTURE, Kind.CONFLICT_SAME_TIME, Kind.CONFLICT_OTHER_DATE)
            and activity.event_type in V1_EVENT_TYPES and not activity.is_guest and self.draws.chance(_V1_SHARE)
        )
        event_id = None if is_v1 else f"{self.run}-{number:08d}"
        event = make_event(activity, utc_moment(event_us), event_id, self._currency)
        if kind is Kind.CORRUPT:
            corruption = CORRUPTIONS[self.draws.between(0, len(CORRUPTIONS) - 1)]
            value = corruption.apply(event, self._currency)
            return make_record(event, sent_ms, kind, self._zone, value=value, reasons=corruption.reasons)
        if kind is Kind.FUTURE:
            return make_record(event, sent_ms, kind, self._zone, reasons=("event_time_not_future",))
        value_or_none = self._other_text(event) if self.draws.chance(_OTHER_TEXT_SHARE) else None
        return make_record(
            event, sent_ms, Kind.NORMAL if kind in COPIES else kind, self._zone, value=value_or_none,
            is_late=kind is Kind.LATE,
        )

    def make_copy(
        self, original: SimulatedRecord, kind: Kind, sent_ms: int, event_time: datetime | None = None,
    ) -> SimulatedRecord:
        """Make the copy that follows a record under the same key.

        Args:
            event_time: of a copy on another date.
        """
        if kind is Kind.DUPLICATE:
            same_bytes = self.draws.chance(_SAME_BYTES_SHARE)
            value = original.value if same_bytes else self._other_text(original.event)
            return make_record(original.event, sent_ms, kind, self._zone, value=value)
        if kind is Kind.CONFLICT_SAME_TIME:
            return make_record(
                self._contradict(original.event), sent_ms, kind, self._zone, reasons=(CONFLICTING_DUPLICATE,))
        if event_time is None:
            raise ValueError("a copy on another date needs its event_time")
        event = {**original.event, "event_time": event_time}
        is_late = sent_ms - to_microseconds(event_time) // 1000 > self._late_after_ms
        return make_record(event, sent_ms, kind, self._zone, is_late=is_late)

    def _other_text(self, event: Mapping[str, Any]) -> bytes:
        return SAME_CONTENT[self.draws.between(0, len(SAME_CONTENT) - 1)](event)

    def _contradict(self, event: Mapping[str, Any]) -> dict[str, Any]:
        if self.draws.chance(0.5):
            return {**event, "quantity": event["quantity"] + 1}
        return {**event, "price": event["price"] + _PENNY}
