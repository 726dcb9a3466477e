"""A model registry of a test's own, its database copied (MLflow takes seconds to make one); versions made by hand."""

import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from shoplake.forecasting.artifact import save_artifact
from shoplake.forecasting.features import item_names
from shoplake.forecasting.inputs import GOLD, hash_file
from shoplake.forecasting.models import LinearRegressor
from shoplake.registry.champions import FEATURES_TAG
from shoplake.registry.evaluation import WeekErrors, write_week_errors
from shoplake.registry.store import (
    ERRORS_FILE,
    ERRORS_TAG,
    SHA256_TAG,
    ModelVersion,
    Registry,
    database_file,
    make_database,
    model_path,
    open_registry,
)
from shoplake.settings import Settings, load_settings

CUTOFF = date(2026, 7, 20)


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shoplake-registry-"))
    return make_database(load_settings().model_copy(update={"data_dir": folder}))


def lay_database(settings: Settings) -> None:
    """Put an empty registry's database where the first training would make it."""
    file = database_file(settings)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_template(), file)


def open_own() -> Registry:
    """Open the registry of the test's data folder."""
    settings = load_settings()
    lay_database(settings)
    return open_registry(settings)


def make_linear(seed: int) -> LinearRegressor:
    """Make a model that knows nothing, other bytes for each seed."""
    names = item_names(load_settings().ml.features)
    rng = np.random.default_rng(seed)
    return LinearRegressor({
        "features": names, "means": [0.0] * len(names), "deviations": [1.0] * len(names),
        "coefficients": rng.normal(0, 0.001, len(names)).tolist(), "intercept": 1.0})


def enter_version(
    registry: Registry, folder: Path, errors: WeekErrors, seed: int = 0, name: str = "linear",
    data_version: str = "1", saved: Path | None = None, **tags: str,
) -> ModelVersion:
    """Register a version with these errors, as a training does: of a model on disk, or of one that knows nothing."""
    ml = load_settings().ml
    place = saved or save_artifact(folder / f"models-{seed}", make_linear(seed), CUTOFF, ml, {}).parent
    manifest = json.loads((place / "manifest.json").read_bytes())
    file = folder / f"run-{seed}" / ERRORS_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_week_errors(errors, file)
    run_id = registry.start_run(f"test {seed}", {})
    registry.log_folder(run_id, place, model_path(name))
    registry.log_folder(run_id, file.parents[1], "")
    registry.end_run(run_id)
    return registry.register(name, run_id, {
        SHA256_TAG: manifest["model_version"], "features_sha256": manifest["features_sha256"],
        FEATURES_TAG: ml.features.model_dump_json(), "cutoff": manifest["cutoff"], "data_name": GOLD,
        "data_version": data_version, ERRORS_TAG: hash_file(file), **tags}, is_challenger=True)


def draw_errors(
    seed: int, own: Callable[[np.random.Generator, Any], Any], items: int = 300, name: str = "linear",
) -> WeekErrors:
    """Draw a shop's weeks, always the same, with peers that miss by a third; `own` makes the model's forecasts."""
    rng = np.random.default_rng(4)
    expected = rng.gamma(1.5, 20, size=(items, 1)) * np.ones((1, 4))
    units = rng.poisson(expected).astype(np.float64)
    share = np.broadcast_to(expected / expected.sum(axis=0), units.shape).copy()
    peer = expected * np.exp(rng.normal(0, 0.35, units.shape))
    return WeekErrors(
        np.array([f"P{item:04d}" for item in range(items)]), np.array([f"2026-07-{day:02d}" for day in (1, 8, 15, 22)]),
        units, np.full(units.shape, 50.0) + expected, share,
        {"wmixt": peer, "naive": peer * 1.5, name: own(np.random.default_rng([9, seed]), expected)})
