"""The champions in a training's comparison: each forecasts the held-out days as if it were a candidate, if it can.

Three ways, the first that is possible, none of which favours the challenger:

1. Its own file, where it was trained before the held-out days.
2. Its settings, fitted on the days before the held-out days, as the challenger is: where the same code and the same
   libraries fit them.
3. Its own file, although it has seen some of the held-out days: that helps the champion alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as library_version
from typing import Any

from shoplake.errors import ForecastError
from shoplake.forecasting.artifact import Artifact, hash_code, revive_model
from shoplake.forecasting.features import hash_features
from shoplake.forecasting.forecasters import Forecaster
from shoplake.forecasting.history import DemandHistory
from shoplake.forecasting.models import REGRESSORS, fit_model
from shoplake.forecasting.training import build_training_rows
from shoplake.registry.names import CHAMPION
from shoplake.registry.store import ModelVersion, Registry
from shoplake.registry.succession import find_champion
from shoplake.sections import FeatureSettings, MlSettings

# What of the settings determines no fit.
_NOT_OF_A_FIT = {"model_dir", "tracking_uri", "processes", "runner", "validation_days", "min_history_days"}
FEATURES_TAG, PROMOTIONS_TAG, CLOSED_DAYS_TAG = "features", "promotions", "closed_days"
COLUMN_TAG, NUMBER_TAG, NOTE_TAG = "champion_column", "champion_number", "champion_note"

log = logging.getLogger("shoplake.registry.champions")


@dataclass(frozen=True)
class Champion:
    """How the champion of a model takes part in a comparison.

    Attributes:
        column: the name of its forecasts there; the candidate's own where both are the same fit; empty where it
            cannot forecast.
        forecaster: None where the column is there already, or it cannot forecast.
    """

    version: ModelVersion
    column: str
    note: str
    forecaster: Forecaster | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What a challenger's version says of it."""
        return {COLUMN_TAG: self.column, NUMBER_TAG: str(self.version.number), NOTE_TAG: self.note}


def enter_champions(
    registry: Registry, names: Sequence[str], data: str, history: DemandHistory, first_cutoff: int,
    settings: MlSettings,
) -> dict[str, Champion]:
    """Prepare the champion of each model that has one.

    Args:
        data: what the history was read from; a champion of other data cannot take part.
        first_cutoff: the number of days known at the first of the held-out cutoffs.
    """
    found = {name: find_champion(registry, name) for name in names}
    return {name: _enter(registry, version, data, history.until(first_cutoff), settings)
            for name, version in found.items() if version is not None}


def _enter(
    registry: Registry, version: ModelVersion, data: str, known: DemandHistory, settings: MlSettings,
) -> Champion:
    column = f"{version.name}_{CHAMPION}"
    if version.data != data:
        return Champion(version, "", f"the champion {version} was trained on {version.data}, and takes no part")
    if not can_forecast(version):
        return Champion(version, "", f"the champion {version} was trained with features that this code cannot compute")
    spec = features_of(version)
    try:
        artifact = registry.read_model(version, spec)
    except ForecastError as error:
        log.warning("the champion %s takes no part in the comparison: %s", version, error)
        return Champion(version, "", f"the champion {version} could not be read when this was trained")
    if version.cutoff <= known.cutoff:
        return Champion(version, column, f"the champion {version} forecast with its own file",
                        revive_model(artifact, spec))
    recipe = _find_recipe(artifact, settings)
    if recipe is None:
        return Champion(version, column, f"the champion {version} forecast with its own file, which has seen some of "
                        "these days: other code or libraries fitted it", revive_model(artifact, spec))
    note = f"the champion {version} was fitted again on days up to {known.cutoff}, with its own settings"
    if recipe.model_dump(exclude=_NOT_OF_A_FIT) == settings.model_dump(exclude=_NOT_OF_A_FIT):
        return Champion(version, version.name, f"{note}; they are the challenger's, so both are the same fit")
    regressor = next(regressor for regressor in REGRESSORS if regressor.name == version.name)
    return Champion(version, column, note, fit_model(regressor, build_training_rows(known, recipe), recipe))


def features_of(version: ModelVersion) -> FeatureSettings:
    """Give the settings of the features that a version was trained with."""
    return FeatureSettings.model_validate_json(version.tags[FEATURES_TAG])


def can_forecast(version: ModelVersion) -> bool:
    """Tell whether this code computes the features that a version was trained with."""
    try:
        return hash_features(features_of(version)) == version.tags["features_sha256"]
    except ValueError:  # settings of another version of the project
        return False


def _find_recipe(artifact: Artifact, settings: MlSettings) -> MlSettings | None:
    manifest: dict[str, Any] = dict(artifact.manifest)
    is_same_code = manifest["code_sha256"] == hash_code()
    if not is_same_code or any(library_version(name) != seen for name, seen in manifest["libraries"].items()):
        return None
    try:
        return MlSettings.model_validate({**manifest["settings"], "tracking_uri": settings.tracking_uri})
    except ValueError:  # of another version of the settings
        return None
