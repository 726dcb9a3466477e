"""Forecasts as rows of gold.demand_predictions."""

import numpy as np
import pandas as pd
import pyarrow as pa

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DEMAND_PREDICTIONS
from shoplake.forecasting.features import WEEK, target_days
from shoplake.forecasting.history import DemandHistory
from shoplake.forecasting.models import Forecaster, forecast_items
from shoplake.forecasting.names import HORIZONS


def predict_demand(forecaster: Forecaster, history: DemandHistory, horizon: str) -> pa.Table:
    """Forecast every product: one row per product and target day, in the contract's columns, sorted by product and day.

    Args:
        horizon: a name of names.HORIZONS.
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
        "is_fallback": np.repeat(forecast.is_fallback, WEEK),
    })
    wanted = rows[rows["horizon"].isin(HORIZONS[horizon])].sort_values(["product_id", "target_date"])
    schema = arrow_schema(DEMAND_PREDICTIONS)
    return pa.Table.from_pandas(wanted, schema=schema, preserve_index=False).replace_schema_metadata(None)


def replaced_rows(forecaster: Forecaster, history: DemandHistory, horizon: str) -> str:
    """Give the SQL predicate of the rows that these predictions replace."""
    horizons = ", ".join(map(str, HORIZONS[horizon]))
    return f"as_of_date = DATE '{history.cutoff}' AND model = '{forecaster.name}' AND horizon IN ({horizons})"
