"""Training rows from a history, and the split in time."""

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from shoplake.errors import ForecastError
from shoplake.forecasting.backtest import Eligibility
from shoplake.forecasting.features import build_features
from shoplake.forecasting.history import DemandHistory
from shoplake.forecasting.intervals import BandModel, has_days_for_bands
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.metrics import lag1_scales, revenue_share
from shoplake.forecasting.models import REGRESSORS, LearnedModel, TrainingRows, fit_model
from shoplake.sections import MlSettings

# Two whole weeks lie before the first cutoff that is trained or scored on.
MIN_CUTOFF_DAYS = 2 * WEEK
# So many are known before levels and profiles are what they will be later on. A shorter history gives half of it.
SETTLED_DAYS = 10 * WEEK
# What is known for a shorter time has no level that could be corrected.
LEARNED_FROM = Eligibility(days=2 * WEEK, active_days=3)


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


def first_training_day(days: int) -> int:
    """Give the number of days that are known at the first cutoff that a history of so many days is trained on."""
    return max(MIN_CUTOFF_DAYS, min(SETTLED_DAYS, (days - WEEK) // 2))


@dataclass(frozen=True)
class RowPlan:
    """Which rows a history is trained on.

    Attributes:
        cutoffs: numbers of days known, the newest first; each with items to learn from.
        share: of the rows of each cutoff that are kept; 1 or more keeps all.
    """

    cutoffs: tuple[int, ...]
    share: float


def plan_rows(history: DemandHistory, settings: MlSettings) -> RowPlan:
    """Choose every n-th of the cutoffs whose 7 target days lie in the history.

    Raises:
        ForecastError: no cutoff has a product with a series and 7 days after it.
    """
    last = history.days - WEEK
    oldest = max(first_training_day(history.days), last - settings.train_days + 1)
    counts = {days: int(LEARNED_FROM.of(history.until(days)).sum())
              for days in range(last, oldest - 1, -settings.train_every)}
    expected = sum(counts.values())
    if expected == 0:
        raise ForecastError(
            f"no history to train on: nothing was sold on {LEARNED_FROM.active_days} days up to "
            f"{WEEK} days before {history.cutoff} (the history starts {history.first_day})"
        )
    cutoffs = tuple(days for days, count in counts.items() if count)
    return RowPlan(cutoffs, settings.max_training_rows / expected)


def build_training_rows(history: DemandHistory, settings: MlSettings) -> TrainingRows:
    """Compute features and the week's units at every planned cutoff; weights are 1 in the mean.

    Raises:
        ForecastError: no cutoff has a product with a series and 7 days after it.
    """
    plan = plan_rows(history, settings)
    parts = [rows_at(history, days, plan.share, settings) for days in plan.cutoffs]
    weights = np.concatenate([part.weights for part in parts])
    return TrainingRows(
        np.concatenate([part.features for part in parts]), np.concatenate([part.base for part in parts]),
        np.concatenate([part.units for part in parts]), weights / weights.mean())


def rows_at(history: DemandHistory, days: int, share: float, settings: MlSettings) -> TrainingRows:
    """Compute the rows of one cutoff; their weights are not scaled yet.

    A row's features are those that serving would have seen on that day. The units are told as if the
    whole shop had sold what its seasonal level said: what moved all items alike is no item's doing, and a few dozen
    cutoffs are too few to learn it from (measured: it cost 2% of WRMSSE). A row counts by its item's part of the shop's
    revenue over what the item's weeks usually differ by, so that the sum of squares is near the referee's. Items of few
    days teach nothing and are left out, as are weeks in which the item was out of stock.

    Args:
        share: of the rows, drawn by the seed and the cutoff; 1 or more keeps all.
    """
    known = history.until(days)
    features = build_features(known, settings.features)
    base = features.base.sum(axis=1)
    units = history.usual_week(days, len(base)).sum(axis=1)
    is_out = history.out_of_stock(slice(days, days + WEEK))[:len(base)].any(axis=1)
    is_row = LEARNED_FROM.of(known) & (base > 0) & ~is_out
    total = units[is_row].sum()
    units = units * (base[is_row].sum() / total if total > 0 else 1.0)
    if share < 1:
        is_row &= np.random.default_rng([settings.xgboost.seed, days]).random(is_row.shape) < share
    weights = revenue_share(known) / np.sqrt(lag1_scales(known, WEEK))
    return TrainingRows(features.items[is_row], base[is_row], units[is_row], weights[is_row])


@dataclass(frozen=True)
class FittedModels:
    """What a training fits.

    Attributes:
        candidates: on the days before those that they are scored on.
        models: on all days.
        bands: on all days; None where they are too few.
    """

    candidates: tuple[LearnedModel, ...]
    models: tuple[LearnedModel, ...]
    bands: BandModel | None


def fit_everything(history: DemandHistory, first_cutoff: int, settings: MlSettings) -> FittedModels:
    """Fit the models up to a cutoff, the models on all days, and the bands, on ml.processes of this machine.

    XGBoost has one thread in each, so its trees are the same however many processes there are.
    """
    fits = [delayed(fit_models)(history.until(first_cutoff), settings), delayed(fit_models)(history, settings)]
    if has_days_for_bands(history):
        fits.append(delayed(BandModel.fit)(history, settings))
    candidates, models, *bands = Parallel(n_jobs=min(settings.processes, len(fits)))(fits)
    return FittedModels(candidates, models, bands[0] if bands else None)


def fit_models(history: DemandHistory, settings: MlSettings) -> tuple[LearnedModel, ...]:
    """Fit every learned model on the history."""
    rows = build_training_rows(history, settings)
    return tuple(fit_model(regressor, rows, settings) for regressor in REGRESSORS)
