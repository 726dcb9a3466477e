"""Measure our ARIMA(1,1,1) beside statsmodels', series per CPU-second, and how near both forecast.

  python benchmarks/arima.py --data data.csv.gz --source online_retail     a sample of 200 series, some minutes
  python benchmarks/arima.py                                               the same of gold.daily_sales

Both fit each series from its first sale to 7 days before the end and forecast the 7 days that follow. Ours is given all
series of the referee, as it is used, and statsmodels a seeded sample of them; errors are of that sample, by both.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, EXIT_REFUSED
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import load_settings

if TYPE_CHECKING:
    from shoplake.forecasting.history import DemandHistory, FloatArray

SEED = 7
FLOOR = 10.0
# Ours may be so much worse.
RMSSE_LIMIT = 1.01


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code: 3 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--source", metavar="NAME", help="--data is a raw file of this format: online_retail, …")
    parser.add_argument("--series", type=int, default=200, metavar="N", help="how many statsmodels fits")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if flags.source and not flags.data:
        parser.error("--source needs --data: the raw file")
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Fit the same series with both, and compare."""
    import numpy as np

    from shoplake.forecasting.arima import forecast_arima
    from shoplake.forecasting.backtest import REFEREE
    from shoplake.forecasting.levels import WEEK

    history = read_history(flags)
    known = history.until(history.days - WEEK)
    rows = np.flatnonzero(REFEREE.of(known))
    chosen = np.random.default_rng(SEED).permutation(len(rows))[:flags.series]
    units, first_sale = known.units[rows].astype(np.float64), known.first_sale[rows]
    fit_one_by_one(units[chosen[:1]], first_sale[chosen[:1]])  # what is loaded once is nobody's time
    ours, our_seconds = measure(lambda: forecast_arima(units, first_sale))
    theirs, their_seconds = measure(lambda: fit_one_by_one(units[chosen], first_sale[chosen]))
    actual = history.units[rows[chosen], -WEEK:]
    our_rate, their_rate = len(rows) / our_seconds, len(chosen) / their_seconds
    errors = {name: mean_rmsse(known, rows[chosen], np.maximum(forecast, 0.0), actual)
              for name, forecast in (("ours", ours[chosen]), ("statsmodels", theirs))}
    result: dict[str, Any] = {
        "series": len(rows), "sample": len(chosen), "series_per_cpu_second": {
            "ours": round(our_rate, 1), "statsmodels": round(their_rate, 2)},
        "ratio": round(our_rate / their_rate, 1), "rmsse": {name: round(value, 4) for name, value in errors.items()},
        "rmsse_ratio": round(errors["ours"] / errors["statsmodels"], 4),
    }
    print_result(result, describe(result), flags.json)
    is_met = result["ratio"] >= FLOOR and result["rmsse_ratio"] <= RMSSE_LIMIT
    return EXIT_OK if is_met else EXIT_REFUSED


def read_history(flags: argparse.Namespace) -> "DemandHistory":
    """Read the sales as ml/backtest.py does."""
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.source_sales import read_source_sales

    settings = load_settings()
    sales = read_source_sales(flags.data, flags.source, settings) if flags.source else read_sales(
        flags.data, settings)
    return build_history(sales.rows, resolve_as_of(sales.rows, None))


def measure(work: Callable[[], "FloatArray"]) -> tuple["FloatArray", float]:
    """Give what the work returns, and its CPU-seconds."""
    started = time.process_time()
    done = work()
    return done, time.process_time() - started


def fit_one_by_one(units: "FloatArray", first_sale: Any) -> "FloatArray":
    """Let statsmodels fit each series with its defaults; one that it cannot fit is an error here."""
    import numpy as np
    from statsmodels.tsa.arima.model import ARIMA

    from shoplake.forecasting.levels import WEEK

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of start values, and of fits that did not converge
        return np.stack([ARIMA(series[start:], order=(1, 1, 1)).fit().forecast(WEEK)
                         for series, start in zip(units, first_sale, strict=True)])


def mean_rmsse(known: "DemandHistory", rows: Any, forecast: "FloatArray", actual: Any) -> float:
    """Give the root of the mean squared error over the mean squared step from day to day, averaged over series."""
    import numpy as np

    from shoplake.forecasting.metrics import lag1_scales

    squares = ((forecast - actual) ** 2).mean(axis=1)
    return float(np.sqrt(squares / lag1_scales(known)[rows]).mean())


def describe(result: dict[str, Any]) -> str:
    """Say in words what came out."""
    rates, errors = result["series_per_cpu_second"], result["rmsse"]
    return (f"series per CPU-second: ours {rates['ours']:,}, statsmodels {rates['statsmodels']:,}: "
            f"{result['ratio']} times (floor {FLOOR:g})\n"
            f"RMSSE of {result['sample']} series: ours {errors['ours']}, statsmodels {errors['statsmodels']}: "
            f"{result['rmsse_ratio']} of it (limit {RMSSE_LIMIT})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
