"""What forecasters said of the weeks after some held-out days: scored for people, and kept for the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed

from shoplake.errors import ForecastError
from shoplake.forecasting.backtest import collect_actuals, collect_forecasts, ready
from shoplake.forecasting.forecasters import Forecaster
from shoplake.forecasting.history import DemandHistory, FloatArray
from shoplake.forecasting.metrics import Figure, Scored, item_rmsse, score
from shoplake.forecasting.training import LEARNED_FROM

_FACTS = ("product_id", "cutoff", "units", "week_scale", "share")


@dataclass(frozen=True)
class WeekErrors:
    """How far forecasts of weeks were off, item by item: what one forecaster is compared with another by.

    Attributes:
        product_ids: (items,).
        cutoffs: last days known, as YYYY-MM-DD, (origins,).
        units: what was sold in the 7 days after, (items, origins); NaN where an item is not scored.
        week_scale: the mean squared difference of the item's neighbouring weeks, (items, origins).
        share: the item's part of the revenue, (items, origins); 0 where it is not scored.
        forecasts: name -> units of the week, (items, origins).
    """

    product_ids: npt.NDArray[np.str_]
    cutoffs: npt.NDArray[np.str_]
    units: FloatArray
    week_scale: FloatArray
    share: FloatArray
    forecasts: Mapping[str, FloatArray]

    def figure(self, name: str) -> Figure:
        """Give a forecaster's week WRMSSE, item by item.

        Raises:
            ForecastError: it has no figure for an item that is scored, which would count as no error.
        """
        squares = (self.forecasts[name] - self.units) ** 2 / self.week_scale
        if not np.isfinite(squares[~np.isnan(self.units)]).all():
            raise ForecastError(f"{name} has no forecast for an item that is scored")
        weight = self.share.sum(axis=1)
        return Figure(weight * item_rmsse(squares), weight)

    def has_same_weeks(self, other: "WeekErrors") -> bool:
        """Tell whether both are about the same items and weeks, with the same units, scales and shares."""
        return all(np.array_equal(getattr(self, name), getattr(other, name), equal_nan=name == "units")
                   for name in ("product_ids", "cutoffs", "units", "week_scale", "share"))


@dataclass(frozen=True)
class Evaluation:
    """Forecasts of several forecasters from the same cutoffs, and what followed."""

    history: DemandHistory
    cutoffs: Sequence[int]
    scored: Scored
    forecasts: Mapping[str, FloatArray]

    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Give horizon -> forecaster -> wape, rmsse, bias, wrmsse."""
        metrics: dict[str, dict[str, dict[str, float | None]]] = {"next_day": {}, "next_week": {}}
        for name, units in self.forecasts.items():
            figures = score(self.scored, units)
            for horizon, prefix in (("next_day", "next_day"), ("next_week", "week")):
                metrics[horizon][name] = {
                    metric: figures[f"{prefix}_{metric}"].value for metric in ("wape", "rmsse", "bias", "wrmsse")}
        return metrics

    def week_errors(self) -> WeekErrors:
        """Give what the gate needs of it."""
        days = [str(self.history.first_day + timedelta(days=days - 1)) for days in self.cutoffs]
        return WeekErrors(
            np.asarray(self.history.product_ids, dtype=np.str_), np.asarray(days, dtype=np.str_),
            self.scored.actual.sum(axis=2), self.scored.week_scale, self.scored.share,
            {name: units.sum(axis=2) for name, units in self.forecasts.items()})


def evaluate_forecasters(
    history: DemandHistory, forecasters: Mapping[str, Forecaster], cutoffs: Sequence[int], processes: int = 1,
) -> Evaluation:
    """Let forecasters that are ready forecast the 7 days after each cutoff.

    Items count from two weeks after their first sale on, with three days of sale.

    Args:
        processes: of this machine, each of which takes some of the cutoffs.
    """
    parts = np.array_split(np.asarray(cutoffs), min(processes, len(cutoffs)))
    found = Parallel(n_jobs=len(parts))(
        delayed(_forecast_from)(history, forecasters, part.tolist()) for part in parts)
    return Evaluation(
        history, cutoffs, collect_actuals(history, cutoffs, LEARNED_FROM),
        {name: np.concatenate([units[name] for units in found], axis=1) for name in forecasters})


def _forecast_from(
    history: DemandHistory, forecasters: Mapping[str, Forecaster], cutoffs: Sequence[int],
) -> dict[str, FloatArray]:
    return {name: collect_forecasts(history, cutoffs, ready(one)).units for name, one in forecasters.items()}


def write_week_errors(errors: WeekErrors, file: Path) -> None:
    """Write them as Parquet: a row for each scored item and cutoff, a column of units for each forecaster."""
    items, origins = np.nonzero(~np.isnan(errors.units))
    columns: dict[str, Any] = {"product_id": errors.product_ids[items], "cutoff": errors.cutoffs[origins]}
    for name in ("units", "week_scale", "share"):
        columns[name] = getattr(errors, name)[items, origins]
    columns |= {name: units[items, origins] for name, units in errors.forecasts.items()}
    pq.write_table(pa.table(columns), file, compression="zstd")


def read_week_errors(file: Path) -> WeekErrors:
    """Read what `write_week_errors` wrote.

    Raises:
        ForecastError: the file is none of these.
    """
    try:
        table = pq.read_table(file)
        facts = {name: table[name].to_numpy() for name in _FACTS}
        forecasts = {name: table[name].to_numpy() for name in table.column_names if name not in _FACTS}
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ForecastError(f"{file} holds no errors of forecasts ({error})") from error
    product_ids, items = np.unique(facts["product_id"].astype(np.str_), return_inverse=True)
    cutoffs, origins = np.unique(facts["cutoff"].astype(np.str_), return_inverse=True)

    def spread(values: FloatArray, missing: float) -> FloatArray:
        wide = np.full((len(product_ids), len(cutoffs)), missing)
        wide[items, origins] = values
        return wide

    return WeekErrors(
        product_ids, cutoffs, spread(facts["units"], np.nan), spread(facts["week_scale"], 1.0),
        spread(facts["share"], 0.0), {name: spread(values, np.nan) for name, values in forecasts.items()})
