"""The names that a person types: models and horizons; nothing heavy is imported, so that flags can be read at once."""

LINEAR = "linear"
XGBOOST = "xgboost"
SEASONAL_NAIVE = "seasonal_naive"
MOVING_AVERAGE = "moving_average"

LEARNED_MODELS = (LINEAR, XGBOOST)
BASELINE_MODELS = (SEASONAL_NAIVE, MOVING_AVERAGE)
MODEL_NAMES = (*LEARNED_MODELS, *BASELINE_MODELS)

# name -> days after the cutoff
HORIZONS: dict[str, tuple[int, ...]] = {"next_day": (1,), "next_week": tuple(range(1, 8))}
