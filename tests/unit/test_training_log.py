"""The champion in a training's comparison, and ARIMA's table: against fits and likelihoods that others compute."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_registry import draw_errors, enter_version, open_own
from statsmodels.tsa.arima.model import ARIMA

from shoplake.forecasting.artifact import save_artifact
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.inputs import GOLD
from shoplake.forecasting.training import fit_models
from shoplake.registry.champions import enter_champions
from shoplake.registry.promotion import promote
from shoplake.registry.store import Registry
from shoplake.registry.succession import Word
from shoplake.registry.training_log import tabulate_arima
from shoplake.sections import MlSettings
from shoplake.settings import load_settings

FIRST = date(2026, 6, 1)
DAYS = 70
ML = load_settings("local").ml


@pytest.fixture(scope="module")
def history() -> DemandHistory:
    rng = np.random.default_rng(2)
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), f"P{product}", "c", int(rng.poisson(3 + product)), 9.99)
            for product in range(5) for day in range(DAYS)]
    rows.append((pd.Timestamp(FIRST + timedelta(days=DAYS - 1)), "new", "c", 4, 9.99))
    return build_history(pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"]),
                         FIRST + timedelta(days=DAYS - 1))


def crown(registry: Registry, folder: Path, history: DemandHistory, days: int, settings: MlSettings) -> None:
    """Make a linear model of a history's first days the champion, by errors that no gate refuses."""
    known = history.until(days)
    model = next(one for one in fit_models(known, settings) if one.name == "linear")
    saved = save_artifact(folder, model.regressor, known.cutoff, settings, {}).parent
    errors = draw_errors(1, lambda _, expected: expected)
    promote(registry, enter_version(registry, folder, errors, saved=saved), settings.features, Word("ann", ""))


@pytest.mark.parametrize(("days", "changed", "note"), [
    (40, False, "with its own file"),
    (60, False, "both are the same fit"),
    (60, True, "was fitted again on days up to 2026-07-20, with its own settings"),
])
def test_the_champion_takes_part_as_a_candidate_would(
    days: int, changed: bool, note: str, history: DemandHistory, tmp_path: Path,
) -> None:
    registry = open_own()
    theirs = ML.model_copy(update={"train_days": 20}) if changed else ML
    crown(registry, tmp_path, history, days, theirs)
    entered = enter_champions(registry, ["linear", "xgboost"], GOLD, history, 50, ML)
    assert set(entered) == {"linear"}
    champion = entered["linear"]
    assert champion.note.endswith(note)
    seen = 40 if days == 40 else 50
    expected = next(one for one in fit_models(history.until(seen), theirs) if one.name == "linear")
    if champion.forecaster is None:
        assert champion.column == "linear"
    else:
        assert champion.column == "linear_champion"
        assert champion.forecaster.version == expected.version


def test_under_other_code_its_own_file_is_scored_which_helps_the_champion_alone(
    history: DemandHistory, tmp_path: Path, data_dir: Path,
) -> None:
    registry = open_own()
    crown(registry, tmp_path, history, 60, ML)
    (manifest,) = data_dir.glob("mlflow/artifacts/*/artifacts/models/linear/manifest.json")
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "code_sha256": "0" * 64}))
    champion = enter_champions(registry, ["linear"], GOLD, history, 50, ML)["linear"]
    assert "has seen some of these days" in champion.note
    assert champion.forecaster is not None
    assert champion.forecaster.version == told["model_version"]


def test_a_champion_of_other_data_takes_no_part(history: DemandHistory, tmp_path: Path) -> None:
    registry = open_own()
    crown(registry, tmp_path, history, 40, ML)
    champion = enter_champions(registry, ["linear"], "sales.csv", history, 50, ML)["linear"]
    assert (champion.column, champion.forecaster) == ("", None)
    assert champion.note == "the champion linear v1 was trained on gold.daily_sales, and takes no part"


def test_arimas_table_has_the_likelihood_that_statsmodels_gives(history: DemandHistory) -> None:
    rows = {row["product_id"]: row for row in tabulate_arima(history)}
    assert set(rows) == {"P0", "P1", "P2", "P3", "P4", "new"}
    assert "fewer than 2 days" in rows["new"]["fallback_reason"]
    assert rows["new"]["ar"] is None
    for place, name in enumerate(history.product_ids):
        row = rows[name]
        if row["fallback_reason"]:
            continue
        # What is differenced once by hand, without the diffuse start of statsmodels' own differencing.
        series = np.diff(history.units[place, history.first_sale[place]:].astype(np.float64))
        model = ARIMA(series, order=(1, 0, 1), trend="n", concentrate_scale=True)
        assert row["log_likelihood"] == pytest.approx(model.loglike([row["ar"], row["ma"]]), abs=1e-6)
        assert row["points"] == history.days - history.first_sale[place]
