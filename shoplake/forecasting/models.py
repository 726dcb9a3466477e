"""Learned forecasters: one model for all products, which corrects the seasonal level of the week to come.

The correction is one figure for the week; its days share it by the shop's profile. Measured against a row for each
day: a sixth of the time, and better for the week and for the next day (docs/adr/0020-what-the-models-learn.md).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from shoplake.forecasting.features import (
    LEAST_LEVEL,
    FeatureArray,
    build_features,
    item_names,
)
from shoplake.forecasting.forecasters import Forecast
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.names import LINEAR, XGBOOST
from shoplake.sections import FeatureSettings, MlSettings

# One thread: the same model on every machine, and small trees gain nothing from a second (measured beside a busy
# Spark: 12 s against 70 s, for threads that wait for one another spin).
THREADS = 1


@dataclass(frozen=True)
class TrainingRows:
    """What a regressor learns from; a row is a product and a cutoff.

    Attributes:
        features: (rows, item features).
        base: the seasonal level of the week after the cutoff, (rows,), above 0.
        units: what was sold in that week, outliers cut off, without what moved the whole shop, (rows,).
        weights: what an error counts, (rows,), 1 in the mean.
    """

    features: FeatureArray
    base: FloatArray
    units: FloatArray
    weights: FloatArray


class Regressor(Protocol):
    """The learned part of a model: fitted on rows, kept as the bytes of its library's own format."""

    name: ClassVar[str]
    file_suffix: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn units from features."""

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give what determines the fit apart from its rows."""

    def predict(self, features: FeatureArray, base: FloatArray) -> FloatArray:
        """Predict units for each row of features."""

    def to_bytes(self) -> bytes:
        """Write the fitted model; the same fit gives the same bytes."""


class LinearRegressor:
    """Ridge regression of the ratio to the seasonal level on standardised features."""

    name: ClassVar[str] = LINEAR
    file_suffix: ClassVar[str] = ".json"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    alpha = 100.0
    # No feature counts for more than so many deviations: one odd item would drag the line.
    limit = 5.0

    def __init__(self, terms: dict[str, Any]) -> None:
        """Take the terms by name: features, means, deviations, coefficients, intercept."""
        self._terms = terms

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn by weighted least squares; a missing feature stands at its mean."""
        from sklearn.linear_model import Ridge

        known = rows.features.astype(np.float64)
        is_known = ~np.isnan(known)
        counts = np.maximum(is_known.sum(axis=0), 1)
        means = np.nansum(known, axis=0) / counts
        deviations = np.sqrt((np.where(is_known, known - means, 0.0) ** 2).sum(axis=0) / counts)
        deviations[deviations == 0] = 1.0
        # An error of the ratio is one of units times the base.
        ridge = Ridge(alpha=cls.alpha).fit(
            cls._standardise(known, means, deviations), rows.units / rows.base, sample_weight=rows.weights * rows.base)
        return cls({
            "features": item_names(settings.features), "means": means.tolist(), "deviations": deviations.tolist(),
            "coefficients": ridge.coef_.tolist(), "intercept": float(ridge.intercept_),
        })

    @classmethod
    def _standardise(cls, known: FloatArray, means: FloatArray, deviations: FloatArray) -> FloatArray:
        return np.clip(np.nan_to_num((known - means) / deviations), -cls.limit, cls.limit)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read the JSON terms."""
        return cls(json.loads(content))

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give the penalty and the features' limit."""
        return {"alpha": LinearRegressor.alpha, "limit": LinearRegressor.limit}

    def predict(self, features: FeatureArray, base: FloatArray) -> FloatArray:
        """Add up the terms and apply the ratio, which is never below 0."""
        terms = self._terms
        rows = self._standardise(
            features.astype(np.float64), np.asarray(terms["means"]), np.asarray(terms["deviations"]))
        ratio = rows @ np.asarray(terms["coefficients"]) + terms["intercept"]
        return np.asarray(np.maximum(ratio, 0.0) * base, dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Write the terms as JSON."""
        return json.dumps(self._terms, indent=1).encode()


class XGBoostRegressor:
    """Small boosted trees with a Tweedie loss; the seasonal level is what they start from."""

    name: ClassVar[str] = XGBOOST
    file_suffix: ClassVar[str] = ".ubj"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "xgboost")

    def __init__(self, booster: Any) -> None:
        """Take an xgboost.Booster."""
        self._booster = booster

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn the corrections; the seed and the number of threads are fixed, so a repeated fit is the same."""
        import xgboost

        matrix = xgboost.QuantileDMatrix(
            rows.features, rows.units, weight=rows.weights, base_margin=_log_base(rows.base), nthread=THREADS,
            feature_names=list(item_names(settings.features)),
        )
        parameters = cls.parameters(settings)
        rounds = parameters.pop("n_estimators")
        return cls(xgboost.train(parameters, matrix, num_boost_round=rounds))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read XGBoost's UBJSON."""
        import xgboost

        booster = xgboost.Booster({"nthread": THREADS})
        booster.load_model(bytearray(content))
        return cls(booster)

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give XGBoost's parameters."""
        return {
            **settings.xgboost.model_dump(), "objective": "reg:tweedie", "tree_method": "hist", "nthread": THREADS,
        }

    def predict(self, features: FeatureArray, base: FloatArray) -> FloatArray:
        """Apply the corrections to the seasonal level; a level of 0 stays 0."""
        units = self._booster.inplace_predict(features, base_margin=_log_base(base))
        return np.where(base > 0, units.astype(np.float64), 0.0)

    def to_bytes(self) -> bytes:
        """Write XGBoost's UBJSON."""
        return bytes(self._booster.save_raw("ubj"))


def _log_base(base: FloatArray) -> FloatArray:
    return np.log(np.maximum(base, LEAST_LEVEL))


REGRESSORS: tuple[type[Regressor], ...] = (LinearRegressor, XGBoostRegressor)


@dataclass(frozen=True)
class LearnedModel:
    """A fitted regressor with its features: one model for all items."""

    regressor: Regressor
    spec: FeatureSettings
    version: str

    @property
    def name(self) -> str:
        """The regressor's name."""
        return self.regressor.name

    def forecast(self, history: DemandHistory) -> Forecast:
        """Apply the regressor to the features at the cutoff; a day on which the shop never trades stays 0."""
        features = build_features(history, self.spec)
        base = features.base.sum(axis=1)
        units = self.regressor.predict(features.items, base)
        ratio = np.divide(units, base, out=np.zeros_like(base), where=base > 0)
        return Forecast(features.base * ratio[:, np.newaxis])


def fit_model(regressor: type[Regressor], rows: TrainingRows, settings: MlSettings) -> LearnedModel:
    """Fit one regressor; the version is the SHA-256 of its bytes."""
    fitted = regressor.fit(rows, settings)
    return LearnedModel(fitted, settings.features, hashlib.sha256(fitted.to_bytes()).hexdigest())
