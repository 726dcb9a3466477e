"""The line of champions: who made what the champion, when and why; written by promotions, read by whoever serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoplake.errors import ForecastError
from shoplake.registry.names import CHAMPION, MAX_REASON
from shoplake.registry.store import ModelVersion, Registry

PROMOTED, ROLLED_BACK, NAMED, REFUSED = "promoted", "rolled back", "named challenger", "refused"


@dataclass(frozen=True)
class Word:
    """Who wants it, and why."""

    by: str
    reason: str


def record_event(
    registry: Registry, version: ModelVersion, previous: ModelVersion | None, action: str, word: Word, at: str,
) -> None:
    """Write down what was done.

    Args:
        previous: the champion before, where it is another now.
    """
    registry.record_event(version.name, at, {
        "action": action, "version": version.number, "previous": previous.number if previous else None,
        "by": word.by[:MAX_REASON], "reason": word.reason[:MAX_REASON]})


def tell_time() -> str:
    """Give the time as events bear it: it sorts as text, and MLflow takes it as a name."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def draw_line(events: Sequence[dict[str, Any]]) -> list[int]:
    """Give the numbers of the champion and of those before it, the oldest first; a way back cuts those after it off.

    An event that stands there twice, because a command was killed before it moved the alias, counts once.
    """
    line: list[int] = []
    for event in events:
        if event["action"] == PROMOTED and line[-1:] != [event["version"]]:
            line.append(event["version"])
        elif event["action"] == ROLLED_BACK and event["version"] in line:
            line = line[:line.index(event["version"]) + 1]
    return line


def find_champion(registry: Registry, name: str) -> ModelVersion | None:
    """Give the champion to beat: the alias's, or the last of the line where the alias was moved by hand."""
    version, line = registry.find_alias(name, CHAMPION), draw_line(registry.events(name))
    if version and version.number in line:
        return version
    return registry.find_version(name, line[-1]) if line else None


def find_served(registry: Registry, name: str, data: str) -> ModelVersion | None:
    """Give the champion that serves forecasts of this data, if there is one; one of other data serves no others.

    Raises:
        ForecastError: somebody moved the alias past the gate, or took it away.
    """
    version, champion = registry.find_alias(name, CHAMPION), find_champion(registry, name)
    known = champion or version
    if known is None or known.data != data:
        return None
    if version is None or champion is None or version.number != champion.number:
        seen = f"names {version}, which never passed the gate" if version else "is gone"
        raise ForecastError(f"the alias {CHAMPION} of {name} {seen}: it was moved by hand. Put it back with: python "
                            f"ml/promote.py --model {name} --rollback --reason TEXT; or promote: python ml/promote.py "
                            f"--model {name} --reason TEXT")
    return version


def find_before(registry: Registry, name: str) -> ModelVersion | None:
    """Give the champion before; where the alias was moved by hand, the one from which it was taken."""
    version, line = registry.find_alias(name, CHAMPION), draw_line(registry.events(name))
    if version is not None and version.number in line:
        line = line[:line.index(version.number)]
    return registry.find_version(name, line[-1]) if line else None
