"""Training rows from a history, the split in time, and the comparison of models on days they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoplake.errors import ForecastError
from shoplake.forecasting.features import WEEK, build_features
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.metrics import bias, lag1_scale, rmsse, wape
from shoplake.forecasting.models import (
    REGRESSORS,
    Forecaster,
    LearnedModel,
    TrainingRows,
    fit_model,
    forecast_items,
)
from shoplake.settings import MlSettings

# Two whole weeks lie before the first cutoff that is trained or scored on.
MIN_CUTOFF_DAYS = 2 * WEEK


@dataclass(frozen=True)
class Score:
    """One model's accuracy at one horizon; None where no demand or no item was there to score."""

    model: str
    horizon: str
    wape: float | None
    rmsse: float | None
    bias: float | None


def check_history(history: DemandHistory, min_days: int) -> None:
    """Refuse a history that is too short or empty of sales.

    Raises:
        ForecastError: fewer than `min_days` days up to the cutoff, or no units at all.
    """
    if history.days < min_days:
        raise ForecastError(
            f"no history to train on: {history.days} shop day(s) from {history.first_day} to {history.cutoff}, but "
            f"ml.min_history_days asks for {min_days}. Load more days, or choose a later --as-of"
        )
    if not history.units.any():
        raise ForecastError(f"no history to train on: no units were sold from {history.first_day} to {history.cutoff}")


def validation_cutoffs(days: int, wanted: int) -> range:
    """Give the last cutoffs (as numbers of days known) whose 7 target days are known too.

    A short history gives up to a third of its usable cutoffs, so that training keeps most.

    Args:
        wanted: ml.validation_days.
    """
    count = max(1, min(wanted, (days - WEEK - MIN_CUTOFF_DAYS) // 3))
    return range(days - WEEK - count + 1, days - WEEK + 1)


def build_training_rows(history: DemandHistory, settings: MlSettings) -> TrainingRows:
    """Compute features and units at each of the last `train_days` cutoffs whose 7 target days lie in the history.

    Every row's features are those that serving would have seen on that day. Above `max_training_rows` a seeded share
    of each cutoff's rows is kept.

    Raises:
        ForecastError: no cutoff has a product with a series and 7 days after it.
    """
    last = history.days - WEEK
    cutoffs = range(max(MIN_CUTOFF_DAYS, last - settings.train_days + 1), last + 1)
    expected = WEEK * sum(int(history.until(days).has_series.sum()) for days in cutoffs)
    if expected == 0:
        raise ForecastError(
            f"no history to train on: nothing was sold at least {WEEK + 1} days before {history.cutoff} "
            f"(the history starts {history.first_day})"
        )
    share = settings.max_training_rows / expected
    parts = [_rows_at(history, days, share, settings) for days in cutoffs]
    return TrainingRows(
        np.concatenate([part.features for part in parts]), np.concatenate([part.units for part in parts])
    )


def _rows_at(history: DemandHistory, days: int, share: float, settings: MlSettings) -> TrainingRows:
    known = history.until(days)
    features = build_features(known, settings.features)[known.has_series]
    units = history.units[:len(known.product_ids), days:days + WEEK][known.has_series]
    rows, targets = features.reshape(-1, features.shape[2]), units.reshape(-1).astype(np.float64)
    if share >= 1:
        return TrainingRows(rows, targets)
    is_kept = np.random.default_rng([settings.xgboost.seed, days]).random(len(targets)) < share
    return TrainingRows(rows[is_kept], targets[is_kept])


def fit_models(history: DemandHistory, settings: MlSettings) -> tuple[LearnedModel, ...]:
    """Fit every learned model on the history."""
    rows = build_training_rows(history, settings)
    return tuple(fit_model(regressor, rows, settings) for regressor in REGRESSORS)


def score_forecasters(history: DemandHistory, forecasters: Sequence[Forecaster], cutoffs: range) -> list[Score]:
    """Let each forecaster forecast from each cutoff and compare with the 7 days that followed.

    next_day is scored on the first day, next_week on the item's total of 7 days. Items are scored from two weeks after
    their first sale on. RMSSE's scale is the item's mean squared difference between neighbouring days (next_week:
    7-day blocks) from its first sale to the cutoff.
    """
    origins = [history.until(days) for days in cutoffs]
    actual = np.full((len(history.product_ids), len(cutoffs), WEEK), np.nan)
    for column, (days, origin) in enumerate(zip(cutoffs, origins, strict=True)):
        is_scored = np.flatnonzero(origin.points >= MIN_CUTOFF_DAYS)
        actual[is_scored, column] = history.units[is_scored, days:days + WEEK]
    day_scale, week_scale = _scales(history, actual, cutoffs, 1), _scales(history, actual, cutoffs, WEEK)
    scores = []
    for forecaster in forecasters:
        predicted = np.full(actual.shape, np.nan)
        for column, origin in enumerate(origins):
            predicted[:len(origin.product_ids), column] = forecast_items(forecaster, origin).units
        scores.append(_score(forecaster.name, "next_day", actual[:, :, 0], predicted[:, :, 0], day_scale))
        scores.append(_score(forecaster.name, "next_week", actual.sum(axis=2), predicted.sum(axis=2), week_scale))
    return scores


def _scales(history: DemandHistory, actual: FloatArray, cutoffs: range, block: int) -> FloatArray:
    scales = np.ones(actual.shape[:2])
    for item, column in np.argwhere(~np.isnan(actual[:, :, 0])):
        scales[item, column] = lag1_scale(history.units[item, history.first_sale[item]:cutoffs[column]], block)
    return scales


def _score(model: str, horizon: str, actual: FloatArray, predicted: FloatArray, scale: FloatArray) -> Score:
    is_scored = ~np.isnan(actual)
    known, forecast = actual[is_scored], predicted[is_scored]
    return Score(model, horizon, wape(known, forecast), rmsse(actual, predicted, scale), bias(known, forecast))
