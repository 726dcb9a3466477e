"""A backtest of many methods: their figures, and their ratios to wMixT with what chance makes of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from shoplake.errors import ForecastError
from shoplake.forecasting.backtest import (
    REFEREE,
    Entry,
    Method,
    Origins,
    collect_actuals,
    collect_forecasts,
    demand_classes,
)
from shoplake.forecasting.coverage import Limits, lay_bands, measure_bands
from shoplake.forecasting.ensemble import choose_weights
from shoplake.forecasting.forecasters import Forecaster
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.levels import trading_days_after
from shoplake.forecasting.metrics import (
    Figure,
    Scored,
    bootstrap_origins_too,
    bootstrap_ratio,
    scaled_squares,
    score,
    score_horizons,
)
from shoplake.forecasting.models import REGRESSORS, Regressor, fit_model
from shoplake.forecasting.names import ENSEMBLE, WMIXT
from shoplake.forecasting.training import build_training_rows
from shoplake.sections import MlSettings

TOP_ITEMS = 300
BY_CLASS = ("week_wrmsse", "week_wape", "week_bias")
BY_HORIZON = ("day_wrmsse", "day_wape", "day_bias")
COMPARED = ("week_wrmsse", "week_wape", "day_wrmsse", "next_day_wrmsse", "top_week_wrmsse")
SEED = 20111201

log = logging.getLogger("shoplake.forecasting.comparison")


@dataclass(frozen=True)
class Backtest:
    """What every method forecast from the three kinds of origins.

    Attributes:
        weights: of the ensemble's members.
        fitted: each method's forecaster as it was made at the last test origin.
        limits: bands around the forecasts of `test`, of the methods that have them.
    """

    history: DemandHistory
    origins: Origins
    validation: Mapping[str, Entry]
    test: Mapping[str, Entry]
    daily: Mapping[str, Entry]
    weights: Mapping[str, float]
    fitted: Mapping[str, Forecaster]
    limits: Mapping[str, Limits] = field(default_factory=dict)


def run_backtest(history: DemandHistory, origins: Origins, methods: Mapping[str, Method],
                 members: tuple[str, ...]) -> Backtest:
    """Let every method forecast from every origin, then the ensemble of some of them.

    Args:
        methods: name -> method; wMixT must be among them.
        members: of the ensemble, whose weights are chosen on the validation origins.

    Raises:
        ForecastError: no item is scored at one of the weekly origins.
    """
    for days in (*origins.validation, *origins.test):
        if not REFEREE.of(history.until(days)).any():
            raise ForecastError(
                f"nothing can be scored after {history.until(days).cutoff}: no item has {REFEREE.days} days of history "
                f"and {REFEREE.active_days} days with a sale by then")
    validation, test, daily, fitted = {}, {}, {}, {}
    for name, method in methods.items():
        method = remember(method)
        log.info("forecasting with %s", name)
        validation[name] = collect_forecasts(history, origins.validation, method)
        test[name] = collect_forecasts(history, origins.test, method)
        daily[name] = collect_forecasts(history, origins.daily, method, made_at=origins.test)
        fitted[name] = method(history.until(origins.test[-1]))
    chosen = {name: validation[name].units for name in members}
    weights = choose_weights(
        collect_actuals(history, origins.validation, REFEREE), chosen, validation[WMIXT].units)
    for entries in (validation, test, daily):
        entries[ENSEMBLE] = _mix(entries, weights)
    return Backtest(history, origins, validation, test, daily, weights, fitted)


def add_bands(backtest: Backtest, names: Sequence[str], settings: MlSettings) -> Backtest:
    """Lay bands around the forecasts of some methods, fitted anew at each test origin."""
    log.info("fitting bands at %d origins", len(backtest.origins.test))
    forecasts = {name: backtest.test[name].units for name in names}
    return replace(backtest, limits=lay_bands(backtest.history, backtest.origins.test, forecasts, settings))


def _mix(entries: Mapping[str, Entry], weights: Mapping[str, float]) -> Entry:
    members = [(weight, entries[name]) for name, weight in weights.items()]
    units: FloatArray = np.sum([weight * entry.units for weight, entry in members], axis=0)
    used = [entry for weight, entry in members if weight > 0]
    return Entry(units, sum(entry.cpu_seconds for entry in used), max(entry.fallback_count for entry in used))


def tell_figures(backtest: Backtest) -> dict[str, Any]:
    """Give every method's figures on the test origins, and the ratios to wMixT as [value, low, high]."""
    scored = collect_actuals(backtest.history, backtest.origins.test, REFEREE)
    scored_daily = collect_actuals(backtest.history, backtest.origins.daily, REFEREE)
    figures = {name: _figures(scored, scored_daily, backtest.test[name], backtest.daily[name])
               for name in backtest.test}
    is_trading = trading_days_after(backtest.history, backtest.origins.daily)
    classes = demand_classes(backtest.history)
    bands = measure_bands(backtest.history, backtest.origins.test, scored, backtest.limits)
    base_squares = scaled_squares(scored, backtest.test[WMIXT].units)["week"]
    models, ratios = {}, {}
    for name, own in figures.items():
        entry = backtest.test[name]
        models[name] = {
            **{metric: figure.value for metric, figure in own.items()}, "cpu_seconds": round(entry.cpu_seconds, 2),
            "fallback_count": entry.fallback_count, **bands.get(name, {}), **_by_class(own, classes),
            **_by_horizon(score_horizons(scored_daily, backtest.daily[name].units, is_trading)),
        }
        ratios[name] = {metric: bootstrap_ratio(own[metric], figures[WMIXT][metric], SEED) for metric in COMPARED}
        ratios[name]["week_wrmsse_with_origins"] = bootstrap_origins_too(
            scored, scaled_squares(scored, entry.units)["week"], base_squares, SEED)
    return {
        "models": models, "ratio_to_wmixt": ratios, "ensemble_weights": dict(backtest.weights),
        "items": int(scored.is_scored.any(axis=1).sum()),
        "items_by_class": {str(kind): int(scored.is_scored[classes == kind].any(axis=1).sum())
                           for kind in np.unique(classes)},
        "test_origins": len(backtest.origins.test),
        "daily_origins": len(backtest.origins.daily),
    }


def _figures(scored: Scored, scored_daily: Scored, entry: Entry, daily: Entry) -> dict[str, Figure]:
    figures = score(scored, entry.units)
    weight = scored.share.sum(axis=1)
    is_top = np.isin(np.arange(len(weight)), np.argsort(-weight, kind="stable")[:TOP_ITEMS])
    # A day after a Thursday is always a Friday: the next day is scored from every day on which one follows.
    by_day = score(scored_daily, daily.units)
    next_day = {name: by_day[name] for name in by_day if name.startswith("next_day")}
    return {**figures, **next_day, "top_week_wrmsse": _only(figures["week_wrmsse"], is_top)}


def _by_class(figures: Mapping[str, Figure], classes: npt.NDArray[np.object_]) -> dict[str, dict[str, float | None]]:
    return {f"{metric}_by_class": {str(kind): _only(figures[metric], classes == kind).value
                                   for kind in np.unique(classes)} for metric in BY_CLASS}


def _by_horizon(horizons: Sequence[Mapping[str, Figure]]) -> dict[str, list[float | None]]:
    # From the daily origins, so that each horizon meets every weekday.
    return {f"{metric}_by_horizon": [figures[metric].value for figures in horizons] for metric in BY_HORIZON}


def _only(figure: Figure, is_item: Any) -> Figure:
    return Figure(figure.over[is_item], figure.under[is_item])


def remember(method: Method) -> Method:
    """Make each origin's forecaster once: the test and the daily origins meet."""
    made: dict[int, Forecaster] = {}

    def prepare(history: DemandHistory) -> Forecaster:
        if history.days not in made:
            made[history.days] = method(history)
        return made[history.days]

    return prepare


def learned_methods(settings: MlSettings) -> dict[str, Method]:
    """Give the learned models, each trained on the history that it is given."""
    def train(history: DemandHistory, regressor: type[Regressor]) -> Forecaster:
        return fit_model(regressor, build_training_rows(history, settings), settings)

    return {regressor.name: partial(train, regressor=regressor) for regressor in REGRESSORS}
