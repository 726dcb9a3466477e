"""The two ways to simulate: a past that is repeatable byte for byte, and now."""

import hashlib
import heapq
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from shoplake.errors import ConfigError
from shoplake.settings import Settings
from shoplake.simulation.draws import Draws
from shoplake.simulation.plan import Plan, plan_kinds
from shoplake.simulation.planting import COPIES, Planter
from shoplake.simulation.records import Kind, SimulatedRecord, shop_date, to_microseconds, utc_moment
from shoplake.simulation.shop import build_shop
from shoplake.simulation.shoppers import LONGEST_VISIT, Activity, ShopDay, shop_day, simulate_day

# Two days after the epoch it is past the contract's first event_time in every time zone.
_FIRST_DAY = date(1970, 1, 3)
_LATEST_COPY_MS = 2 * 3_600_000
_MOST_RECORDS_BETWEEN_COPIES = 200
_SECOND_US = 1_000_000
# Coprime to a million: consecutive numbers give scattered microseconds, and no two of a million the same.
_SCATTER = 611_953


def simulate_history(
    first_day: date, last_day: date, events: int, seed: int, settings: Settings,
) -> Iterator[SimulatedRecord]:
    """Give exactly `events` records of the shop days `first_day` to `last_day` (inclusive), in sending order.

    The same arguments and settings give the same bytes. Every record is sent within these days, and so is every
    event_time but those of future-dated records. Memory holds about one day of events.

    Raises:
        ConfigError: the days are reversed or too old, the shares leave no room, or late_after is too long for the days.
    """
    if not _FIRST_DAY <= first_day <= last_day:
        raise ConfigError(
            f"cannot simulate the days {first_day} to {last_day}: the first must not be after the last, "
            f"nor before {_FIRST_DAY}"
        )
    return _History(first_day, last_day, events, seed, settings).records()


class _History:
    def __init__(self, first_day: date, last_day: date, events: int, seed: int, settings: Settings) -> None:
        self.zone = ZoneInfo(settings.shop.time_zone)
        self.days = [shop_day(first_day + timedelta(days=number), self.zone)
                     for number in range((last_day - first_day).days + 1)]
        self.shop = build_shop(settings.simulation)
        self.seed = seed
        self.end_ms = self.days[-1].end * 1000
        # Whatever happened before this moment can still be sent too late within the last day.
        self.latest = self.days[-1].end - 2 * 60 * settings.quality.late_after
        if self.latest - 2 * LONGEST_VISIT < self.days[-1].start:
            raise ConfigError(
                f"quality.late_after is {settings.quality.late_after} minutes: too long to simulate an event that is "
                "late within its own day; allowed are about 600"
            )
        shares = settings.simulation.model_dump_json()
        run = _name_run(seed, first_day, last_day, events, settings.shop.time_zone, shares)
        self.draws = Draws(seed, events, first_day.toordinal(), last_day.toordinal())
        self.planter = Planter(run, settings, self.draws)
        traffic = np.array([self.shop.busyness(day.day) for day in self.days])
        self.plan: Plan = plan_kinds(events, settings.simulation, traffic, seed)
        self._queue: list[tuple[int, int, SimulatedRecord]] = []
        self._queued = 0

    def records(self) -> Iterator[SimulatedRecord]:
        number = 0
        for day, count in zip(self.days, self.plan.day_counts, strict=True):
            draws = Draws(self.seed, 1, day.day.toordinal())
            for activity in simulate_day(self.shop, day, count, self.latest, self.planter.run, draws):
                self._plant(number, activity)
                number += 1
            yield from self._sent_before(day)
        while self._queue:
            yield heapq.heappop(self._queue)[2]

    def _sent_before(self, day: ShopDay) -> Iterator[SimulatedRecord]:
        # Later days begin after this one's end, and nothing is sent before it happened.
        while self._queue and self._queue[0][0] < day.end * 1000:
            yield heapq.heappop(self._queue)[2]

    def _push(self, record: SimulatedRecord) -> None:
        heapq.heappush(self._queue, (record.timestamp_ms, self._queued, record))
        self._queued += 1  # ties keep the order in which they were made: a copy after its original

    def _plant(self, number: int, activity: Activity) -> None:
        kind = self.plan.kind(number)
        event_us = activity.second * _SECOND_US + number * _SCATTER % _SECOND_US
        event_ms = event_us // 1000
        delay_ms = self.planter.draw_delay(kind, self.end_ms - 1 - event_ms)
        original = self.planter.make_original(number, activity, kind, event_us, event_ms + delay_ms)
        self._push(original)
        if kind not in COPIES:
            return
        if kind is Kind.CONFLICT_OTHER_DATE:
            self._push(self._copy_to_other_date(original))
            return
        latest = self.end_ms - 1 - original.timestamp_ms
        longest = 86_400_000 if self.draws.chance(0.1) else _LATEST_COPY_MS
        copy_ms = original.timestamp_ms + min(self.draws.between(1, longest), latest)
        self._push(self.planter.make_copy(original, kind, copy_ms))

    def _copy_to_other_date(self, original: SimulatedRecord) -> SimulatedRecord:
        """Move the event some days on where there are days left, else a day back, which makes the copy a late one."""
        days_left = (self.days[-1].day - original.event_date).days
        shift = self.draws.between(1, min(days_left, 3)) if days_left else -1
        event_time = _shift_days(original.event["event_time"], shift, self.zone)
        event_ms = to_microseconds(event_time) // 1000
        delay_ms = self.planter.draw_delay(Kind.NORMAL, self.end_ms - 1 - event_ms)
        copy_ms = max(event_ms + delay_ms, original.timestamp_ms)
        return self.planter.make_copy(original, Kind.CONFLICT_OTHER_DATE, copy_ms, event_time)


def simulate_live(
    events: int, seed: int, settings: Settings, clock: Callable[[], int],
) -> Iterator[SimulatedRecord]:
    """Give exactly `events` records that are sent now; each is made at the moment when it is asked for.

    Late, future-dated and out-of-order events differ in their event_time, never in the record's timestamp.

    Args:
        clock: gives milliseconds since 1970; its first value is part of every identity.

    Raises:
        ConfigError: the shares leave no room.
    """
    zone = ZoneInfo(settings.shop.time_zone)
    started_ms = clock()
    today = shop_day(shop_date(utc_moment(started_ms * 1000), zone), zone)
    shop = build_shop(settings.simulation)
    # Two days of traffic, of which the first takes all: every live event may have a copy on another date.
    plan = plan_kinds(events, settings.simulation, np.array([1.0, 0.0]), seed)
    run = _name_run(seed, started_ms, events)
    planter = Planter(run, settings, Draws(seed, events, started_ms))
    draws = Draws(seed, 1, started_ms)
    activities = simulate_day(shop, today, plan.day_counts[0], today.end - 1, run, draws)
    return _emit_live(sorted(activities, key=lambda activity: activity.second), plan, planter, clock, zone)


def _emit_live(
    activities: list[Activity], plan: Plan, planter: Planter, clock: Callable[[], int], zone: ZoneInfo,
) -> Iterator[SimulatedRecord]:
    waiting: list[tuple[int, int, Kind, SimulatedRecord]] = []
    for number, activity in enumerate(activities):
        while waiting and waiting[0][0] <= number:
            yield _copy_live(*heapq.heappop(waiting)[2:], planter, clock(), zone)
        kind = plan.kind(number)
        sent_ms = clock()
        event_ms = sent_ms - planter.draw_delay(kind, sent_ms)
        original = planter.make_original(number, activity, kind, event_ms * 1000 + number % 1000, sent_ms)
        yield original
        if kind in COPIES:
            due = number + planter.draws.between(1, _MOST_RECORDS_BETWEEN_COPIES)
            heapq.heappush(waiting, (due, number, kind, original))
    while waiting:
        yield _copy_live(*heapq.heappop(waiting)[2:], planter, clock(), zone)


def _copy_live(
    kind: Kind, original: SimulatedRecord, planter: Planter, sent_ms: int, zone: ZoneInfo,
) -> SimulatedRecord:
    if kind is not Kind.CONFLICT_OTHER_DATE:
        return planter.make_copy(original, kind, sent_ms)
    return planter.make_copy(original, kind, sent_ms, _shift_days(original.event["event_time"], -1, zone))


def _shift_days(moment: datetime, days: int, zone: ZoneInfo) -> datetime:
    """Move a time by whole days of the shop's calendar; its date in the shop always moves as well."""
    local = moment.astimezone(zone).replace(tzinfo=None, fold=0) + timedelta(days=days)
    return utc_moment(to_microseconds(local.replace(tzinfo=zone)))


def _name_run(*parts: object) -> str:
    """Give the short name that makes a run's identities its own."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12]
