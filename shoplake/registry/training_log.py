"""A training as MLflow keeps it: one run with parameters, data, metrics, plots and files, and a version of each model.

Below it lies one run for ARIMA, which fits each item on its own: a table with a row for each item.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from shoplake.forecasting.arima import CHUNK, filter_differences, fit_parameters
from shoplake.forecasting.artifact import MANIFEST, describe_settings
from shoplake.forecasting.forecasters import TOO_SHORT, hash_definition
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.inputs import GOLD, hash_file
from shoplake.forecasting.names import ARIMA, BANDS, LEARNED_MODELS
from shoplake.registry.champions import CLOSED_DAYS_TAG, FEATURES_TAG, PROMOTIONS_TAG, Champion
from shoplake.registry.evaluation import WeekErrors, write_week_errors
from shoplake.registry.run_plots import draw_effects, draw_errors
from shoplake.registry.store import (
    BANDS_TAG,
    DATA_TAG,
    DATA_VERSION_TAG,
    ERRORS_FILE,
    ERRORS_TAG,
    SHA256_TAG,
    ModelVersion,
    Registry,
    model_path,
)
from shoplake.sections import MlSettings
from shoplake.warehouse.presentation import as_csv

ITEM_COLUMNS = pa.schema([
    ("product_id", pa.string()), ("order", pa.string()), ("points", pa.int64()), ("ar", pa.float64()),
    ("ma", pa.float64()), ("log_likelihood", pa.float64()), ("fallback_reason", pa.string()),
])


@dataclass(frozen=True)
class Training:
    """What a training made.

    Attributes:
        facts: trained_at, data, metrics and validation, as the manifests show them.
        folders: name -> the folder of what was saved, manifest beside it; models and bands.
        errors: of the comparison on held-out days.
        champions: those that took part in it.
        effects: rows of feature and mean_change, the strongest first; none for a model without trees.
    """

    history: DemandHistory
    settings: MlSettings
    facts: Mapping[str, Any]
    folders: Mapping[str, Path]
    errors: WeekErrors
    champions: Mapping[str, Champion]
    effects: list[dict[str, Any]]


def log_training(registry: Registry, training: Training, item_runs: int) -> dict[str, ModelVersion]:
    """Log a training as a run, and register a version of each learned model, the challenger if it is of gold.

    Args:
        item_runs: so many items, those of most units first, get an ARIMA run of their own.

    Raises:
        ForecastError: the registry refused something; the run is marked as failed, if it can be reached.
    """
    run_id = registry.start_run(f"train {training.history.cutoff}", _describe_run(training))
    is_whole = False
    try:
        versions = _log_parts(registry, training, run_id, item_runs)
        is_whole = True
    finally:
        registry.end_run(run_id, is_whole)
    return versions


def _describe_run(training: Training) -> dict[str, str]:
    data = training.facts["data"]
    manifests = [json.loads((folder / MANIFEST).read_bytes()) for folder in training.folders.values()]
    return {
        "mlflow.source.name": "ml/train.py", DATA_TAG: str(data["name"]), DATA_VERSION_TAG: str(data["version"]),
        PROMOTIONS_TAG: str(data["promotions"]), CLOSED_DAYS_TAG: _short(data["closed_days"]),
        "first_day": str(data["first_day"]), "last_day": str(data["last_day"]),
        "seed": str(training.settings.xgboost.seed), "features_sha256": manifests[0]["features_sha256"],
        "code_sha256": manifests[0]["code_sha256"],
    }


def _log_parts(registry: Registry, training: Training, run_id: str, item_runs: int) -> dict[str, ModelVersion]:
    registry.log_figures(run_id, flatten(describe_settings(training.settings), "."), {
        name: value for name, value in flatten(training.facts["metrics"], "/").items() if value is not None})
    for name, folder in training.folders.items():
        registry.log_folder(run_id, folder, model_path(name))
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        errors_file, plots = root / ERRORS_FILE, root / "plots"
        errors_file.parent.mkdir()
        plots.mkdir()
        write_week_errors(training.errors, errors_file)
        (plots / "errors_by_model.png").write_bytes(draw_errors(training.facts["metrics"]))
        if training.effects:
            (plots / "feature_effects.png").write_bytes(draw_effects(training.effects))
        registry.log_folder(run_id, root, "")
        errors_sha256 = hash_file(errors_file)
    _log_items(registry, training.history, run_id, item_runs)
    # Of a file it is a try: it is looked at when somebody names it.
    is_challenger = training.facts["data"]["name"] == GOLD
    return {name: registry.register(name, run_id, _describe_version(training, name, errors_sha256), is_challenger)
            for name in training.folders if name in LEARNED_MODELS}


def _short(days: str) -> str:
    """Give days as a tag, which holds few of them: their hash, or nothing for none."""
    return hash_definition(days) if days else ""


def _describe_version(training: Training, name: str, errors_sha256: str) -> dict[str, str]:
    manifest = json.loads((training.folders[name] / MANIFEST).read_bytes())
    bands = training.folders.get(BANDS)
    data = training.facts["data"]
    champion = training.champions.get(name)
    return {
        SHA256_TAG: manifest["model_version"], "features_sha256": manifest["features_sha256"],
        FEATURES_TAG: training.settings.features.model_dump_json(), "cutoff": manifest["cutoff"],
        DATA_TAG: str(data["name"]), DATA_VERSION_TAG: str(data["version"]), PROMOTIONS_TAG: str(data["promotions"]),
        CLOSED_DAYS_TAG: _short(data["closed_days"]), ERRORS_TAG: errors_sha256,
        BANDS_TAG: json.loads((bands / MANIFEST).read_bytes())["model_version"] if bands else "",
        **(champion.tags if champion else {}),
    }


def flatten(nested: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Give a nested mapping's values under one name each, its keys joined."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        inner = flatten(value, separator) if isinstance(value, Mapping) else None
        flat |= {key: value} if inner is None else {f"{key}{separator}{name}": one for name, one in inner.items()}
    return flat


def _log_items(registry: Registry, history: DemandHistory, parent: str, item_runs: int) -> None:
    rows = tabulate_arima(history)
    run_id = registry.start_run(ARIMA, {"items": str(len(rows))}, parent)
    with TemporaryDirectory() as folder:
        table = pa.Table.from_pylist(rows, schema=ITEM_COLUMNS)
        (Path(folder) / "items.csv").write_text(as_csv(table), encoding="utf-8")
        registry.log_folder(run_id, Path(folder), "")
    chosen = sorted(range(len(rows)), key=lambda place: -int(history.units[place].sum()))[:item_runs]
    for place in chosen:
        row = rows[place]
        item = registry.start_run(f"{ARIMA} {row['product_id']}", {"product_id": row["product_id"]}, run_id)
        figures = {name: row[name] for name in ("ar", "ma", "log_likelihood") if row[name] is not None}
        registry.log_figures(item, {"order": row["order"], "points": row["points"],
                                    "fallback_reason": row["fallback_reason"] or ""}, figures)
        registry.end_run(item)
    registry.end_run(run_id)


def tabulate_arima(history: DemandHistory) -> list[dict[str, Any]]:
    """Fit ARIMA(1,1,1) to every item: its parameters and likelihood, or why another figure stands in for it.

    Source: as of `arima.filter_differences`, whose deviance is -2 log likelihood without its constants.
    """
    rows: list[dict[str, Any]] = [{
        "product_id": str(name), "order": "(1, 1, 1)", "points": int(points), "ar": None, "ma": None,
        "log_likelihood": None, "fallback_reason": TOO_SHORT,
    } for name, points in zip(history.product_ids, history.points, strict=True)]
    places = np.flatnonzero(history.has_series)
    for begin in range(0, len(places), CHUNK):
        part = places[begin:begin + CHUNK]
        differences: FloatArray = np.diff(history.units[part].astype(np.float64), axis=1)
        start = history.first_sale[part]
        ar, ma, _ = fit_parameters(differences, start)
        fit = filter_differences(differences, start, ar[:, np.newaxis], ma[:, np.newaxis])
        counts = np.maximum(differences.shape[1] - start, 1)
        likelihood = -(fit.deviance[:, 0] + counts * (np.log(2 * np.pi) + 1)) / 2
        for number, place in enumerate(part):
            rows[place] |= {"ar": float(ar[number]), "ma": float(ma[number]),
                            "log_likelihood": float(likelihood[number]), "fallback_reason": None}
    return rows
