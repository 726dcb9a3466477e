"""Trained models on disk: the library's own format beside a manifest, checked on every load, never pickled.

`<model folder>/<model>/<cutoff>/` holds the model file and manifest.json. One folder for each cutoff: a forecast for a
past day takes the model that was trained up to that day or before, so it cannot know the days that it forecasts, and
a day forecast again gives the same figures after a later training. `<model folder>/<model>/manifest.json` is a link to
the manifest that was written last. Models of a file lie in a model folder of their own (`find_folder`), so that a try
on somebody's file does not forecast the shop. The registry (`shoplake/registry/`) has copies, one for each training.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Protocol

from shoplake.errors import ForecastError
from shoplake.forecasting.features import feature_names, hash_features
from shoplake.forecasting.inputs import GOLD, train_command
from shoplake.forecasting.intervals import BandModel
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.models import REGRESSORS, LearnedModel
from shoplake.sections import FeatureSettings, MlSettings
from shoplake.settings import Settings

MANIFEST = "manifest.json"
# In the model folder of gold; below it lies one for each file's name.
FILES = "files"
FORMAT_VERSION = 2
_DAY_PATTERN = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


class Fitted(Protocol):
    """Something that was fitted and can be kept as bytes of its library's own format."""

    name: ClassVar[str]
    file_suffix: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give what determines the fit apart from its rows."""

    def to_bytes(self) -> bytes:
        """Write it; the same fit gives the same bytes."""


@dataclass(frozen=True)
class Artifact:
    """A file as it was saved, with what its manifest says."""

    content: bytes
    manifest: Mapping[str, Any]

    @property
    def version(self) -> str:
        """SHA-256 of the content."""
        return str(self.manifest["model_version"])


def find_folder(settings: Settings, data: str) -> Path:
    """Give the folder of the models that were trained on this data: gold's, or below it that of a file's name."""
    return settings.model_path if data == GOLD else settings.model_path / FILES / data


def save_artifact(folder: Path, fitted: Fitted, cutoff: date, settings: MlSettings, facts: Mapping[str, Any]) -> Path:
    """Save what was fitted and its manifest; give the manifest's path.

    The manifest replaces the one before in a single step, and only then do the files that it does not name go: a
    crash leaves the old artifact or the new one, never a half.

    Args:
        folder: the folder of all models of the data.
        facts: trained_at, data, validation and metrics, as the manifest shows them.
    """
    place = _place(folder, fitted.name, cutoff)
    place.mkdir(parents=True, exist_ok=True)
    content, sha256 = fitted.to_bytes(), hash_fitted(fitted)
    file_name = f"model-{sha256[:16]}{fitted.file_suffix}"
    manifest = {
        "format": FORMAT_VERSION, "model": fitted.name, "model_version": sha256, "cutoff": cutoff.isoformat(),
        "horizons": tuple(range(1, WEEK + 1)), "features": feature_names(settings.features),
        "features_sha256": hash_features(settings.features),
        "parameters": {**fitted.parameters(settings), "train_days": settings.train_days,
                       "train_every": settings.train_every, "max_training_rows": settings.max_training_rows},
        "settings": describe_settings(settings), "code_sha256": hash_code(),
        **facts,
        "files": {file_name: sha256},
        "libraries": {name: version(name) for name in fitted.libraries},
    }
    _replace_file(place / file_name, content)
    _replace_file(place / MANIFEST, json.dumps(manifest, indent=2, default=str).encode())
    for file in place.iterdir():
        if file.name not in (file_name, MANIFEST):
            file.unlink()
    _link_newest(place)
    return place / MANIFEST


def describe_settings(settings: MlSettings) -> dict[str, Any]:
    """Give the settings as they are kept beside a model; the registry's address is none of theirs and may be secret."""
    return settings.model_dump(mode="json", exclude={"tracking_uri"})


def hash_fitted(fitted: Fitted) -> str:
    """Give the version of what was fitted: the SHA-256 of its bytes."""
    return hashlib.sha256(fitted.to_bytes()).hexdigest()


def hash_code() -> str:
    """Give the SHA-256 of the forecasting code: under one code, equal settings mean the same fit.

    The registry is no part of it: how models are kept and promoted changes no fit. The reader of promotions is.
    """
    modules = sorted((file for file in files("shoplake.forecasting").iterdir() if file.name.endswith(".py")),
                     key=lambda file: file.name)
    modules.append(files("shoplake") / "text_table.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in modules)).hexdigest()


def load_model(
    folder: Path, name: str, as_of: date, spec: FeatureSettings, file: Path | None = None,
) -> LearnedModel:
    """Load the newest model that was trained on days up to `as_of` and no later; errors as of `load_artifact`."""
    return revive_model(load_artifact(folder, name, as_of, spec, file), spec)


def revive_model(artifact: Artifact, spec: FeatureSettings) -> LearnedModel:
    """Make the model of an artifact that was checked."""
    regressor = next(regressor for regressor in REGRESSORS if regressor.name == artifact.manifest["model"])
    return LearnedModel(regressor.from_bytes(artifact.content), spec, artifact.version)


def load_bands(folder: Path, as_of: date, spec: FeatureSettings, file: Path | None = None) -> BandModel:
    """Load the newest bands that were fitted on days up to `as_of` and no later; errors as of `load_artifact`."""
    return BandModel.from_bytes(load_artifact(folder, BandModel.name, as_of, spec, file).content, spec)


def load_artifact(
    folder: Path, name: str, as_of: date, spec: FeatureSettings, file: Path | None = None,
) -> Artifact:
    """Load the newest artifact of a name that was fitted on days up to `as_of` and no later, and check it.

    Args:
        folder: as `find_folder` gives it.
        file: the history that is read in gold's place, for the command that a message gives.

    Raises:
        ForecastError: there is none, its file is not that which the manifest names, or this version would read its
            features in another way than the one that fitted it.
    """
    cutoff = find_cutoff(folder, name, as_of)
    hint = f"Train one with: {train_command(file)} --as-of {as_of}"
    if cutoff is None:
        raise ForecastError(f"no {name} model trained on days up to {as_of} in {folder / name}. {hint}")
    return read_artifact(_place(folder, name, cutoff), spec, hint)


def can_serve(folder: Path, name: str, as_of: date, spec: FeatureSettings) -> bool:
    """Tell whether `load_artifact` would give one."""
    try:
        load_artifact(folder, name, as_of, spec)
    except ForecastError:
        return False
    return True


def read_artifact(place: Path, spec: FeatureSettings, hint: str) -> Artifact:
    """Read an artifact's folder and check it.

    Args:
        hint: what to do where it cannot be used.

    Raises:
        ForecastError: as of `load_artifact`.
    """
    manifest = _read_manifest(place / MANIFEST)
    (file_name, sha256), = manifest["files"].items()
    try:
        content = (place / file_name).read_bytes()
    except OSError as error:
        raise ForecastError(f"cannot read {place / file_name}: {error.strerror}. {hint}") from error
    seen = hashlib.sha256(content).hexdigest()
    if seen != sha256:
        raise ForecastError(
            f"{place / file_name} is not the file that was saved: its sha256 is {seen}, the manifest says {sha256}. "
            f"{hint}"
        )
    if manifest["features_sha256"] != hash_features(spec):
        raise ForecastError(
            f"the model {manifest['model']} of {place} was trained with other features: its features_sha256 is "
            f"{manifest['features_sha256']}, the settings ml.features and this version give {hash_features(spec)}. "
            f"{hint}"
        )
    return Artifact(content, manifest)


def find_cutoff(folder: Path, name: str, as_of: date) -> date | None:
    """Give the cutoff of the newest model that was trained on days up to `as_of` and no later; None without one."""
    manifests = (folder / name).glob(f"{_DAY_PATTERN}/{MANIFEST}")
    cutoffs = (date.fromisoformat(manifest.parent.name) for manifest in manifests)
    return max((cutoff for cutoff in cutoffs if cutoff <= as_of), default=None)


def _place(folder: Path, name: str, cutoff: date) -> Path:
    return folder / name / cutoff.isoformat()


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_bytes())
        if manifest["format"] != FORMAT_VERSION:
            raise ForecastError(f"{file} has format {manifest['format']}; this version reads {FORMAT_VERSION}")
        if len(manifest["files"]) != 1 or not isinstance(manifest["features_sha256"], str):
            raise ValueError("files and features_sha256 are not as they are written")
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
