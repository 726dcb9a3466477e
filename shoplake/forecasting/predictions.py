"""Forecasts as rows of gold.demand_predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DEMAND_PREDICTIONS
from shoplake.forecasting.baselines import active_day_average
from shoplake.forecasting.features import target_days
from shoplake.forecasting.forecasters import Forecast, Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.intervals import LEVELS, SPANS, BandModel, Bands
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.names import ACTIVE_DAY_AVERAGE, ACTIVE_DAYS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, scan_table


@dataclass(frozen=True)
class Prediction:
    """What a forecaster said at a cutoff of the 7 days after it, and the bands around it, where some were fitted."""

    forecaster: Forecaster
    history: DemandHistory
    forecast: Forecast
    bands: Bands | None

    def limits(self, level: int) -> tuple[FloatArray, FloatArray]:
        """Give lower and upper limits, (products, 8): the week's total, then its days.

        NaN without bands, and for a product with a stand-in.
        """
        nothing = np.full((len(self.forecast.units), SPANS), np.nan)
        if self.bands is None:
            return nothing, nothing
        is_own = ~self.forecast.is_fallback[:, np.newaxis]
        return (np.where(is_own, self.bands.lower[level], nothing), np.where(is_own, self.bands.upper[level], nothing))


def predict_demand(forecaster: Forecaster, history: DemandHistory, band_model: BandModel | None) -> Prediction:
    """Forecast every product of the history, with limits if there is a model of them."""
    forecast = forecast_items(forecaster, history)
    bands = None if band_model is None else band_model.bands(history, forecast.units)
    return Prediction(forecaster, history, forecast, bands)


def tabulate_days(prediction: Prediction, days: int) -> pa.Table:
    """Give one row per product and target day, in the contract's columns, sorted by product and day.

    Args:
        days: how many of the 7 days after the cutoff.
    """
    history, forecast = prediction.history, prediction.forecast
    count = len(history.product_ids)
    rows = pd.DataFrame({
        "as_of_date": history.cutoff,
        "target_date": np.tile(np.array(target_days(history), dtype=object), count),
        "horizon": np.tile(np.arange(1, WEEK + 1), count),
        "product_id": np.repeat(history.product_ids, WEEK),
        "category": np.repeat(history.categories, WEEK),
        "model": prediction.forecaster.name,
        "model_version": prediction.forecaster.version,
        "predicted_units": forecast.units.reshape(-1),
        "is_fallback": np.repeat(forecast.is_fallback, WEEK),
        "fallback_reason": np.repeat(
            np.array([forecast.fallbacks.get(row) for row in range(count)], dtype=object), WEEK),
    })
    for level in LEVELS:
        lower, upper = prediction.limits(level)
        rows[f"lower_{level}"], rows[f"upper_{level}"] = lower[:, 1:].reshape(-1), upper[:, 1:].reshape(-1)
    wanted = rows[rows["horizon"] <= days].sort_values(["product_id", "target_date"])
    schema = arrow_schema(DEMAND_PREDICTIONS)
    return pa.Table.from_pandas(wanted, schema=schema, preserve_index=False).replace_schema_metadata(None)


def week_stands(lake: Lake, prediction: Prediction) -> bool:
    """Tell whether gold.demand_predictions holds exactly the seven days of this prediction.

    After a run for fewer days the others may be of an older run, on another history or by another model: then no
    week's total is the sum of what stands there.
    """
    is_made = ((pc.field("as_of_date") == prediction.history.cutoff)
               & (pc.field("model") == prediction.forecaster.name))
    columns = ["product_id", "horizon", "predicted_units"]
    with delta_errors(lake):
        standing = scan_table(lake, DEMAND_PREDICTIONS).to_table(columns=columns, filter=is_made)
    order = [("product_id", "ascending"), ("horizon", "ascending")]
    wanted = tabulate_days(prediction, WEEK).select(columns)
    return bool(standing.sort_by(order).combine_chunks().equals(wanted.sort_by(order).combine_chunks()))


def replaced_totals(prediction: Prediction) -> str:
    """Give the SQL predicate of the rows of gold.demand_totals that this prediction replaces."""
    return f"as_of_date = DATE '{prediction.history.cutoff}' AND model = '{prediction.forecaster.name}'"


def replaced_days(prediction: Prediction, days: int) -> str:
    """Give the SQL predicate of the rows of gold.demand_predictions that this prediction replaces."""
    return f"{replaced_totals(prediction)} AND horizon <= {int(days)}"


def rank_products(history: DemandHistory, predictions: pa.Table, count: int, by: str) -> list[dict[str, Any]]:
    """Give the first products by their predicted units or by their days with a sale, the most first.

    Each with product_id, active_days (in the whole history), predicted_units, and what the average over the days with
    a sale would say of the same days, in active_day_average: too high by as much as days without a sale are common.

    Args:
        by: of names.RANKINGS.
    """
    days = len(set(predictions["target_date"].to_pylist()))
    average = days * active_day_average(history)
    predicted = predictions.group_by("product_id").aggregate([("predicted_units", "sum")])
    units = dict(zip(predicted["product_id"].to_pylist(), predicted["predicted_units_sum"].to_pylist(), strict=True))
    products = [
        {"product_id": product, "active_days": int(active), "predicted_units": units[product],
         "active_day_average": float(naive)}
        for product, active, naive in zip(
            history.product_ids, (history.units > 0).sum(axis=1), average, strict=True)]
    key = ACTIVE_DAYS if by == ACTIVE_DAYS else "predicted_units"
    return sorted(products, key=lambda product: (-product[key], product["product_id"]))[:count]


def pick_products(predictions: pa.Table, ranked: Sequence[dict[str, Any]]) -> pa.Table:
    """Keep the rows of ranked products; active_day_average, of a day, stands beside what was predicted."""
    days = len(set(predictions["target_date"].to_pylist()))
    averages = {product["product_id"]: product["active_day_average"] / days for product in ranked}
    kept = predictions.filter(pc.is_in(predictions["product_id"], pa.array(list(averages), pa.string())))
    beside = [averages[product] for product in kept["product_id"].to_pylist()]
    return kept.append_column(ACTIVE_DAY_AVERAGE, pa.array(beside, pa.float64()))
