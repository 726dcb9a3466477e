"""Promotion: the gate's verdict on a version, the aliases moved, and who did it, when and why. The way back too."""

from collections.abc import Mapping
from typing import Any

from shoplake.errors import ForecastError, GateRefusedError
from shoplake.forecasting.inputs import GOLD, train_command
from shoplake.forecasting.metrics import Figure
from shoplake.forecasting.names import BASELINE_MODELS
from shoplake.registry.champions import (
    CLOSED_DAYS_TAG,
    COLUMN_TAG,
    NOTE_TAG,
    NUMBER_TAG,
    PROMOTIONS_TAG,
    can_forecast,
    features_of,
)
from shoplake.registry.evaluation import WeekErrors
from shoplake.registry.gate import Verdict, judge
from shoplake.registry.names import CHALLENGER, CHAMPION
from shoplake.registry.store import DATA_TAG, DATA_VERSION_TAG, ModelVersion, Registry
from shoplake.registry.succession import (
    NAMED,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    Word,
    find_before,
    find_champion,
    record_event,
    tell_time,
)
from shoplake.sections import FeatureSettings

# Where these are equal, two trainings forecast the same weeks from the same past.
_SAME_DAYS = (DATA_TAG, DATA_VERSION_TAG, PROMOTIONS_TAG, CLOSED_DAYS_TAG, "cutoff")


def choose_version(registry: Registry, name: str, number: int | None) -> ModelVersion:
    """Give the version of that number, or the challenger.

    Raises:
        ForecastError: there is none.
    """
    version = registry.find_alias(name, CHALLENGER) if number is None else registry.find_version(name, number)
    if version is None:
        raise ForecastError(f"{name} has no challenger in the model registry: the newest version is the champion, or "
                            "nothing was trained on gold. Train one: python ml/train.py; of a model that was trained "
                            "on a file give --version")
    return version


def look(registry: Registry, version: ModelVersion, spec: FeatureSettings) -> Verdict:
    """Give the gate's verdict on a version against the champion of now and the best peer; nothing is changed.

    Raises:
        ForecastError: the version's files are not what was registered, or its features are others.
        GateRefusedError: it cannot be compared with the champion of now.
    """
    registry.read_model(version, spec)
    champion = find_champion(registry, version.name)
    errors = registry.read_errors(version)
    peers = [name for name in BASELINE_MODELS if name in errors.forecasts]
    if champion is None:
        return judge(errors, version.name, peers, None, "there is no champion yet: only the best peer counts",
                     _tell_data(version))
    figure, note = _figure_of(registry, champion, version, errors)
    return judge(errors, version.name, peers, (f"the champion {champion}", figure) if figure else None, note,
                 _tell_data(version), f"the champion {_tell_data(champion)}")


def _tell_data(version: ModelVersion) -> str:
    return f"{version} was trained on {version.data} (version {version.tags[DATA_VERSION_TAG][:12]})"


def _figure_of(
    registry: Registry, champion: ModelVersion, version: ModelVersion, errors: WeekErrors,
) -> tuple[Figure | None, str]:
    if champion.data == version.data and (found := _compare(registry, champion, version, errors)):
        return found
    if why := _find_fault(registry, champion):
        return None, f"the champion {champion} cannot serve ({why}): only the best peer counts"
    if champion.data != version.data and version.data == GOLD:
        return None, f"the champion {champion} was trained on {champion.data} and serves no gold: only the peer counts"
    if champion.data != version.data:
        raise GateRefusedError(
            f"{version} was trained on {version.data}, the champion {champion} on {champion.data}: their figures do "
            f"not compare. Promote a version of the champion's data: {train_command(champion.data)}")
    raise GateRefusedError(
        f"{version} was not compared with the champion {champion}"
        + (f": {version.tags[NOTE_TAG]}" if NOTE_TAG in version.tags else ", which was none when it was trained")
        + f". Train again, then promote: {train_command(version.data)}")


def _compare(
    registry: Registry, champion: ModelVersion, version: ModelVersion, errors: WeekErrors,
) -> tuple[Figure, str] | None:
    """Give the champion's figure for these weeks and how it was scored, where there is one."""
    if all(champion.tags.get(tag, "") == version.tags.get(tag, "") for tag in _SAME_DAYS):
        theirs = registry.read_errors(champion)
        if theirs.has_same_weeks(errors):
            return theirs.figure(champion.name), (
                f"the champion {champion} forecast these weeks in its own training, fitted on the days before them")
    if version.tags.get(NUMBER_TAG) == str(champion.number) and version.tags[COLUMN_TAG]:
        return errors.figure(version.tags[COLUMN_TAG]), version.tags[NOTE_TAG]
    return None


def _find_fault(registry: Registry, champion: ModelVersion) -> str | None:
    """Say why a champion cannot serve; nobody could follow one that must be beaten and cannot be read."""
    if not can_forecast(champion):
        return "it was trained with features that this code cannot compute"
    try:
        registry.read_model(champion, features_of(champion))
    except ForecastError as error:
        return str(error)
    return None


def promote(registry: Registry, version: ModelVersion, spec: FeatureSettings, word: Word) -> Verdict:
    """Make a version the champion if the gate lets it; the verdict is kept in either case.

    Raises:
        ForecastError: as of `look`.
        GateRefusedError: it is not better than champion and peer beyond chance, or was not compared with them.
    """
    at = tell_time()
    previous = find_champion(registry, version.name)
    if previous and previous.number == version.number:
        raise GateRefusedError(f"{version} is the champion already. See: python ml/promote.py --model {version.name} "
                               "--history")
    try:
        verdict = look(registry, version, spec)
    except GateRefusedError as error:
        _keep(registry, version, {"is_passed": False, "reasons": [str(error)]}, word, at)
        raise
    _keep(registry, version, verdict.to_dict(), word, at)
    if not verdict.is_passed:
        raise GateRefusedError(
            f"{version} is not promoted:\n  " + "\n  ".join(verdict.reasons)
            + f"\nThe verdict is kept with the version. Nothing was changed; champion: {previous or 'none'}")
    _crown(registry, version, previous, PROMOTED, word, at)
    if CHALLENGER in version.aliases:
        registry.drop_alias(version.name, CHALLENGER)
    return verdict


def _keep(registry: Registry, version: ModelVersion, verdict: Mapping[str, Any], word: Word, at: str) -> None:
    outcome = "passed" if verdict["is_passed"] else REFUSED
    told = {**verdict, "model": version.name, "version": version.number, "at": at, "by": word.by, "reason": word.reason}
    registry.log_json(version.run_id, told, f"verdicts/{version.name}-v{version.number}-{at.replace(':', '')}.json")
    registry.tag(version, {"verdict": outcome, "verdict_reasons": "; ".join(verdict["reasons"])[:4000],
                           "verdict_at": at, "verdict_by": word.by})
    if outcome == REFUSED:
        record_event(registry, version, None, REFUSED, word, at)


def _crown(
    registry: Registry, version: ModelVersion, previous: ModelVersion | None, action: str, word: Word, at: str,
) -> None:
    # Killed in between, the alias names a champion of the line: the one before, and the same command again goes on. So
    # a promotion, which lengthens the line, is written first, and a way back, which cuts it, last.
    if action == ROLLED_BACK:
        registry.move_alias(version, CHAMPION)
    record_event(registry, version, previous, action, word, at)
    if action != ROLLED_BACK:
        registry.move_alias(version, CHAMPION)


def name_challenger(registry: Registry, version: ModelVersion, word: Word) -> None:
    """Let a version be the one that is looked at next."""
    registry.move_alias(version, CHALLENGER)
    record_event(registry, version, None, NAMED, word, tell_time())


def roll_back(registry: Registry, name: str, spec: FeatureSettings, word: Word) -> ModelVersion:
    """Make the champion before this one the champion again; give it.

    Raises:
        ForecastError: there is none before, or it cannot serve; nothing is changed.
    """
    current, version = registry.find_alias(name, CHAMPION), find_before(registry, name)
    if version is None:
        raise ForecastError(f"{name} has no champion before {current or 'the first'}: nothing to go back to. See: "
                            f"python ml/promote.py --model {name} --history")
    registry.read_model(version, spec)
    _crown(registry, version, current, ROLLED_BACK, word, tell_time())
    return version
