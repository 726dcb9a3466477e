"""A backtest's figures as rows of gold.backtest_metrics."""

from datetime import date
from typing import Any

import pyarrow as pa

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import BACKTEST_METRICS
from shoplake.forecasting.inputs import Sales
from shoplake.lake.arrow import text_literal


def tabulate_figures(figures: dict[str, Any], sales: Sales, as_of: date) -> pa.Table:
    """Give a row for each model and metric that is a single number, sorted by both.

    Args:
        figures: what `comparison.tell_figures` gives.
    """
    rows = []
    for model, metrics in sorted(figures["models"].items()):
        for metric, value in sorted(metrics.items()):
            if value is None or isinstance(value, int | float):
                ratio, low, high = figures["ratio_to_wmixt"][model].get(metric, (None, None, None))
                rows.append({"data": sales.data, "data_version": sales.version, "as_of_date": as_of, "model": model,
                             "metric": metric, "value": value, "ratio": ratio, "ratio_low": low, "ratio_high": high})
    return pa.Table.from_pylist(rows, schema=arrow_schema(BACKTEST_METRICS))


def replaced_figures(figures: dict[str, Any], sales: Sales) -> str:
    """Give the SQL predicate of the rows that a backtest replaces: of the same data and models."""
    models = ", ".join(text_literal(model) for model in sorted(figures["models"]))
    return f"data = {text_literal(sales.data)} AND model IN ({models})"
