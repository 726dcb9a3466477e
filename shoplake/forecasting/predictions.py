"""Forecasts as rows of gold.demand_predictions."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DEMAND_PREDICTIONS
from shoplake.forecasting.baselines import active_day_average
from shoplake.forecasting.features import target_days
from shoplake.forecasting.forecasters import Forecaster, forecast_items
from shoplake.forecasting.history import DemandHistory
from shoplake.forecasting.intervals import BandModel
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.names import ACTIVE_DAYS


def predict_demand(
    forecaster: Forecaster, history: DemandHistory, days: int, band_model: BandModel | None,
) -> pa.Table:
    """Forecast every product: one row per product and target day, in the contract's columns, sorted by product and day.

    Args:
        days: how many of the 7 days after the cutoff.
        band_model: makes the limits; without one they are NULL, as they are for a product with a stand-in.
    """
    forecast = forecast_items(forecaster, history)
    count = len(history.product_ids)
    rows = pd.DataFrame({
        "as_of_date": history.cutoff,
        "target_date": np.tile(np.array(target_days(history), dtype=object), count),
        "horizon": np.tile(np.arange(1, WEEK + 1), count),
        "product_id": np.repeat(history.product_ids, WEEK),
        "category": np.repeat(history.categories, WEEK),
        "model": forecaster.name,
        "model_version": forecaster.version,
        "predicted_units": forecast.units.reshape(-1),
        "lower_80": np.nan, "upper_80": np.nan, "lower_95": np.nan, "upper_95": np.nan,
        "is_fallback": np.repeat(forecast.is_fallback, WEEK),
        "fallback_reason": np.repeat(
            np.array([forecast.fallbacks.get(row) for row in range(count)], dtype=object), WEEK),
    })
    if band_model is not None:
        bands = band_model.bands(history, forecast.units)
        for level, lower in bands.lower.items():
            rows[f"lower_{level}"] = np.where(rows["is_fallback"], np.nan, lower[:, 1:].reshape(-1))
            rows[f"upper_{level}"] = np.where(rows["is_fallback"], np.nan, bands.upper[level][:, 1:].reshape(-1))
    wanted = rows[rows["horizon"] <= days].sort_values(["product_id", "target_date"])
    schema = arrow_schema(DEMAND_PREDICTIONS)
    return pa.Table.from_pandas(wanted, schema=schema, preserve_index=False).replace_schema_metadata(None)


def replaced_rows(forecaster: Forecaster, history: DemandHistory, days: int) -> str:
    """Give the SQL predicate of the rows that these predictions replace."""
    return f"as_of_date = DATE '{history.cutoff}' AND model = '{forecaster.name}' AND horizon <= {int(days)}"


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
