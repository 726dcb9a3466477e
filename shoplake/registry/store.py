"""The model registry: MLflow's tracking store with a run for each training, versions of the models, and two aliases.

A version's files are plain artifacts of its run: the library's own format beside manifest.json, never a pickle. What
MLflow's database says of them (the version's tags) is checked on every load. Aliases are `champion` and `challenger`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from shoplake.errors import ForecastError
from shoplake.forecasting.artifact import Artifact, read_artifact
from shoplake.forecasting.inputs import hash_file, train_command
from shoplake.forecasting.names import BANDS
from shoplake.registry.evaluation import WeekErrors, read_week_errors
from shoplake.registry.names import CHALLENGER
from shoplake.sections import FeatureSettings
from shoplake.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "demand"
# Of the lake: one training or promotion writes at a time, into the model folder and the registry.
MODELS_LOCK = "models"
ERRORS_FILE = "evaluation/week_errors.parquet"
DATA_TAG, DATA_VERSION_TAG = "data_name", "data_version"
# The version's tags that its files are checked against.
SHA256_TAG = "model_version"
ERRORS_TAG = "evaluation_sha256"
BANDS_TAG = "bands_sha256"
_EVENT = "event."


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        number: counted by MLflow from 1 on.
        run_id: of the training whose artifacts it is.
        tags: what training and promotions said of it.
        aliases: champion, challenger, or none.
    """

    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def cutoff(self) -> date:
        """The last day it was trained on."""
        return date.fromisoformat(self.tags["cutoff"])

    @property
    def data(self) -> str:
        """What it was trained on: gold.daily_sales, or a file's name."""
        return self.tags[DATA_TAG]

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"


def registry_folder(settings: Settings) -> Path:
    """Give the folder of the registry's database and artifacts, where no server has them."""
    return settings.data_path / "mlflow"


def database_uri(file: Path) -> str:
    """Give a SQLite file's address."""
    return f"sqlite:///{file}"


def database_file(settings: Settings) -> Path:
    """Give the registry's SQLite file."""
    return registry_folder(settings) / "mlflow.db"


def find_registry(settings: Settings) -> "Registry | None":
    """Open the registry if there is one; a missing file is none, and MLflow is not even imported."""
    return open_registry(settings) if settings.ml.tracking_uri or database_file(settings).exists() else None


def open_registry(settings: Settings) -> "Registry":
    """Open the registry: the server of `ml.tracking_uri`, or a SQLite file, which is made if there is none.

    Raises:
        ForecastError: it cannot be opened.
    """
    from mlflow import MlflowClient

    address = settings.ml.tracking_uri or database_uri(make_database(settings))
    artifacts = None if settings.ml.tracking_uri else (registry_folder(settings) / "artifacts").as_uri()
    with _told(address):
        return Registry(MlflowClient(address, address), address, artifacts)


def make_database(settings: Settings) -> Path:
    """Make the SQLite file if there is none, whole or not at all; give it."""
    file = database_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.parent / "mlflow.lock"):
        if not file.exists():
            from mlflow import MlflowClient

            part = file.with_name("mlflow.part.db")
            part.unlink(missing_ok=True)
            with _told(database_uri(part)):
                MlflowClient(database_uri(part), database_uri(part)).search_experiments()
            part.replace(file)
    return file


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn what MLflow raises into a message for a person."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        said = " ".join(str(error).split())[:300]
        # An address may hold a password.
        where = urlsplit(address)
        raise ForecastError(f"the model registry at {where.scheme}://{where.hostname or where.path} said: {said}. "
                            "Check ml.tracking_uri (SHOPLAKE_ML__TRACKING_URI)") from error


class Registry:
    """The registry's runs, versions, aliases and events."""

    def __init__(self, client: "MlflowClient", address: str, artifacts: str | None) -> None:
        """Take a client; `artifacts` is where a new experiment keeps its files, None for the server's own place."""
        self._client = client
        self._address = address
        self._artifacts = artifacts

    def start_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Start a run, below another if `parent` is one; give its id."""
        with _told(self._address):
            known = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT, self._artifacts)
            nested = {"mlflow.parentRunId": parent} if parent else {}
            run = self._client.create_run(experiment, run_name=name, tags={**tags, **nested})
        return str(run.info.run_id)

    def end_run(self, run_id: str, is_whole: bool = True) -> None:
        """Mark a run as finished, or as failed."""
        with _told(self._address):
            self._client.set_terminated(run_id, "FINISHED" if is_whole else "FAILED")

    def log_figures(self, run_id: str, parameters: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log what the run was given, and what came out; both flat."""
        from mlflow.entities import Metric, Param

        with _told(self._address):
            self._client.log_batch(
                run_id, [Metric(name, value, 0, 0) for name, value in metrics.items()],
                [Param(name, str(value)) for name, value in parameters.items()])

    def log_folder(self, run_id: str, folder: Path, path: str) -> None:
        """Keep a folder's files as artifacts of the run."""
        with _told(self._address):
            self._client.log_artifacts(run_id, str(folder), path)

    def log_json(self, run_id: str, value: Mapping[str, Any], path: str) -> None:
        """Keep a JSON object as an artifact of the run."""
        with _told(self._address):
            self._client.log_text(run_id, json.dumps(value, indent=1, default=str), path)

    def register(self, name: str, run_id: str, tags: Mapping[str, str], is_challenger: bool) -> ModelVersion:
        """Make the run's model a new version, and the challenger if it is to be the one that is looked at next."""
        from mlflow.exceptions import MlflowException

        with _told(self._address):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self._client.create_model_version(
                name, f"runs:/{run_id}/{model_path(name)}", run_id=run_id, tags=dict(tags))
            if is_challenger:
                self._client.set_registered_model_alias(name, CHALLENGER, str(made.version))
        return self.find_version(name, int(made.version))

    def find_version(self, name: str, number: int) -> ModelVersion:
        """Give a version by its number.

        Raises:
            ForecastError: there is none.
        """
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                with _told(self._address):
                    raise
            raise ForecastError(f"there is no version {number} of {name} in the model registry. "
                                f"See: python ml/promote.py --model {name} --history") from error
        aliases = tuple(sorted(alias for alias, one in self._model(name)[0].items() if one == number))
        return ModelVersion(name, number, str(found.run_id), dict(found.tags), aliases)

    def find_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Give the version that bears an alias; None without one."""
        number = self._model(name)[0].get(alias)
        return None if number is None else self.find_version(name, number)

    def versions(self, name: str) -> list[ModelVersion]:
        """Give all versions, the newest first."""
        with _told(self._address):
            found = self._client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return [self.find_version(name, number) for number in sorted((int(one.version) for one in found), reverse=True)]

    def _model(self, name: str) -> tuple[dict[str, int], dict[str, str]]:
        """Give a registered model's aliases and tags; none of either where there is no such model."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}, {}
            with _told(self._address):
                raise
        return {alias: int(number) for alias, number in found.aliases.items()}, dict(found.tags)

    def move_alias(self, version: ModelVersion, alias: str) -> None:
        """Let an alias name this version, whatever it named before."""
        with _told(self._address):
            self._client.set_registered_model_alias(version.name, alias, str(version.number))

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        with _told(self._address):
            self._client.delete_registered_model_alias(name, alias)

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Say something of a version; what was said under the same name before is replaced."""
        with _told(self._address):
            for name, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.number), name, value)

    def record_event(self, name: str, at: str, event: Mapping[str, Any]) -> None:
        """Write down who did what to a model, when and why."""
        with _told(self._address):
            self._client.set_registered_model_tag(name, f"{_EVENT}{at}", json.dumps(event, ensure_ascii=False))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give what was done to a model, the oldest first."""
        tags = self._model(name)[1]
        return [{"at": tag.removeprefix(_EVENT), **json.loads(tags[tag])} for tag in sorted(tags)
                if tag.startswith(_EVENT)]

    def read_model(self, version: ModelVersion, spec: FeatureSettings) -> Artifact:
        """Read a version's model and check it against its manifest, the version's tags and the features.

        Raises:
            ForecastError: it is not what was registered, or was trained with other features.
        """
        return self._read_artifact(version, version.name, SHA256_TAG, spec)

    def read_bands(self, version: ModelVersion, spec: FeatureSettings) -> Artifact | None:
        """Read the bands that were fitted with a version, checked alike; None where the history was too short for any.

        Raises:
            ForecastError: as of `read_model`.
        """
        return self._read_artifact(version, BANDS, BANDS_TAG, spec) if version.tags.get(BANDS_TAG) else None

    def _read_artifact(self, version: ModelVersion, name: str, tag: str, spec: FeatureSettings) -> Artifact:
        hint = (f"Nothing was changed. Train a new one: {train_command(version.data)}, or go back: "
                f"python ml/promote.py --model {version.name} --rollback --reason TEXT")
        with self._fetched(version.run_id, model_path(name)) as folder:
            artifact = read_artifact(folder, spec, hint)
        if artifact.version != version.tags.get(tag):
            raise ForecastError(
                f"{name} of {version} is not what was registered: its manifest says sha256 {artifact.version}, the "
                f"registry {version.tags.get(tag)}. {hint}")
        return artifact

    def read_errors(self, version: ModelVersion) -> WeekErrors:
        """Read the errors on held-out days of the training that a version is of.

        Raises:
            ForecastError: the file is not what the training wrote.
        """
        with self._fetched(version.run_id, ERRORS_FILE) as file:
            seen = hash_file(file)
            if seen != version.tags.get(ERRORS_TAG):
                raise ForecastError(
                    f"{ERRORS_FILE} of {version} is not what the training wrote: its sha256 is {seen}, the registry "
                    f"says {version.tags.get(ERRORS_TAG)}. Nothing was changed. Train again: "
                    f"{train_command(version.data)}")
            return read_week_errors(file)

    @contextmanager
    def _fetched(self, run_id: str, path: str) -> Iterator[Path]:
        with TemporaryDirectory() as folder:
            with _told(self._address):
                try:
                    fetched = Path(self._client.download_artifacts(run_id, path, folder))
                except OSError as error:
                    raise ForecastError(f"the artifact {path} of the run {run_id} cannot be read ({error}); train "
                                        "again: python ml/train.py") from error
            yield fetched


def model_path(name: str) -> str:
    """Give a model's folder among its run's artifacts."""
    return f"models/{name}"
