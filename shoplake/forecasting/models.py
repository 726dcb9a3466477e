"""Forecasters behind one small interface: a history goes in, units for each of the next 7 days come out."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from shoplake.forecasting.features import (
    ALL_HORIZONS,
    FeatureArray,
    build_features,
    feature_names,
    mean_by_category,
    rolling_mean,
    same_weekday_units,
)
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.names import LINEAR, MOVING_AVERAGE, SEASONAL_NAIVE, XGBOOST
from shoplake.settings import FeatureSettings, MlSettings

MOVING_AVERAGE_DAYS = 28
# Half of a learned forecast is the statistical one it starts from: on Online Retail that took the models' RMSSE
# from up to 5% above the moving average's to within about 1% of it, and kept most of the gain in WAPE.
STATISTICAL_SHARE = 0.5
# The log of a level of zero has to be something; a hundredth of a unit a day is as good as none.
LEAST_LEVEL = 0.01
# One thread: the same model on every machine, and small trees gain nothing from a second (measured beside a busy
# Spark: 12 s against 70 s, for threads that wait for one another spin).
THREADS = 1


class Forecaster(Protocol):
    """Anything that forecasts demand; `version` identifies what exactly made a forecast."""

    @property
    def name(self) -> str:
        """The name in gold.demand_predictions."""

    @property
    def version(self) -> str:
        """SHA-256 of the artifact, or of the definition where there is nothing to train."""

    def forecast(self, history: DemandHistory) -> FloatArray:
        """Forecast units of each product for the 7 days after the history's cutoff, shape (products, 7)."""


@dataclass(frozen=True)
class Forecast:
    """Units, (products, 7), at least 0, and for which products the category's figure stands in."""

    units: FloatArray
    is_fallback: npt.NDArray[np.bool_]


def forecast_items(forecaster: Forecaster, history: DemandHistory) -> Forecast:
    """Forecast every product of the history.

    A product with a series of fewer than two days (or never sold) gets the mean units per day of its category's
    products over the last 28 days, marked as a fallback, whatever the forecaster.
    """
    units = np.maximum(forecaster.forecast(history), 0.0)
    is_fallback = ~history.has_series
    category_means = mean_by_category(history, rolling_mean(history, MOVING_AVERAGE_DAYS))
    return Forecast(np.where(is_fallback[:, np.newaxis], category_means[:, np.newaxis], units), is_fallback)


def _definition_hash(definition: str) -> str:
    return hashlib.sha256(definition.encode()).hexdigest()


class SeasonalNaive:
    """Baseline: each day sells what the same weekday sold a week before."""

    name = SEASONAL_NAIVE
    version = _definition_hash("seasonal_naive: units of target - 7 days")

    def forecast(self, history: DemandHistory) -> FloatArray:
        """Repeat the last week; 0 before an item's first sale."""
        return np.nan_to_num(np.stack([same_weekday_units(history, horizon, 1) for horizon in ALL_HORIZONS], axis=1))


class MovingAverage:
    """Baseline: each day sells the mean of the last 28 calendar days (since the first sale, if that is later)."""

    name = MOVING_AVERAGE
    version = _definition_hash(f"moving_average: mean of {MOVING_AVERAGE_DAYS} calendar days")

    def forecast(self, history: DemandHistory) -> FloatArray:
        """Repeat the mean for all days."""
        return np.repeat(rolling_mean(history, MOVING_AVERAGE_DAYS)[:, np.newaxis], len(ALL_HORIZONS), axis=1)


BASELINES: tuple[Forecaster, ...] = (SeasonalNaive(), MovingAverage())


@dataclass(frozen=True)
class TrainingRows:
    """What a regressor learns from: features (rows, features) and the units sold, (rows,)."""

    features: FeatureArray
    units: FloatArray


class Regressor(Protocol):
    """The learned part of a model: fitted on rows, kept as the bytes of its library's own format."""

    name: ClassVar[str]
    file_suffix: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn units from features."""

    @classmethod
    def from_bytes(cls, content: bytes, spec: FeatureSettings) -> Self:
        """Read what `to_bytes` wrote."""

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give what determines the fit apart from its rows."""

    def predict(self, features: FeatureArray) -> FloatArray:
        """Predict units for each row of features."""

    def to_bytes(self) -> bytes:
        """Write the fitted model; the same fit gives the same bytes."""


def _column(features: FeatureArray, name: str, spec: FeatureSettings) -> FloatArray:
    return features[:, feature_names(spec).index(name)].astype(np.float64)


def clip_outliers(rows: TrainingRows, spec: FeatureSettings) -> FloatArray:
    """Cap each row's units at 5 times the item's mean per active day up to its cutoff, and never below 24.

    One order of 74,215 units would otherwise teach the model more than a thousand ordinary days.
    """
    return np.minimum(rows.units, np.maximum(5 * _column(rows.features, "units_per_active_day", spec), 24))


class LinearRegressor:
    """Ridge regression on standardised features; rows of large items count less, for their errors are larger."""

    name: ClassVar[str] = LINEAR
    file_suffix: ClassVar[str] = ".json"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    # A straight line through the year would leap at every New Year.
    unused_features = ("target_month", "target_day_of_year")
    alpha = 1.0
    least_level = 0.05

    def __init__(self, terms: dict[str, Any], spec: FeatureSettings) -> None:
        """Take the terms by name: features, means, deviations, coefficients, intercept."""
        self._terms = terms
        names = feature_names(spec)
        self._columns = [names.index(name) for name in terms["features"]]

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn by weighted least squares, weight 1 / level; a missing feature stands at its mean."""
        from sklearn.linear_model import Ridge

        names = [name for name in feature_names(settings.features) if name not in cls.unused_features]
        all_names = feature_names(settings.features)
        known = rows.features[:, [all_names.index(name) for name in names]].astype(np.float64)
        is_known = ~np.isnan(known)
        counts = np.maximum(is_known.sum(axis=0), 1)
        means = np.nansum(known, axis=0) / counts
        centred = np.where(is_known, known - means, 0.0)
        deviations = np.sqrt((centred**2).sum(axis=0) / counts)
        deviations[deviations == 0] = 1.0
        weights = 1 / np.maximum(_column(rows.features, "level", settings.features), cls.least_level)
        ridge = Ridge(alpha=cls.alpha).fit(
            centred / deviations, clip_outliers(rows, settings.features), sample_weight=weights,
        )
        return cls({
            "features": names, "means": means.tolist(), "deviations": deviations.tolist(),
            "coefficients": ridge.coef_.tolist(), "intercept": float(ridge.intercept_),
        }, settings.features)

    @classmethod
    def from_bytes(cls, content: bytes, spec: FeatureSettings) -> Self:
        """Read the JSON terms."""
        return cls(json.loads(content), spec)

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give the penalty and the weights' floor."""
        return {"alpha": LinearRegressor.alpha, "least_level": LinearRegressor.least_level}

    def predict(self, features: FeatureArray) -> FloatArray:
        """Add up the terms."""
        centred = np.nan_to_num(features[:, self._columns].astype(np.float64) - np.asarray(self._terms["means"]))
        slopes = np.asarray(self._terms["coefficients"]) / np.asarray(self._terms["deviations"])
        return np.asarray(centred @ slopes + self._terms["intercept"], dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Write the terms as JSON."""
        return json.dumps(self._terms, indent=1).encode()


class XGBoostRegressor:
    """Small boosted trees with a Tweedie loss that correct the seasonal level, item by item and day by day."""

    name: ClassVar[str] = XGBOOST
    file_suffix: ClassVar[str] = ".ubj"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "xgboost")
    tweedie_variance_power = 1.5

    def __init__(self, booster: Any, spec: FeatureSettings) -> None:
        """Take an xgboost.Booster."""
        self._booster = booster
        self._spec = spec

    @classmethod
    def fit(cls, rows: TrainingRows, settings: MlSettings) -> Self:
        """Learn the corrections; the seed and the number of threads are fixed, so a repeated fit is the same."""
        import xgboost

        matrix = xgboost.QuantileDMatrix(
            rows.features, clip_outliers(rows, settings.features), nthread=THREADS,
            base_margin=cls._margin(rows.features, settings.features),
            feature_names=list(feature_names(settings.features)),
        )
        parameters = cls.parameters(settings)
        rounds = parameters.pop("n_estimators")
        return cls(xgboost.train(parameters, matrix, num_boost_round=rounds), settings.features)

    @classmethod
    def from_bytes(cls, content: bytes, spec: FeatureSettings) -> Self:
        """Read XGBoost's UBJSON."""
        import xgboost

        booster = xgboost.Booster({"nthread": THREADS})
        booster.load_model(bytearray(content))
        return cls(booster, spec)

    @staticmethod
    def parameters(settings: MlSettings) -> dict[str, Any]:
        """Give XGBoost's parameters."""
        return {
            **settings.xgboost.model_dump(), "objective": "reg:tweedie", "tree_method": "hist", "nthread": THREADS,
            "tweedie_variance_power": XGBoostRegressor.tweedie_variance_power,
        }

    @staticmethod
    def _margin(features: FeatureArray, spec: FeatureSettings) -> FloatArray:
        return np.log(np.maximum(_column(features, "seasonal_level", spec), LEAST_LEVEL))

    def predict(self, features: FeatureArray) -> FloatArray:
        """Apply the corrections to the seasonal level."""
        units = self._booster.inplace_predict(features, base_margin=self._margin(features, self._spec))
        return np.asarray(units, dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Write XGBoost's UBJSON."""
        return bytes(self._booster.save_raw("ubj"))


REGRESSORS: tuple[type[Regressor], ...] = (LinearRegressor, XGBoostRegressor)


@dataclass(frozen=True)
class LearnedModel:
    """A fitted regressor with its features: one model for all items and all 7 horizons."""

    regressor: Regressor
    spec: FeatureSettings
    version: str

    @property
    def name(self) -> str:
        """The regressor's name."""
        return self.regressor.name

    def forecast(self, history: DemandHistory) -> FloatArray:
        """Forecast as the mean of the regressor's figure (at least 0) and the seasonal level."""
        features = build_features(history, self.spec)
        rows = features.reshape(-1, features.shape[2])
        learned = np.maximum(self.regressor.predict(rows), 0.0)
        units = STATISTICAL_SHARE * _column(rows, "seasonal_level", self.spec) + (1 - STATISTICAL_SHARE) * learned
        return np.asarray(units.reshape(features.shape[:2]), dtype=np.float64)


def fit_model(regressor: type[Regressor], rows: TrainingRows, settings: MlSettings) -> LearnedModel:
    """Fit one regressor; the version is the SHA-256 of its bytes."""
    fitted = regressor.fit(rows, settings)
    return LearnedModel(fitted, settings.features, hashlib.sha256(fitted.to_bytes()).hexdigest())
