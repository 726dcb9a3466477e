"""Trained models on disk: the library's own format beside a manifest, checked on every load, never pickled.

`<model folder>/<model>/<cutoff>/` holds the model file and manifest.json. One folder for each cutoff: a forecast for a
past day takes the model that was trained up to that day or before, so it cannot know the days that it forecasts, and
a day forecast again gives the same figures after a later training. `<model folder>/<model>/manifest.json` is a link to
the manifest that was written last.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shoplake.errors import ForecastError
from shoplake.forecasting.features import ALL_HORIZONS, feature_names, hash_features
from shoplake.forecasting.models import REGRESSORS, STATISTICAL_SHARE, LearnedModel
from shoplake.settings import FeatureSettings, MlSettings

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_DAY_PATTERN = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


@dataclass(frozen=True)
class Artifact:
    """A model as it was saved, with what its manifest says."""

    model: LearnedModel
    manifest: Mapping[str, Any]


def save_model(folder: Path, model: LearnedModel, cutoff: date, settings: MlSettings, facts: Mapping[str, Any]) -> Path:
    """Save a model and its manifest; give the manifest's path.

    The manifest replaces the one before in a single step, and only then do the files that it does not name go: a
    crash leaves the old artifact or the new one, never a half.

    Args:
        folder: the folder of all models.
        facts: trained_at, data, validation and metrics, as the manifest shows them.
    """
    place = _place(folder, model.name, cutoff)
    place.mkdir(parents=True, exist_ok=True)
    file_name = f"model-{model.version[:16]}{model.regressor.file_suffix}"
    manifest = {
        "format": FORMAT_VERSION, "model": model.name, "model_version": model.version, "cutoff": cutoff.isoformat(),
        "horizons": ALL_HORIZONS, "features": feature_names(model.spec), "features_sha256": hash_features(model.spec),
        "parameters": {**type(model.regressor).parameters(settings), "statistical_share": STATISTICAL_SHARE,
                       "train_days": settings.train_days, "max_training_rows": settings.max_training_rows},
        **facts,
        "files": {file_name: model.version},
        "libraries": {name: version(name) for name in model.regressor.libraries},
    }
    _replace_file(place / file_name, model.regressor.to_bytes())
    _replace_file(place / MANIFEST, json.dumps(manifest, indent=2, default=str).encode())
    for file in place.iterdir():
        if file.name not in (file_name, MANIFEST):
            file.unlink()
    _link_newest(place)
    return place / MANIFEST


def load_model(folder: Path, name: str, as_of: date, spec: FeatureSettings) -> Artifact:
    """Load the newest model that was trained on days up to `as_of` and no later.

    Raises:
        ForecastError: there is none, its files are not those that the manifest names, or this version would read its
            features or its forecasts in another way than the one that trained it.
    """
    cutoff = find_cutoff(folder, name, as_of)
    if cutoff is None:
        raise ForecastError(f"no {name} model trained on days up to {as_of} in {folder / name}. {_train_hint(as_of)}")
    place = _place(folder, name, cutoff)
    manifest = _read_manifest(place / MANIFEST)
    (file_name, sha256), = manifest["files"].items()
    try:
        content = (place / file_name).read_bytes()
    except OSError as error:
        raise ForecastError(f"cannot read {place / file_name}: {error.strerror}. {_train_hint(as_of)}") from error
    seen = hashlib.sha256(content).hexdigest()
    if seen != sha256:
        raise ForecastError(
            f"{place / file_name} is not the file that was saved: its sha256 is {seen}, the manifest says {sha256}. "
            f"{_train_hint(as_of)}"
        )
    if manifest["features_sha256"] != hash_features(spec):
        raise ForecastError(
            f"the model {name} of {place} was trained with other features: its features_sha256 is "
            f"{manifest['features_sha256']}, the settings ml.features and this version give {hash_features(spec)}. "
            f"{_train_hint(as_of)}"
        )
    share = manifest["parameters"]["statistical_share"]
    if share != STATISTICAL_SHARE:
        raise ForecastError(
            f"the model {name} of {place} was trained and scored with another share: its statistical_share is {share}, "
            f"this version gives {STATISTICAL_SHARE}. {_train_hint(as_of)}"
        )
    regressor = next(regressor for regressor in REGRESSORS if regressor.name == name)
    return Artifact(LearnedModel(regressor.from_bytes(content, spec), spec, sha256), manifest)


def find_cutoff(folder: Path, name: str, as_of: date) -> date | None:
    """Give the cutoff of the newest model that was trained on days up to `as_of` and no later; None without one."""
    manifests = (folder / name).glob(f"{_DAY_PATTERN}/{MANIFEST}")
    cutoffs = (date.fromisoformat(manifest.parent.name) for manifest in manifests)
    return max((cutoff for cutoff in cutoffs if cutoff <= as_of), default=None)


def _place(folder: Path, name: str, cutoff: date) -> Path:
    return folder / name / cutoff.isoformat()


def _train_hint(as_of: date) -> str:
    return f"Train one with: python ml/train.py --as-of {as_of} (and the same --data, if any)"


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_bytes())
        if manifest["format"] != FORMAT_VERSION:
            raise ForecastError(f"{file} has format {manifest['format']}; this version reads {FORMAT_VERSION}")
        if len(manifest["files"]) != 1 or not isinstance(manifest["features_sha256"], str) \
                or "statistical_share" not in manifest["parameters"]:
            raise ValueError("files, features_sha256 and parameters are not as they are written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForecastError(f"{file} is no manifest of a model ({error}); remove its folder and train again") from error
    return dict(manifest)


def _replace_file(file: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as part:
        part.write(content)
    Path(part.name).replace(file)


def _link_newest(place: Path) -> None:
    link = place.parent / f".{MANIFEST}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(place.name) / MANIFEST)
    link.replace(place.parent / MANIFEST)
