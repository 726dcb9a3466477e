"""The right answers about visits: who came, how far each went, and which of them were programs.

Plain Python over the typed events, visit by visit in the order of time; nothing of the pipeline is used.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from statistics import median
from typing import Any

from shoplake.contract.events import utc_text
from shoplake.simulation.records import SimulatedRecord

_PAUSE = timedelta(minutes=30)
_SECOND = timedelta(seconds=1)


@dataclass
class Visit:
    """One visit: its records in the order of time."""

    records: list[SimulatedRecord] = field(default_factory=list)

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """The records' events."""
        return [record.event for record in self.records]

    def of_type(self, event_type: str) -> list[Mapping[str, Any]]:
        """Give its events of a type."""
        return [event for event in self.events if event["event_type"] == event_type]

    @property
    def is_bot(self) -> bool:
        """Whether it looks like a program's."""
        looks = len(self.of_type("product_viewed"))
        if looks < 20 or self.of_type("order_created"):
            return False
        times = [event["event_time"] for event in self.events]
        pauses = [(after - before) // timedelta(milliseconds=1) for before, after in pairwise(times)
                  if after - before < _PAUSE]
        if not pauses:
            return looks >= 300
        mean = Decimal(sum(pauses)) / len(pauses)
        variance = sum((pause - mean) ** 2 for pause in pauses) / len(pauses)
        return bool(mean < 3000 or variance * 25 < mean * mean or looks >= 300)


def find_visits(records: Iterable[SimulatedRecord]) -> Iterator[Visit]:
    """Give the visits that records were made in."""
    by_visitor: defaultdict[tuple[str, str | None], list[SimulatedRecord]] = defaultdict(list)
    for record in records:
        if record.event["event_type"] != "order_cancelled":
            by_visitor[record.event["user_id"], record.event["session_id"]].append(record)
    for (_, session_id), own in by_visitor.items():
        own.sort(key=lambda record: (record.event["event_time"], record.event_id))
        visit = Visit([own[0]])
        days_with_begin = {own[0].event_date}
        for before, record in pairwise(own):
            if session_id is None:
                is_new = record.event["event_time"] - before.event["event_time"] >= _PAUSE
            else:
                is_new = record.event_date > before.event_date + timedelta(days=1)
            if is_new:
                days_with_begin.add(record.event_date)
            # A whole day without a beginning: who comes to its end begins anew.
            elif record.event_date > before.event_date and before.event_date not in days_with_begin:
                is_new = True
            if is_new:
                yield visit
                visit = Visit()
            visit.records.append(record)
        yield visit


def tabulate_sessions(visits: Sequence[Visit]) -> list[list[Any]]:
    """Give the rows of gold.sessions."""
    return [_session_row(visit) for visit in visits]


def _session_row(visit: Visit) -> list[Any]:
    first, events = visit.records[0], visit.events
    ordered = visit.of_type("order_created")
    orders = {(event["order_id"], event["event_time"] if event["order_id"] is None else None) for event in ordered}
    began, ended = events[0]["event_time"], events[-1]["event_time"]
    amount = sum((event["price"] * event["quantity"] for event in ordered), Decimal(0))
    return [first.event_date.isoformat(), first.event_id, events[0]["user_id"], events[0]["session_id"],
            all(event["is_guest"] for event in events), utc_text(began), utc_text(ended), (ended - began) // _SECOND,
            len(events), *(len(visit.of_type(kind)) for kind in ("product_viewed", "add_to_cart", "remove_from_cart")),
            len(orders), sum(event["quantity"] for event in ordered), f"{amount:.4f}",
            len({event["product_id"] for event in events}), visit.is_bot]


@dataclass
class _Step:
    sessions: int = 0
    humans: int = 0
    users: set[str] = field(default_factory=set)


def tabulate_funnel(visits: Sequence[Visit]) -> list[list[Any]]:
    """Give the rows of gold.conversion_funnel."""
    steps: defaultdict[tuple[date, str, str], list[_Step]] = defaultdict(lambda: [_Step(), _Step(), _Step()])
    removed: defaultdict[tuple[date, str, str], int] = defaultdict(int)
    seconds: defaultdict[tuple[date, str, str], list[int]] = defaultdict(list)
    for visit in visits:
        parts: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for event in visit.events:
            parts[event["category"], event["brand"] or "unbranded"].append(event)
        for part, events in parts.items():
            key = visit.records[0].event_date, *part
            times = [[event["event_time"] for event in events if event["event_type"] == kind]
                     for kind in ("product_viewed", "add_to_cart", "order_created")]
            for number, step in enumerate(steps[key]):
                if any(times[number:]):
                    step.sessions += 1
                    step.humans += not visit.is_bot
                    step.users.add(events[0]["user_id"])
            removed[key] += any(event["event_type"] == "remove_from_cart" for event in events)
            if times[0] and times[2] and times[2][0] >= times[0][0]:
                seconds[key].append((times[2][0] - times[0][0]) // _SECOND)
    return [[key[0].isoformat(), *key[1:], *(step.sessions for step in of_day), *(step.humans for step in of_day),
             *(len(step.users) for step in of_day), removed[key], *_rates(of_day),
             float(median(seconds[key])) if seconds[key] else None] for key, of_day in steps.items()]


def _rates(steps: Sequence[_Step]) -> list[str | None]:
    view, cart, order = steps
    to_cart, to_order = _rate(cart.sessions, view.sessions), _rate(order.sessions, cart.sessions)
    rates = [to_cart, to_order, _rate(order.sessions, view.sessions), _rate(order.humans, view.humans),
             None if to_cart is None else 1 - to_cart, None if to_order is None else 1 - to_order]
    return [None if rate is None else f"{rate:.6f}" for rate in rates]


def _rate(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / whole).quantize(Decimal("1e-6"), ROUND_HALF_UP) if whole else None
