"""What must hold of every name that the referee takes: nothing later is seen, and what is too short is marked."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from shoplake.forecasting.boosted_peer import LightgbmForecaster
from shoplake.forecasting.comparison import learned_methods
from shoplake.forecasting.forecasters import TOO_SHORT, Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory, build_history
from shoplake.forecasting.names import LIGHTGBM, REFEREE_MODELS
from shoplake.forecasting.series_models import find_untrained, over_processes
from shoplake.settings import load_settings

FIRST = date(2026, 3, 1)
CUTOFF, NEWEST = FIRST + timedelta(days=69), FIRST + timedelta(days=84)


def make_forecaster(name: str, history: DemandHistory) -> Forecaster:
    trained = {**learned_methods(load_settings("local").ml), LIGHTGBM: LightgbmForecaster.fit}
    return trained[name](history) if name in trained else find_untrained(name, over_processes(1))


def make_sales() -> pd.DataFrame:
    """Make a steady, a rare and a late product and one of a single day, and days after the cutoff."""
    rng = np.random.default_rng(9)
    rows = []
    for number in range((NEWEST - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        units = {"steady": rng.poisson(8), "rare": rng.poisson(0.5) * 3, "late": rng.poisson(4) if number > 40 else 0,
                 "new": 5 if day >= CUTOFF else 0}
        rows += [(pd.Timestamp(day), product, "b" if product == "rare" else "a", sold, 2.5 * sold)
                 for product, sold in units.items() if sold or (number == 0 and product == "steady")]
    return pd.DataFrame(rows, columns=["event_date", "product_id", "category", "units", "gross_amount"])


@pytest.mark.parametrize("name", REFEREE_MODELS)
def test_what_comes_after_the_cutoff_changes_no_forecast_by_one_bit(name: str) -> None:
    sales = make_sales()
    after = sales["event_date"] > pd.Timestamp(CUTOFF)
    corrupted = sales.assign(
        units=sales["units"].where(~after, sales["units"] * 1000 + 7), category=sales["category"].where(~after, "0"),
        gross_amount=sales["gross_amount"].where(~after, 0.01))
    strangers = corrupted[after].assign(product_id="A-" + corrupted["product_id"][after])
    corrupted = pd.concat([strangers, corrupted], ignore_index=True)
    days = (CUTOFF - FIRST).days + 1
    histories = (build_history(sales[~after], CUTOFF), build_history(corrupted, CUTOFF),
                 build_history(corrupted, NEWEST).until(days))
    seen = set()
    for history in histories:
        forecaster = make_forecaster(name, history)
        forecast = forecast_items(forecaster, history)
        seen.add((forecaster.version, tuple(history.product_ids), forecast.units.tobytes(), str(forecast.fallbacks)))
    assert len(seen) == 1


@pytest.mark.parametrize("name", REFEREE_MODELS)
def test_a_product_of_one_day_has_its_categorys_figure_and_is_marked(name: str) -> None:
    sales = make_sales()
    history = build_history(sales[sales["event_date"] <= pd.Timestamp(CUTOFF)], CUTOFF)
    row = {product: number for number, product in enumerate(history.product_ids)}
    forecast = forecast_items(make_forecaster(name, history), history)
    assert forecast.fallbacks == {row["new"]: TOO_SHORT}
    last_days = sales[(sales["event_date"] <= pd.Timestamp(CUTOFF))
                      & (sales["event_date"] > pd.Timestamp(CUTOFF - timedelta(days=28)))]
    sold = last_days.groupby("product_id")["units"].sum()
    expected = (sold["steady"] / 28 + sold["late"] / 28) / 2
    assert forecast.units[row["new"]] == pytest.approx([expected] * 7)
    assert forecast.is_fallback.tolist() == [product == "new" for product in history.product_ids]
