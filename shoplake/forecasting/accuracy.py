"""How near the forecasts came, day by day, as the days are over: the rows of gold.forecast_accuracy."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import DEMAND_PREDICTIONS, FORECAST_ACCURACY
from shoplake.errors import ForecastError
from shoplake.forecasting.drift import drift_scores, is_signal
from shoplake.forecasting.intervals import LEVELS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, read_table, scan_table, table_exists
from shoplake.lake.partitions import list_files

KEY = list(FORECAST_ACCURACY.key)
# Late events and forecasts made again change the newest days: so many are scored anew each time.
UNSETTLED_DAYS = 35
_READ = ("target_date", "horizon", "product_id", "model", "predicted_units", "is_fallback",
         *(f"{side}_{level}" for level in LEVELS for side in ("lower", "upper")))


def find_due_days(lake: Lake, scored: pd.DataFrame, as_of: date, first: date | None) -> list[date]:
    """Give the days with forecasts up to `as_of` that are not scored yet, or not settled, or not before `first`.

    Args:
        scored: rows of gold.forecast_accuracy.

    Raises:
        ForecastError: nothing was ever forecast.
    """
    if not table_exists(lake, DEMAND_PREDICTIONS):
        raise ForecastError(
            f"nothing to score: the table {DEMAND_PREDICTIONS.name} does not exist yet in {lake.root}. Make a forecast "
            "with: python ml/inference.py --horizon next_week")
    with delta_errors(lake):
        files = list_files(open_table(lake, DEMAND_PREDICTIONS), DEMAND_PREDICTIONS)
    known, unsettled = set(scored["target_date"]), as_of - timedelta(days=UNSETTLED_DAYS)
    over = {file.day for file in files if file.day is not None and file.day <= as_of}
    return sorted(day for day in over if day not in known or day > unsettled or (first is not None and day >= first))


def read_scored(lake: Lake) -> pd.DataFrame:
    """Read gold.forecast_accuracy, in the order of its key; without rows before the first run."""
    schema = arrow_schema(FORECAST_ACCURACY)
    rows = read_table(lake, FORECAST_ACCURACY) if table_exists(lake, FORECAST_ACCURACY) else schema.empty_table()
    return _in_order(rows.select(schema.names).to_pandas())


def read_predictions(lake: Lake, days: Collection[date]) -> pd.DataFrame:
    """Read what was forecast of some target days, whenever it was."""
    wanted = pc.field("target_date").isin(pa.array(sorted(days), pa.date32()))
    with delta_errors(lake):
        rows = scan_table(lake, DEMAND_PREDICTIONS)
        # A table that an older version made may have no limits.
        columns = [name for name in _READ if name in rows.schema.names]
        known: pd.DataFrame = rows.to_table(columns=columns, filter=wanted).to_pandas()
    return known.reindex(columns=_READ)


def score_days(predictions: pd.DataFrame, sales: pd.DataFrame) -> pd.DataFrame:
    """Compare forecasts with sales: one row per target_date, model and horizon, in the contract's columns but drift's.

    A product without a row sold 0 units. One that sold and was not forecast is an error of all that it sold.

    Args:
        predictions: of complete days, as `read_predictions` gives them.
        sales: rows of `inputs.Sales`.
    """
    recent = sales[sales["event_date"] >= pd.Timestamp(predictions["target_date"].min())]
    units = recent.assign(target_date=recent["event_date"].dt.date)[["target_date", "product_id", "units"]]
    rows = predictions.merge(units, on=["target_date", "product_id"], how="left").fillna({"units": 0})
    columns: dict[str, Any] = {
        "product_count": 1, "predicted_units": rows["predicted_units"], "forecast_sold": rows["units"],
        "absolute_error": (rows["predicted_units"] - rows["units"]).abs(), "sold_count": rows["units"] > 0,
        "fallback_count": rows["is_fallback"], "banded_count": rows[f"lower_{min(LEVELS)}"].notna(),
        **{f"inside_{level}": rows["units"].between(rows[f"lower_{level}"], rows[f"upper_{level}"])
           for level in LEVELS}}
    sums = rows[KEY].assign(**columns).groupby(KEY, as_index=False).sum()
    shop = units.assign(is_sold=units["units"] > 0).groupby("target_date")[["units", "is_sold"]].sum()
    shop = shop.reindex(sums["target_date"], fill_value=0)
    missed = shop["units"].to_numpy() - sums["forecast_sold"].to_numpy()
    actual = shop["units"].to_numpy()
    error = sums["absolute_error"] + missed
    banded = sums["banded_count"].where(sums["banded_count"] > 0)
    return sums[[*KEY, "product_count", "predicted_units"]].assign(
        actual_units=actual, absolute_error=error,
        wape=error / np.where(actual > 0, actual, np.nan),
        bias=(sums["predicted_units"] - actual) / np.where(actual > 0, actual, np.nan),
        missed_count=shop["is_sold"].to_numpy() - sums["sold_count"], missed_units=missed,
        fallback_count=sums["fallback_count"], banded_count=sums["banded_count"],
        **{f"coverage_{level}": sums[f"inside_{level}"] / banded for level in LEVELS})


def mark_drift(rows: pd.DataFrame) -> pd.DataFrame:
    """Set drift_score and is_drifting of all scored days: of each model the newest forecast of each day, in order."""
    marked = _in_order(rows).assign(drift_score=np.nan, is_drifting=False)
    newest = marked.drop_duplicates(["target_date", "model"])
    for _, series in newest.groupby("model"):
        scores = drift_scores(series["target_date"].tolist(), series["predicted_units"].to_numpy(np.float64),
                              series["actual_units"].to_numpy(np.float64))
        marked.loc[series.index, "drift_score"] = scores
        marked.loc[series.index, "is_drifting"] = is_signal(scores)
    return marked


def find_first_change(before: pd.DataFrame, after: pd.DataFrame) -> date | None:
    """Give the first day whose rows differ; None if none do."""
    old, new = ({tuple(row[name] for name in KEY): row for row in _to_arrow(rows).to_pylist()}
                for rows in (before, after))
    return min((key[0] for key in old.keys() | new.keys() if old.get(key) != new.get(key)), default=None)


def tabulate_accuracy(rows: pd.DataFrame, first: date) -> pa.Table:
    """Give the rows of the days from `first` on as the contract has them."""
    return _to_arrow(rows[rows["target_date"] >= first])


def find_newest(rows: pd.DataFrame, as_of: date, days: int) -> list[dict[str, Any]]:
    """Give the newest forecasts of the last so many days that were scored up to `as_of`, as rows of the contract."""
    newest = rows[rows["target_date"] <= as_of].drop_duplicates(["target_date", "model"])
    last = sorted(set(newest["target_date"]))[-days:]
    return list(_to_arrow(newest[newest["target_date"].isin(last)]).to_pylist())


def find_signals(newest: Sequence[Mapping[str, Any]], before: pd.DataFrame, as_of: date) -> list[dict[str, Any]]:
    """Give the signals of `as_of`, and those of days before it that were none yet: the key and drift_score of each.

    Late events or a missed run may find one days later.

    Args:
        newest: of `find_newest`.
        before: the table before these days were scored.
    """
    told = set(before.loc[before["is_drifting"], KEY].itertuples(index=False, name=None))
    return [{name: row[name] for name in (*KEY, "drift_score")} for row in newest if row["is_drifting"]
            and (row["target_date"] == as_of or tuple(row[name] for name in KEY) not in told)]


def replaced_accuracy(first: date) -> str:
    """Give the SQL predicate of the rows that those of `tabulate_accuracy` replace."""
    return f"target_date >= DATE '{first}'"


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(KEY).reset_index(drop=True)


def _to_arrow(rows: pd.DataFrame) -> pa.Table:
    schema = arrow_schema(FORECAST_ACCURACY)
    return pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(None)
