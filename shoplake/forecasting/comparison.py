"""A backtest of many methods: their figures, and their ratios to wMixT with what chance makes of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

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
from shoplake.forecasting.coverage import measure_bands
from shoplake.forecasting.ensemble import choose_weights
from shoplake.forecasting.forecasters import Forecaster
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.metrics import Figure, Scored, bootstrap_origins_too, bootstrap_ratio, scaled_squares, score
from shoplake.forecasting.models import REGRESSORS, Regressor, fit_model
from shoplake.forecasting.names import ENSEMBLE, WMIXT
from shoplake.forecasting.training import LEARNED_FROM, build_training_rows
from shoplake.settings import MlSettings

TOP_ITEMS = 300
COMPARED = ("week_wrmsse", "week_wape", "day_wrmsse", "next_day_wrmsse", "top_week_wrmsse")
SEED = 20111201

log = logging.getLogger("shoplake.forecasting.comparison")


@dataclass(frozen=True)
class Backtest:
    """What every method forecast from the three kinds of origins."""

    history: DemandHistory
    origins: Origins
    validation: Mapping[str, Entry]
    test: Mapping[str, Entry]
    daily: Mapping[str, Entry]
    weights: Mapping[str, float]
    bands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
    validation, test, daily = {}, {}, {}
    for name, method in methods.items():
        method = remember(method)
        log.info("forecasting with %s", name)
        validation[name] = collect_forecasts(history, origins.validation, method)
        test[name] = collect_forecasts(history, origins.test, method)
        daily[name] = collect_forecasts(history, origins.daily, method, made_at=origins.test)
    chosen = {name: validation[name].units for name in members}
    weights = choose_weights(
        collect_actuals(history, origins.validation, REFEREE), chosen, validation[WMIXT].units)
    for entries in (validation, test, daily):
        entries[ENSEMBLE] = _mix(entries, weights)
    return Backtest(history, origins, validation, test, daily, weights)


def add_bands(backtest: Backtest, names: Sequence[str], settings: MlSettings) -> Backtest:
    """Lay bands around the forecasts of some methods, fitted anew at each test origin."""
    log.info("fitting bands at %d origins", len(backtest.origins.test))
    origins = backtest.origins.test
    scored = collect_actuals(backtest.history, origins, REFEREE)
    forecasts = {name: backtest.test[name].units for name in names}
    return replace(backtest, bands=measure_bands(backtest.history, origins, scored, forecasts, settings))


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
    classes = demand_classes(backtest.history)
    base_squares = scaled_squares(scored, backtest.test[WMIXT].units)["week"]
    models, ratios = {}, {}
    for name, own in figures.items():
        entry = backtest.test[name]
        models[name] = {
            **{metric: figure.value for metric, figure in own.items()}, "cpu_seconds": round(entry.cpu_seconds, 2),
            "fallback_count": entry.fallback_count, **backtest.bands.get(name, {}),
            "week_wrmsse_by_class": {str(kind): _only(own["week_wrmsse"], classes == kind).value
                                     for kind in np.unique(classes)},
        }
        ratios[name] = {metric: bootstrap_ratio(own[metric], figures[WMIXT][metric], SEED) for metric in COMPARED}
        ratios[name]["week_wrmsse_with_origins"] = bootstrap_origins_too(
            scored, scaled_squares(scored, entry.units)["week"], base_squares, SEED)
    return {
        "models": models, "ratio_to_wmixt": ratios, "ensemble_weights": dict(backtest.weights),
        "items": int(scored.is_scored.any(axis=1).sum()), "test_origins": len(backtest.origins.test),
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


def ready(forecaster: Forecaster) -> Method:
    """Give a forecaster that has nothing to train as a method."""
    return lambda _: forecaster


def learned_methods(settings: MlSettings) -> dict[str, Method]:
    """Give the learned models, each trained on the history that it is given."""
    def train(history: DemandHistory, regressor: type[Regressor]) -> Forecaster:
        return fit_model(regressor, build_training_rows(history, settings), settings)

    return {regressor.name: partial(train, regressor=regressor) for regressor in REGRESSORS}


def compare_forecasters(
    history: DemandHistory, forecasters: Sequence[Forecaster], cutoffs: Sequence[int],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Score forecasters that are ready on the days after each cutoff: horizon -> model -> wape, rmsse, bias, wrmsse.

    Items count from two weeks after their first sale on, with three days of sale.
    """
    scored = collect_actuals(history, cutoffs, LEARNED_FROM)
    metrics: dict[str, dict[str, dict[str, float | None]]] = {"next_day": {}, "next_week": {}}
    for forecaster in forecasters:
        figures = score(scored, collect_forecasts(history, cutoffs, ready(forecaster)).units)
        for horizon, prefix in (("next_day", "next_day"), ("next_week", "week")):
            metrics[horizon][forecaster.name] = {
                name: figures[f"{prefix}_{name}"].value for name in ("wape", "rmsse", "bias", "wrmsse")}
    return metrics
