"""What moves the trees' forecasts: exact Shapley values, which XGBoost gives itself.

Source: Lundberg, Erion and Lee (2018), consistent individualized feature attribution for tree ensembles.
"""

from typing import Any

import numpy as np

from shoplake.forecasting.backtest import REFEREE
from shoplake.forecasting.features import build_features
from shoplake.forecasting.forecasters import Forecaster
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.models import THREADS, LearnedModel, XGBoostRegressor

Row = dict[str, Any]
CURVES = 6
BINS = 12


def explain_trees(model: Forecaster | None, history: DemandHistory) -> tuple[list[Row], list[Row]]:
    """Tell by how much each feature moves the forecasts of the referee's items at the end of a history.

    Trees add up logarithms, so a feature's part is a factor on the seasonal level, told as its change: 0.1 is 10% more.

    Returns:
        Two lists, both empty for a model without trees and for a history without such items. One row for each feature,
        the strongest first: feature, mean_change (the mean size over items), gain_share (of what the splits on it
        improved the fit). And for the first 6 features up to 12 rows each of as many items: feature, value (the median
        of these items), change (the median), low, high (of 80% of these items).
    """
    if not isinstance(model, LearnedModel) or not isinstance(model.regressor, XGBoostRegressor):
        return [], []
    import xgboost

    booster = xgboost.Booster({"nthread": THREADS})
    booster.load_model(bytearray(model.regressor.to_bytes()))
    names = list(booster.feature_names or ())
    values = build_features(history, model.spec).items[REFEREE.of(history)]
    if not len(values):
        return [], []
    matrix = xgboost.DMatrix(values, feature_names=names, nthread=THREADS)
    # The last column is what all items share, the trees' mean.
    parts = booster.predict(matrix, pred_contribs=True)[:, :-1].astype(np.float64)
    gain: dict[str, Any] = booster.get_score(importance_type="total_gain")
    strengths = np.abs(parts).mean(axis=0)
    order = np.argsort(-strengths, kind="stable").tolist()
    features = [{"feature": names[place], "mean_change": float(np.expm1(strengths[place])),
                 "gain_share": gain.get(names[place], 0.0) / (sum(gain.values()) or 1.0)} for place in order]
    curves = [{"feature": names[place], **point} for place in order[:CURVES]
              for point in _trace(values[:, place].astype(np.float64), np.expm1(parts[:, place]))]
    return features, curves


def _trace(values: FloatArray, changes: FloatArray) -> list[dict[str, float]]:
    """Give a feature's change over its values, in bins of as many items; where the feature is unknown it has none."""
    is_known = ~np.isnan(values)
    if not is_known.any():
        return []
    edges = np.unique(np.quantile(values[is_known], np.linspace(0, 1, BINS + 1)[1:], method="inverted_cdf"))
    places = np.where(is_known, np.searchsorted(edges, values), -1)
    points = []
    for place in range(len(edges)):
        changes_here = changes[places == place]
        low, middle, high = np.quantile(changes_here, (0.1, 0.5, 0.9)).tolist()
        points.append({"value": float(np.median(values[places == place])), "change": middle, "low": low, "high": high})
    return points
