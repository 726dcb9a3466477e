"""The names that a person types: models and horizons; nothing heavy is imported, so that flags can be read at once."""

LINEAR = "linear"
XGBOOST = "xgboost"
ENSEMBLE = "ensemble"
BANDS = "bands"
WMIXT = "wmixt"
MOVING_AVERAGE = "moving_average"
SEASONAL_NAIVE = "seasonal_naive"
NAIVE = "naive"
ACTIVE_DAY_AVERAGE = "active_day_average"
ARIMA = "arima"
AUTO_ETS = "auto_ets"
AUTO_THETA = "auto_theta"
CROSTON_SBA = "croston_sba"
TSB = "tsb"
IMAPA = "imapa"
ADIDA = "adida"
LIGHTGBM = "lightgbm"

LEARNED_MODELS = (LINEAR, XGBOOST)
BASELINE_MODELS = (WMIXT, MOVING_AVERAGE, SEASONAL_NAIVE, NAIVE, ACTIVE_DAY_AVERAGE, ARIMA)
# One model for each product, by a library that fits them one by one.
SERIES_MODELS = (AUTO_ETS, AUTO_THETA, CROSTON_SBA, TSB, IMAPA, ADIDA)
MODEL_NAMES = (*LEARNED_MODELS, *BASELINE_MODELS, *SERIES_MODELS)
# Measured against and never served: its packages are for development.
REFEREE_MODELS = (*MODEL_NAMES, LIGHTGBM)

# name -> the number of days after the cutoff
HORIZONS = {"next_day": 1, "next_week": 7}
# What `--top` goes by.
ACTIVE_DAYS = "active_days"
RANKINGS = ("units", ACTIVE_DAYS)
