"""What a backtest's page draws beside its figures, as plain rows: forecasts with their bands against actuals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from shoplake.forecasting.backtest import REFEREE, collect_actuals, demand_classes
from shoplake.forecasting.comparison import Backtest
from shoplake.forecasting.effects import explain_trees
from shoplake.forecasting.history import FloatArray
from shoplake.forecasting.intervals import LEVELS
from shoplake.forecasting.levels import WEEK, trading_days_after
from shoplake.forecasting.names import ENSEMBLE, WMIXT, XGBOOST
from shoplake.forecasting.totals import measure_past_totals

Row = dict[str, Any]
TOP_ITEMS = 6
ITEMS_OF_CLASS = 2
MOST_REVENUE = "most revenue"
WHOLE_SHOP = "the whole shop"


@dataclass(frozen=True)
class Evidence:
    """Rows of one model's forecasts on the test weeks; a limit is None where there is no band.

    Attributes:
        model: whose forecasts these are.
        item_weeks: of some items, a row for each week: group (why the item is shown), name, cutoff, day (the first of
            the week), actual, predicted, lower_80, upper_80, lower_95, upper_95, all in units of the week.
        item_days: of those of most revenue, the same of each day on which the shop trades.
        shop_weeks: of all products together; the limits are those of past totals (`totals.measure_past_totals`).
        shop_days: likewise, without limits.
        features: of the trees made at the last test origin, see `effects.explain_trees`; empty without trees.
        effects: likewise.
    """

    model: str
    item_weeks: list[Row]
    item_days: list[Row]
    shop_weeks: list[Row]
    shop_days: list[Row]
    features: list[Row]
    effects: list[Row]


def collect_evidence(backtest: Backtest) -> Evidence:
    """Gather what is shown of XGBoost, or of the ensemble where XGBoost is not compared."""
    model = XGBOOST if XGBOOST in backtest.test else ENSEMBLE
    items = choose_items(backtest)
    last = backtest.history.until(backtest.origins.test[-1])
    features, effects = explain_trees(backtest.fitted.get(model), last)
    return Evidence(
        model,
        [row for item, group in items for row in _item_weeks(backtest, model, item, group)],
        [row for item, group in items if group == MOST_REVENUE for row in _item_days(backtest, model, item)],
        list(_shop_weeks(backtest, model)), list(_shop_days(backtest, model)), features, effects)


def choose_items(backtest: Backtest) -> list[tuple[int, str]]:
    """Give items as (row, why): the 6 of most revenue, then of each class of demand the 2 that follow.

    They are scored at every test origin; revenue is that of the 28 days to each of these.
    """
    scored = collect_actuals(backtest.history, backtest.origins.test, REFEREE)
    revenue = np.where(scored.is_scored.all(axis=1), scored.share.sum(axis=1), -1.0)
    ranked = [int(row) for row in np.argsort(-revenue, kind="stable") if revenue[row] >= 0]
    classes = demand_classes(backtest.history)
    chosen = [(row, MOST_REVENUE) for row in ranked[:TOP_ITEMS]]
    for kind in sorted(set(classes.tolist())):
        others = [row for row in ranked[TOP_ITEMS:] if classes[row] == kind]
        chosen += [(row, str(kind)) for row in others[:ITEMS_OF_CLASS]]
    return chosen


def _item_weeks(backtest: Backtest, model: str, item: int, group: str) -> Iterator[Row]:
    limits = backtest.limits.get(model, {})
    for column, days in enumerate(backtest.origins.test):
        actual = backtest.history.units[item, days:days + WEEK].sum()
        yield {
            "group": group, **_row(backtest, str(backtest.history.product_ids[item]), days, days),
            "actual": int(actual), "predicted": float(backtest.test[model].units[item, column].sum()),
            **_limits(limits, (item, column, 0))}


def _item_days(backtest: Backtest, model: str, item: int) -> Iterator[Row]:
    limits = backtest.limits.get(model, {})
    for column, days, horizon in _trading_targets(backtest):
        yield {
            **_row(backtest, str(backtest.history.product_ids[item]), days, days + horizon),
            "actual": int(backtest.history.units[item, days + horizon]),
            "predicted": float(backtest.test[model].units[item, column, horizon]),
            **_limits(limits, (item, column, 1 + horizon))}


def _shop_weeks(backtest: Backtest, model: str) -> Iterator[Row]:
    for column, days in enumerate(backtest.origins.test):
        past = measure_past_totals(backtest.fitted[WMIXT], backtest.history.until(days))
        predicted = float(np.nansum(backtest.test[model].units[:, column]))
        limits = {level: np.stack(past.limits(WEEK, level, np.asarray(predicted)))[:, -1:] for level in LEVELS}
        yield {
            "group": WHOLE_SHOP, **_row(backtest, WHOLE_SHOP, days, days),
            "actual": int(backtest.history.units[:, days:days + WEEK].sum()), "predicted": predicted,
            **_limits(limits, (0,))}


def _shop_days(backtest: Backtest, model: str) -> Iterator[Row]:
    for column, days, horizon in _trading_targets(backtest):
        yield {
            **_row(backtest, WHOLE_SHOP, days, days + horizon),
            "actual": int(backtest.history.units[:, days + horizon].sum()),
            "predicted": float(np.nansum(backtest.test[model].units[:, column, horizon])),
            **_limits({}, ())}


def _trading_targets(backtest: Backtest) -> Iterator[tuple[int, int, int]]:
    is_trading = trading_days_after(backtest.history, backtest.origins.test)
    for column, days in enumerate(backtest.origins.test):
        for horizon in np.flatnonzero(is_trading[column]).tolist():
            yield column, days, horizon


def _row(backtest: Backtest, name: str, known: int, target: int) -> Row:
    def day(number: int) -> date:
        return backtest.history.first_day + timedelta(days=number)

    return {"name": name, "cutoff": day(known - 1), "day": day(target)}


def _limits(limits: Mapping[int, FloatArray], place: tuple[int, ...]) -> Row:
    row: Row = {}
    for level in LEVELS:
        for side, name in enumerate(("lower", "upper")):
            value = float(limits[level][(side, *place)]) if limits else np.nan
            row[f"{name}_{level}"] = None if np.isnan(value) else value
    return row
