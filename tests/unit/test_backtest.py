"""The referee: which origins and items it takes, that nobody sees the days to come, and figures by hand."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.backtest import (
    REFEREE,
    Eligibility,
    collect_actuals,
    collect_forecasts,
    demand_classes,
    plan_origins,
    ready,
)
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.comparison import run_backtest, tell_figures
from shoplake.forecasting.ensemble import choose_weights
from shoplake.forecasting.forecasters import Forecast
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.names import ENSEMBLE, MOVING_AVERAGE, SEASONAL_NAIVE, WMIXT

FIRST = date(2026, 1, 5)  # a Monday
DAYS = 160
BY_NAME = {baseline.name: baseline for baseline in BASELINES}


def history_of(series: dict[str, list[int]]) -> DemandHistory:
    rows = [(pd.Timestamp(FIRST + timedelta(days=day)), product, "c", sold, sold * 2.0)
            for product, units in series.items() for day, sold in enumerate(units)]
    sales = pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])
    return build_history(sales, FIRST + timedelta(days=max(map(len, series.values())) - 1))


def shop(days: int = DAYS, products: int = 12) -> DemandHistory:
    """Make a shop that is closed on Sundays."""
    rng = np.random.default_rng(3)
    is_open = np.arange(days) % 7 != 6
    return history_of({f"P{n:02d}": (rng.poisson(1 + n, days) * is_open).tolist() for n in range(products)})


class Spy:
    """Forecasts 1 unit a day and remembers the histories that it was shown."""

    name, version = "spy", "1"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def forecast(self, history: DemandHistory) -> Forecast:
        self.seen.append(history.days)
        return Forecast(np.ones((len(history.product_ids), 7)))


def test_origins_are_the_last_weeks_and_the_days_before_a_trading_day() -> None:
    origins = plan_origins(shop())
    assert origins.test == tuple(range(DAYS - 7 - 49, DAYS - 7 + 1, 7))
    assert origins.validation == tuple(range(origins.test[0] - 28, origins.test[0], 7))
    # With n days known the next one is number n; Sundays are 6 modulo 7.
    assert origins.daily == tuple(n for n in range(origins.test[0], origins.test[-1] + 1) if n % 7 != 6)
    with pytest.raises(ForecastError, match="a backtest needs 140 days of history; there are 139"):
        plan_origins(shop(139))
    plan_origins(shop(147))


def test_items_are_scored_with_so_many_days_and_active_days() -> None:
    history = history_of({
        "enough": [1] * 56, "young": [0] + [1] * 55, "rare": [1] * 9 + [0] * 47, "just": [1] * 9 + [0] * 46 + [1]})
    by_product = dict(zip(history.product_ids, REFEREE.of(history), strict=True))
    assert by_product == {"enough": True, "young": False, "rare": False, "just": True}


def test_what_is_scored_is_what_followed_and_the_weights_are_shares_of_revenue() -> None:
    history = history_of({"A": list(range(100)), "B": [2] * 100, "C": [0] * 90 + [9] * 10})
    scored = collect_actuals(history, [80, 93], Eligibility(days=28, active_days=5))
    row = {product: n for n, product in enumerate(history.product_ids)}
    assert scored.actual[row["A"]].tolist() == [list(range(80, 87)), list(range(93, 100))]
    assert np.isnan(scored.actual[row["C"]]).all()
    revenue = sum(range(52, 80))
    assert scored.share[row["A"], 0] == pytest.approx(revenue / (revenue + 56))
    assert scored.share.sum(axis=0).tolist() == pytest.approx([1, 1])
    assert scored.week_scale[row["A"], 0] == 49**2
    assert scored.week_step[row["A"], 0] == 49


def test_a_forecaster_is_shown_the_days_up_to_the_origin_and_made_anew_when_asked() -> None:
    history, spies = shop(), []

    def method(known: DemandHistory) -> Spy:
        spy = Spy()
        spies.append((known.days, spy))
        return spy

    entry = collect_forecasts(history, [100, 101, 107, 108], method, made_at=[100, 107])
    assert [(made, spy.seen) for made, spy in spies] == [(100, [100, 101]), (107, [107, 108])]
    assert entry.units.shape == (12, 4, 7)
    assert (entry.units == 1).all()


def test_models_are_made_anew_each_week_also_where_the_week_ends_before_a_closed_day() -> None:
    history = shop()
    origins = plan_origins(history)
    assert not set(origins.test) & set(origins.daily), "after each weekly origin comes a Sunday"
    made: list[int] = []

    def method(known: DemandHistory) -> Spy:
        made.append(known.days)
        return Spy()

    collect_forecasts(history, origins.daily, method, made_at=origins.test)
    assert made == list(origins.test[:-1])  # after the last one comes no day but the Sunday


def test_a_shop_in_which_nothing_can_be_scored_is_refused() -> None:
    history = history_of({"A": [1, *[0] * 39] * 4})
    with pytest.raises(ForecastError, match="nothing can be scored after 2026-"):
        run_backtest(history, plan_origins(history), {WMIXT: ready(BY_NAME[WMIXT])}, (WMIXT,))


def test_a_shop_without_surprises_has_no_ratio() -> None:
    history = history_of({"A": [7] * 160})
    methods = {name: ready(BY_NAME[name]) for name in (WMIXT, SEASONAL_NAIVE)}
    result = tell_figures(run_backtest(history, plan_origins(history), methods, (WMIXT,)))
    assert result["models"][SEASONAL_NAIVE]["week_wrmsse"] == 0
    assert set(result["ratio_to_wmixt"][SEASONAL_NAIVE].values()) == {(None, None, None)}


def test_an_item_that_was_not_known_yet_has_no_forecast() -> None:
    history = history_of({"A": [1] * 100, "new": [1] * 100})
    late = pd.DataFrame({"event_date": [pd.Timestamp(FIRST + timedelta(days=90))], "product_id": "late",
                         "category": "c", "units": 5, "gross_amount": 1.0})
    rows = pd.DataFrame([(pd.Timestamp(FIRST + timedelta(days=day)), "A", "c", 1, 1.0) for day in range(100)],
                        columns=late.columns)
    history = build_history(pd.concat([rows, late]), FIRST + timedelta(days=99))
    entry = collect_forecasts(history, [80, 93], ready(Spy()))
    assert np.isnan(entry.units[1, 0]).all()
    assert not np.isnan(entry.units[:, 1]).any()


def test_classes_of_demand_by_hand() -> None:
    history = history_of({
        "smooth": [4, 5] * 30, "erratic": [1, 1, 1, 30] * 15, "intermittent": [5, 0, 0] * 20,
        "lumpy": [1, 0, 0, 40, 0, 0] * 10})
    assert dict(zip(history.product_ids, demand_classes(history), strict=True)) == {
        name: name for name in ("smooth", "erratic", "intermittent", "lumpy")}


def test_weights_are_chosen_on_the_validation_origins_only() -> None:
    history = shop()
    origins = plan_origins(history)

    class TurnsGood:
        """Is off before the test and knows the truth on it: an honest choice cannot see that."""

        name, version = "turns_good", "1"

        def forecast(self, known: DemandHistory) -> Forecast:
            if known.days >= origins.test[0]:
                return Forecast(history.units[:, known.days:known.days + 7].astype(float))
            return Forecast(np.full((len(known.product_ids), 7), 50.0))

    methods = {WMIXT: ready(BY_NAME[WMIXT]), MOVING_AVERAGE: ready(BY_NAME[MOVING_AVERAGE]),
               "turns_good": ready(TurnsGood())}
    backtest = run_backtest(history, origins, methods, (MOVING_AVERAGE, "turns_good"))
    assert backtest.weights == {MOVING_AVERAGE: 1.0, "turns_good": 0.0}
    np.testing.assert_array_equal(backtest.test[ENSEMBLE].units, backtest.test[MOVING_AVERAGE].units)


def test_the_best_mixture_is_found() -> None:
    history = shop()
    scored = collect_actuals(history, [120, 127], REFEREE)
    truth = np.nan_to_num(scored.actual)
    forecasts = {"low": truth * 0.5, "high": truth * 1.5, "bad": truth + 30}
    assert choose_weights(scored, forecasts, truth + 1) == {"low": 0.5, "high": 0.5, "bad": 0.0}


def test_figures_are_told_with_their_ratio_to_wmixt() -> None:
    history = shop()
    methods = {name: ready(BY_NAME[name]) for name in (WMIXT, SEASONAL_NAIVE)}
    result = tell_figures(run_backtest(history, plan_origins(history), methods, (WMIXT,)))
    assert set(result["models"]) == {WMIXT, SEASONAL_NAIVE, ENSEMBLE}
    assert result["ratio_to_wmixt"][ENSEMBLE]["week_wrmsse"] == (1.0, 1.0, 1.0)
    for metric in ("week_wrmsse", "day_wrmsse", "next_day_wrmsse"):
        value, low, high = result["ratio_to_wmixt"][SEASONAL_NAIVE][metric]
        assert value == pytest.approx(result["models"][SEASONAL_NAIVE][metric] / result["models"][WMIXT][metric])
        assert 1 < low < value < high  # on noise around a level, last week is a bad guess
    # The next day is scored on the daily origins, not on the weekly ones.
    scored = collect_actuals(history, plan_origins(history).daily, REFEREE)
    from shoplake.forecasting.metrics import score

    daily = collect_forecasts(history, plan_origins(history).daily, methods[WMIXT])
    assert result["models"][WMIXT]["next_day_wrmsse"] == score(scored, daily.units)["next_day_wrmsse"].value
