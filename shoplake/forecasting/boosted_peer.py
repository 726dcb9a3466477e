"""The opponent that many shops begin with: LightGBM with its default parameters, as mlforecast's quickstart has it.

One model for all products on lags, rolling means and the weekday; each day's forecast is the next day's lag. It is for
the referee only, so its packages are installed for development and not where the platform runs.
"""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shoplake.errors import ForecastError
from shoplake.forecasting.forecasters import Forecast
from shoplake.forecasting.history import DemandHistory
from shoplake.forecasting.levels import WEEK
from shoplake.forecasting.names import LIGHTGBM

LAGS = (1, 7, 14, 28)
ROLLING_WINDOWS = (7, 28)
DATE_FEATURES = ("dayofweek",)


@dataclass(frozen=True)
class LightgbmForecaster:
    """A fitted mlforecast.MLForecast; it forecasts any history, as of its last day."""

    pipeline: Any
    version: str
    name: str = LIGHTGBM

    @classmethod
    def fit(cls, history: DemandHistory) -> "LightgbmForecaster":
        """Train on every day of every product from its 29th on, as mlforecast does when lags are missing.

        Raises:
            ForecastError: the packages are not there.
        """
        try:
            from lightgbm import LGBMRegressor
            from mlforecast import MLForecast
            from mlforecast.lag_transforms import RollingMean
        except ImportError as error:
            raise ForecastError(
                f"the model {LIGHTGBM} needs mlforecast and lightgbm, which are here for development only "
                f"({error}). Install them with: pip install -r requirements-dev.txt"
            ) from error
        # A second thread changes no figure, but would wait for the machine's other work.
        regressor = LGBMRegressor(n_jobs=1, verbosity=-1)
        pipeline: Any = MLForecast(
            models={LIGHTGBM: regressor}, freq="D", lags=list(LAGS), date_features=list(DATE_FEATURES),
            lag_transforms={1: [RollingMean(window) for window in ROLLING_WINDOWS]})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it names each young product, whose lags do not reach back
            pipeline.fit(_long_table(history), static_features=[])
        text: str = pipeline.models_[LIGHTGBM].booster_.model_to_string()
        return cls(pipeline, hashlib.sha256(text.encode()).hexdigest())

    def forecast(self, history: DemandHistory) -> Forecast:
        """Forecast one day after the other, never below 0; 0 for a product without a series."""
        units = np.zeros((len(history.product_ids), WEEK))
        rows = np.flatnonzero(history.has_series)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it tells at each day that young products lack lags
            told = self.pipeline.predict(WEEK, new_df=_long_table(history))
        # In the order of the table: by row, then by day.
        units[rows] = np.maximum(told[LIGHTGBM].to_numpy(np.float64).reshape(len(rows), WEEK), 0.0)
        return Forecast(units)


def _long_table(history: DemandHistory) -> pd.DataFrame:
    """Give a row for each day of each series since its first sale: unique_id (the row in the history), ds, y."""
    rows = np.flatnonzero(history.has_series)
    first = history.first_sale[rows]
    row, day = np.nonzero(np.arange(history.days) >= first[:, np.newaxis])
    days = pd.date_range(history.first_day, periods=history.days, freq="D")
    units = history.units[rows[row], day].astype(np.float64)
    return pd.DataFrame({"unique_id": rows[row], "ds": days[day], "y": units})
