"""The gate of the model registry: whether a challenger is better than what it would replace, beyond chance.

The measure is the week's WRMSSE on the validation cutoffs; the confidence is that of a paired bootstrap over items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoplake.forecasting.metrics import Figure, bootstrap_ratio
from shoplake.registry.evaluation import WeekErrors

CONFIDENCE = 0.95
SEED = 20111202
MEASURE = "week_wrmsse"
# Fewer prove nothing: one item drawn over and over has no spread at all.
LEAST_ITEMS = 30
LEAST_CUTOFFS = 4


@dataclass(frozen=True)
class Duel:
    """The challenger's figure over an opponent's, with its limits; passed if the upper one is below 1."""

    opponent: str
    value: float
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def is_won(self) -> bool:
        """Whether the challenger is better beyond chance."""
        return self.high is not None and self.high < 1

    def describe(self) -> str:
        """Say it in words, with the figures."""
        if self.ratio is None:
            return f"against {self.opponent} there is nothing to compare: it has no error at all, or nothing is scored"
        limits = f"{self.ratio:.4f} of {self.opponent}'s error ({self.low:.4f} to {self.high:.4f} in 95% of draws)"
        return f"better: {limits}" if self.is_won else f"not better beyond chance: {limits}; both must be < 1"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a challenger, and why.

    Attributes:
        value: the challenger's week WRMSSE.
        peers: name -> week WRMSSE of the forecasters without training; the best of them is an opponent.
        notes: what has to be known of the comparison, such as how the champion was scored.
    """

    value: float
    peers: Mapping[str, float]
    duels: tuple[Duel, ...]
    notes: tuple[str, ...]
    items: int
    cutoffs: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether every duel is won, on items and cutoffs enough."""
        return self.is_enough and bool(self.duels) and all(duel.is_won for duel in self.duels)

    @property
    def is_enough(self) -> bool:
        """Whether so much was held out that chance can be told from skill."""
        return self.items >= LEAST_ITEMS and len(self.cutoffs) >= LEAST_CUTOFFS

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in words."""
        few = () if self.is_enough else (
            f"{self.items} items at {len(self.cutoffs)} cutoffs were held out; wanted are at least {LEAST_ITEMS} at "
            f"{LEAST_CUTOFFS}: train on a longer history, or raise ml.validation_days",)
        return (*few, *(duel.describe() for duel in self.duels), *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Give everything, for JSON."""
        return {
            "is_passed": self.is_passed, "reasons": list(self.reasons), "measure": MEASURE, "confidence": CONFIDENCE,
            "value": self.value, "duels": [{**asdict(duel), "is_won": duel.is_won} for duel in self.duels],
            "peers": dict(self.peers), "items": self.items, "cutoffs": list(self.cutoffs),
        }


def judge(
    errors: WeekErrors, challenger: str, peers: Sequence[str], champion: tuple[str, Figure] | None, *notes: str,
) -> Verdict:
    """Compare a challenger with the best peer, and with the champion if there is one.

    Args:
        challenger: its name in `errors`.
        peers: names in `errors`.
        champion: how it is called, and its figure for the same items and cutoffs.
    """
    own = errors.figure(challenger)
    figures = {name: errors.figure(name) for name in peers}
    values = {name: figure.value or 0.0 for name, figure in figures.items()}
    best = min(values, key=lambda name: (values[name], name))
    opponents = [(best, figures[best])] if champion is None else [champion, (best, figures[best])]
    duels = tuple(
        Duel(name, figure.value or 0.0, *bootstrap_ratio(own, figure, SEED)) for name, figure in opponents)
    return Verdict(own.value or 0.0, values, duels, notes, int((own.under > 0).sum()), tuple(map(str, errors.cutoffs)))
