"""Artifacts: what is loaded is what was saved, or is refused with nothing overwritten."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting import artifact
from shoplake.forecasting.artifact import find_cutoff, find_folder, hash_code, load_artifact, load_model, save_artifact
from shoplake.forecasting.features import hash_features
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.models import LearnedModel
from shoplake.forecasting.training import fit_models
from shoplake.sections import FeatureSettings
from shoplake.settings import PROJECT_ROOT, load_settings

FIRST = date(2026, 6, 1)
CUTOFF = date(2026, 7, 20)
ML = load_settings("local").ml
FACTS = {"trained_at": "2026-07-21T03:00:00+00:00", "data": {"rows": 1}, "metrics": {}}


@pytest.fixture(scope="module")
def history() -> DemandHistory:
    rng = np.random.default_rng(2)
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{product}", "c", int(rng.poisson(3 + product)), 9.99)
            for product in range(5) for day in range(50)]
    return build_history(
        pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"]), CUTOFF)


@pytest.fixture(scope="module")
def models(history: DemandHistory) -> dict[str, LearnedModel]:
    return {model.name: model for model in fit_models(history, ML)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["linear", "xgboost"])
def test_a_loaded_model_forecasts_the_same_bits(
    name: str, tmp_path: Path, models: dict[str, LearnedModel], history: DemandHistory,
) -> None:
    save_artifact(tmp_path, models[name].regressor, CUTOFF, ML, FACTS)
    loaded = load_model(tmp_path, name, CUTOFF, ML.features)
    assert loaded.forecast(history).units.tobytes() == models[name].forecast(history).units.tobytes()
    manifest = load_artifact(tmp_path, name, CUTOFF, ML.features).manifest
    assert loaded.version == models[name].version == manifest["model_version"]


@pytest.mark.parametrize("name", ["linear", "xgboost"])
def test_the_manifest_says_what_was_saved(name: str, tmp_path: Path, models: dict[str, LearnedModel]) -> None:
    manifest = json.loads(save_artifact(tmp_path, models[name].regressor, CUTOFF, ML, FACTS).read_text())
    (file_name, sha256), = manifest["files"].items()
    content = (tmp_path / name / "2026-07-20" / file_name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256 == manifest["model_version"]
    assert (manifest["cutoff"], manifest["horizons"]) == ("2026-07-20", [1, 2, 3, 4, 5, 6, 7])
    assert manifest["features"][:4] == ["log_level", "lag_1", "lag_2", "lag_7"]
    assert manifest["data"] == {"rows": 1}
    assert content[:2] in (b"{\n", b"{L"), "a native format: JSON or UBJSON, no pickle"


def test_the_same_fit_saved_at_another_time_is_the_same_version(
    tmp_path: Path, models: dict[str, LearnedModel], history: DemandHistory,
) -> None:
    save_artifact(tmp_path, models["xgboost"].regressor, CUTOFF, ML, FACTS)
    again = fit_models(history, ML)[1]
    save_artifact(tmp_path, again.regressor, CUTOFF, ML, {**FACTS, "trained_at": "2027-01-01T00:00:00+00:00"})
    assert load_model(tmp_path, "xgboost", CUTOFF, ML.features).version == models["xgboost"].version
    assert len(list((tmp_path / "xgboost" / "2026-07-20").iterdir())) == 2


def test_a_changed_model_file_is_refused_with_both_hashes(tmp_path: Path, models: dict[str, LearnedModel]) -> None:
    manifest = save_artifact(tmp_path, models["linear"].regressor, CUTOFF, ML, FACTS)
    file = next(file for file in manifest.parent.iterdir() if file.name.startswith("model-"))
    file.write_bytes(file.read_bytes().replace(b"1", b"2", 1))
    before = contents(tmp_path)
    seen = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ForecastError, match=f"{seen}.*{models['linear'].version}"):
        load_model(tmp_path, "linear", CUTOFF, ML.features)
    assert contents(tmp_path) == before


def test_other_features_are_refused_with_both_hashes(tmp_path: Path, models: dict[str, LearnedModel]) -> None:
    save_artifact(tmp_path, models["xgboost"].regressor, CUTOFF, ML, FACTS)
    other = FeatureSettings(lags=(1, 2), rolling_windows=(7, 14, 30))
    before = contents(tmp_path)
    hashes = hash_features(ML.features), hash_features(other)
    with pytest.raises(ForecastError, match=f"{hashes[0]}.*{hashes[1]}.*ml/train.py"):
        load_model(tmp_path, "xgboost", CUTOFF, other)
    assert contents(tmp_path) == before


def test_a_past_day_takes_the_model_of_its_time(
    tmp_path: Path, models: dict[str, LearnedModel], history: DemandHistory,
) -> None:
    older = fit_models(history.until(40), ML)[0]
    save_artifact(tmp_path, older.regressor, date(2026, 7, 10), ML, FACTS)
    save_artifact(tmp_path, models["linear"].regressor, CUTOFF, ML, FACTS)
    assert load_model(tmp_path, "linear", date(2026, 7, 19), ML.features).version == older.version
    assert load_model(tmp_path, "linear", date(2026, 8, 1), ML.features).version == models["linear"].version
    assert find_cutoff(tmp_path, "linear", date(2026, 7, 9)) is None
    with pytest.raises(ForecastError, match=r"no linear model trained on days up to 2026-07-09.*ml/train.py --as-of"):
        load_model(tmp_path, "linear", date(2026, 7, 9), ML.features)


def test_models_of_a_file_lie_apart_and_gold_never_sees_them(
    data_dir: Path, models: dict[str, LearnedModel],
) -> None:
    settings = load_settings()
    gold, files = find_folder(settings, "gold.daily_sales"), find_folder(settings, "sales.csv")
    assert (gold, files) == (data_dir / "models", data_dir / "models" / "files" / "sales.csv")
    manifest = save_artifact(files, models["linear"].regressor, CUTOFF, ML, FACTS)
    assert manifest == data_dir / "models" / "files" / "sales.csv" / "linear" / "2026-07-20" / "manifest.json"
    assert load_model(files, "linear", CUTOFF, ML.features).version == models["linear"].version
    with pytest.raises(ForecastError, match=r"python ml/train.py --as-of 2026-07-20$"):
        load_model(gold, "linear", CUTOFF, ML.features)
    other = find_folder(settings, "other.csv")
    with pytest.raises(ForecastError, match=r"python ml/train.py --data '/a folder/other.csv' --as-of 2026-07-20$"):
        load_model(other, "linear", CUTOFF, ML.features, Path("/a folder/other.csv"))


def test_the_models_own_manifest_is_the_one_written_last(tmp_path: Path, models: dict[str, LearnedModel]) -> None:
    for cutoff in (CUTOFF, date(2026, 7, 10)):
        save_artifact(tmp_path, models["linear"].regressor, cutoff, ML, FACTS)
        assert json.loads((tmp_path / "linear" / "manifest.json").read_text())["cutoff"] == cutoff.isoformat()


def test_a_change_of_the_registry_is_the_same_code_and_one_of_the_forecasts_is_not(tmp_path: Path) -> None:
    shutil.copytree(PROJECT_ROOT / "shoplake", tmp_path / "shoplake", ignore=shutil.ignore_patterns("__pycache__"))
    script = """
import json, sys
import shoplake.forecasting.training, shoplake.forecasting.intervals
fit = sorted(name for name in sys.modules if name.startswith("shoplake."))
from pathlib import Path
from shoplake.forecasting.artifact import hash_code
hashes = [hash_code()]
for changed in ("registry/gate.py", "registry/promotion.py", "forecasting/models.py", "text_table.py"):
    with Path("shoplake", changed).open("a") as file:
        file.write("# changed")
    hashes.append(hash_code())
print(json.dumps({"fit": fit, "hashes": hashes}))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    whole, after_gate, after_promotion, after_models, after_reader = told["hashes"]
    assert whole == after_gate == after_promotion == hash_code()
    assert len({whole, after_models, after_reader}) == 3
    outside = {name for name in told["fit"] if not name.startswith("shoplake.forecasting")}
    assert outside == {"shoplake.errors", "shoplake.sections", "shoplake.text_table"}, "what fits is not in the hash"


def test_a_crash_before_the_manifest_leaves_the_old_artifact(
    tmp_path: Path, models: dict[str, LearnedModel], history: DemandHistory, monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_artifact(tmp_path, models["linear"].regressor, CUTOFF, ML, FACTS)
    write = artifact._replace_file

    def crash_at_manifest(file: Path, content: bytes) -> None:
        if file.name == "manifest.json":
            raise KeyboardInterrupt
        write(file, content)

    monkeypatch.setattr(artifact, "_replace_file", crash_at_manifest)
    with pytest.raises(KeyboardInterrupt):
        save_artifact(tmp_path, fit_models(history.until(45), ML)[0].regressor, CUTOFF, ML, FACTS)
    assert load_model(tmp_path, "linear", CUTOFF, ML.features).version == models["linear"].version


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 2, "files": {}}'])
def test_a_broken_manifest_is_named(content: str, tmp_path: Path, models: dict[str, LearnedModel]) -> None:
    manifest = save_artifact(tmp_path, models["linear"].regressor, CUTOFF, ML, FACTS)
    manifest.write_text(content)
    with pytest.raises(ForecastError, match=r"manifest\.json"):
        load_model(tmp_path, "linear", CUTOFF, ML.features)
