"""Forecast totals of products, categories and the shop: sums of the products' forecasts, with bands of their own.

The sum of bands is no band of the sum: what is too high for one product is too low for another. A product's week has
the limits that the quantile model learned of weeks. Those of a category and of the shop are conformal: as wide as the
forecasts of past totals were wrong, relative to the forecast, made anew at each past cutoff of what was known there.

Source: Vovk, Gammerman and Shafer (2005), split conformal prediction, here of the absolute relative error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DEMAND_TOTALS
from shoplake.forecasting.baselines import BASELINES, Baseline
from shoplake.forecasting.forecasters import Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory, FloatArray, IntArray
from shoplake.forecasting.intervals import LEVELS
from shoplake.forecasting.levels import PROFILE_WEEKS, WEEK
from shoplake.forecasting.names import BANDS, WMIXT
from shoplake.forecasting.predictions import Prediction

# The day's total, then the week's.
SPANS = (1, WEEK)
# Past totals: so many days one after the other, so many weeks one after the other; none before the first 8 weeks.
PAST_CUTOFFS = {1: 56, WEEK: 26}
STEPS = {1: 1, WEEK: WEEK}
LEAST_DAYS = PROFILE_WEEKS * WEEK
PRODUCT, CATEGORY, SHOP = "product", "category", "shop"
WHOLE_SHOP = "all"


@dataclass(frozen=True)
class RelativeBands:
    """How far past totals of each category, and in the last row of the shop, lay from their forecasts.

    Attributes:
        source: the name of the model that forecast them.
        errors: span in days -> abs(actual - forecast) / forecast, (categories + 1, cutoffs); NaN where nothing was
            forecast and nothing sold, infinite where only nothing was forecast.
    """

    source: str
    errors: dict[int, FloatArray]

    def counts(self, span: int) -> IntArray:
        """Give the number of past totals, (categories + 1,)."""
        return np.asarray((~np.isnan(self.errors[span])).sum(axis=1), dtype=np.int64)

    def reach(self, span: int, level: int) -> FloatArray:
        """Give the share of a forecast by which its limits lie above and below it, (categories + 1,).

        NaN where the past is too short for the level (80% takes 4 totals, 95% takes 19), or unbounded.
        """
        reached = np.full(len(self.errors[span]), np.nan)
        for row, errors in enumerate(self.errors[span]):
            known = np.sort(errors[~np.isnan(errors)])
            # In whole numbers: 0.95 of 20 must not become 20.
            place = -(-(len(known) + 1) * level // 100)
            if place <= len(known) and np.isfinite(known[place - 1]):
                reached[row] = known[place - 1]
        return reached

    def limits(self, span: int, level: int, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the lower and upper limits of totals, in the order of `errors`."""
        reach = self.reach(span, level)
        return np.maximum(predicted * (1 - reach), 0.0), predicted * (1 + reach)


def measure_past_totals(forecaster: Forecaster, history: DemandHistory) -> RelativeBands:
    """Forecast past totals, each with what was known at its cutoff, and tell how wrong that was.

    A forecaster that is a function of the history alone is measured itself. One that was trained on these days, or
    takes minutes for each cutoff, is not: there the forecasts of wMixT are, which the trained models start from.
    """
    base = next(baseline for baseline in BASELINES if baseline.name == WMIXT)
    measured = forecaster if isinstance(forecaster, Baseline) else base
    errors = {}
    for span in SPANS:
        newest = history.days - span
        cutoffs = range(newest, max(LEAST_DAYS - 1, newest - PAST_CUTOFFS[span] * STEPS[span]), -STEPS[span])
        errors[span] = _relative_errors(measured, history, cutoffs, span)
    return RelativeBands(measured.name, errors)


def _relative_errors(
    forecaster: Forecaster, history: DemandHistory, cutoffs: Sequence[int], span: int,
) -> FloatArray:
    errors = np.full((len(history.category_names) + 1, len(cutoffs)), np.nan)
    for column, days in enumerate(cutoffs):
        known = history.until(days)
        predicted = sum_by_category(known, forecast_items(forecaster, known).units[:, :span].sum(axis=1))
        # The category as it was at the cutoff; of a product that came later, its first one.
        codes = np.maximum(history.category_codes[:, days + span - 1], 0)
        codes[:len(known.product_ids)] = known.category_codes[:, -1]
        actual = _sum_by_code(codes, history.units[:, days:days + span].sum(axis=1), len(history.category_names))
        with np.errstate(divide="ignore", invalid="ignore"):
            errors[:, column] = np.abs(actual - predicted) / predicted
    return errors


def sum_by_category(history: DemandHistory, values: FloatArray) -> FloatArray:
    """Sum products' values by their last category known at the cutoff, (categories + 1,); the shop's stands last."""
    return _sum_by_code(history.category_codes[:, -1], values, len(history.category_names))


def _sum_by_code(codes: IntArray, values: FloatArray | IntArray, count: int) -> FloatArray:
    sums = np.bincount(codes, weights=values, minlength=count)
    return np.append(sums, sums.sum())


def tabulate_totals(prediction: Prediction, past: RelativeBands, spans: Sequence[int]) -> pa.Table:
    """Give the rows of gold.demand_totals, sorted by horizon_days, level and name.

    Args:
        spans: of SPANS.
    """
    parts = [part for span in spans for part in (_product_totals(prediction, span), _sums(prediction, past, span))]
    rows = pd.concat(parts, ignore_index=True).sort_values(["horizon_days", "level", "name"])
    schema = arrow_schema(DEMAND_TOTALS)
    return pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(None)


def _frame(prediction: Prediction, span: int) -> dict[str, object]:
    cutoff = prediction.history.cutoff
    return {"as_of_date": cutoff, "horizon_days": span, "last_target_date": cutoff + timedelta(days=span),
            "model": prediction.forecaster.name, "model_version": prediction.forecaster.version}


def _product_totals(prediction: Prediction, span: int) -> pd.DataFrame:
    rows = pd.DataFrame({
        **_frame(prediction, span), "level": PRODUCT, "name": prediction.history.product_ids, "product_count": 1,
        "predicted_units": prediction.forecast.units[:, :span].sum(axis=1),
        "band_source": None, "band_count": None,
        "fallback_count": prediction.forecast.is_fallback.astype(np.int64),
    })
    # Bands have the week's total first, then its days.
    column = 0 if span == WEEK else 1
    for level in LEVELS:
        lower, upper = prediction.limits(level)
        rows[f"lower_{level}"], rows[f"upper_{level}"] = lower[:, column], upper[:, column]
    rows.loc[rows[f"lower_{min(LEVELS)}"].notna(), "band_source"] = BANDS
    return rows


def _sums(prediction: Prediction, past: RelativeBands, span: int) -> pd.DataFrame:
    history, forecast = prediction.history, prediction.forecast
    predicted = sum_by_category(history, forecast.units[:, :span].sum(axis=1))
    rows = pd.DataFrame({
        **_frame(prediction, span),
        "level": [*[CATEGORY] * len(history.category_names), SHOP],
        "name": [*history.category_names, WHOLE_SHOP],
        "product_count": sum_by_category(history, np.ones(len(forecast.units))).astype(np.int64),
        "predicted_units": predicted,
        "band_source": None, "band_count": past.counts(span),
        "fallback_count": sum_by_category(history, forecast.is_fallback.astype(np.float64)).astype(np.int64),
    })
    for level in LEVELS:
        rows[f"lower_{level}"], rows[f"upper_{level}"] = past.limits(span, level, predicted)
    rows.loc[rows[f"lower_{min(LEVELS)}"].notna(), "band_source"] = past.source
    return rows[rows["product_count"] > 0]


def find_shop_totals(totals: pa.Table) -> list[dict[str, Any]]:
    """Give the shop's rows of `tabulate_totals` as a person is told them: horizon_days, units and limits."""
    limits = [f"{side}_{level}" for level in LEVELS for side in ("lower", "upper")]
    columns = ["horizon_days", "predicted_units", *limits]
    return list(totals.filter(pc.field("level") == SHOP).select(columns).to_pylist())
