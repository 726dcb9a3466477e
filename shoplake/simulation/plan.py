"""Decide how many records are of which kind, and which ones, before the first is made."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoplake.errors import ConfigError
from shoplake.sections import SimulationSettings
from shoplake.simulation.records import Kind

_KINDS = tuple(Kind)


@dataclass(frozen=True)
class Plan:
    """What becomes of each shopper's activity, by its number.

    Attributes:
        day_counts: activities of each day; with their copies they make the records asked for.
    """

    day_counts: list[int]
    _kinds: npt.NDArray[np.uint8]

    def kind(self, number: int) -> Kind:
        """Give the kind of an activity's record; of the copy kinds: that such a copy follows the normal record."""
        return _KINDS[int(self._kinds[number])]


def plan_kinds(events: int, settings: SimulationSettings, traffic: npt.NDArray[np.float64], seed: int) -> Plan:
    """Spread the shares of `simulation.*_share` over `events` records, to the record.

    A copy on another date needs a second day, and its original stands before the last one; a single day has none.

    Args:
        traffic: relative traffic of each day.

    Raises:
        ConfigError: the planted shares do not fit.
    """
    counts = {
        Kind.CONFLICT_OTHER_DATE: round(events * settings.conflict_other_date_share) if len(traffic) > 1 else 0,
        Kind.CONFLICT_SAME_TIME: round(events * settings.conflict_same_time_share),
        Kind.DUPLICATE: round(events * settings.duplicate_share),
        Kind.LATE: round(events * settings.late_share),
        Kind.OUT_OF_ORDER: round(events * settings.out_of_order_share),
        Kind.CORRUPT: round(events * settings.corrupt_share),
        Kind.FUTURE: round(events * settings.future_share),
    }
    copies = counts[Kind.CONFLICT_OTHER_DATE] + counts[Kind.CONFLICT_SAME_TIME] + counts[Kind.DUPLICATE]
    activities = events - copies
    generator = np.random.default_rng((seed, events, len(traffic)))
    day_counts = generator.multinomial(max(activities, 0), traffic / traffic.sum())
    before_last = activities - int(day_counts[-1])
    if sum(counts.values()) > activities or counts[Kind.CONFLICT_OTHER_DATE] > before_last:
        raise ConfigError(
            f"simulation.*_share plant {sum(counts.values())} records and their originals among {events} records: that "
            "does not fit; give smaller shares, or more days"
        )
    return Plan(day_counts.tolist(), _assign(counts, activities, before_last, generator))


def _assign(
    counts: dict[Kind, int], activities: int, before_last: int, generator: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    kinds = np.zeros(activities, dtype=np.uint8)
    other_date = counts[Kind.CONFLICT_OTHER_DATE]
    chosen = generator.choice(before_last, other_date, replace=False)
    kinds[chosen] = _KINDS.index(Kind.CONFLICT_OTHER_DATE)
    free = generator.permutation(np.flatnonzero(kinds == 0))
    start = 0
    for kind, count in counts.items():
        if kind is not Kind.CONFLICT_OTHER_DATE:
            kinds[free[start:start + count]] = _KINDS.index(kind)
            start += count
    return kinds
