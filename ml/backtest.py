"""Compare every forecaster by rolling origins: 8 weeks of test, 4 of validation before them, each seeing its past only.

Learned models and bands are fitted anew at every weekly origin; the ensemble's weights are chosen on the validation
origins. Figures are beside those of wMixT, the strongest simple average, with 95% intervals of a paired bootstrap over
items. They replace those of the same data in gold.backtest_metrics; a page with plots says the same to people.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.forecasting.names import (
    BASELINE_MODELS,
    ENSEMBLE,
    LEARNED_MODELS,
    LIGHTGBM,
    REFEREE_MODELS,
    SERIES_MODELS,
    WMIXT,
)
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shoplake.forecasting.backtest import Method
    from shoplake.forecasting.comparison import Backtest
    from shoplake.forecasting.inputs import Sales
    from shoplake.forecasting.series_models import Spread

SHOWN = ("week_wrmsse", "week_wape", "week_bias", "day_wrmsse", "next_day_wrmsse", "coverage_80", "cpu_seconds")

log = logging.getLogger("shoplake.ml.backtest")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="backtest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--source", metavar="NAME", help="--data is a raw file of this format: online_retail, …")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--promotions", type=Path, metavar="FILE",
                        help="CSV of past and planned promotions (default: ml.promotions_file)")
    parser.add_argument("--models", nargs="+", choices=REFEREE_MODELS, default=[*BASELINE_MODELS, *LEARNED_MODELS],
                        metavar="NAME",
                        help=f"of {', '.join(REFEREE_MODELS)}; by default all but "
                             f"{', '.join((*SERIES_MODELS, LIGHTGBM))}")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures here too")
    parser.add_argument("--page", type=Path, metavar="FILE.html",
                        help="the page with plots (default: backtest/<name of the data>.html in the data folder)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if flags.source and not flags.data:
        parser.error("--source needs --data: the raw file")
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.batch.forecast_groups import open_spread
    from shoplake.contract.tables import BACKTEST_METRICS
    from shoplake.forecasting.backtest import plan_origins
    from shoplake.forecasting.comparison import add_bands, run_backtest, tell_figures
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import resolve_as_of
    from shoplake.forecasting.metric_rows import replaced_figures, tabulate_figures
    from shoplake.forecasting.promotions import read_promotions
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import replace_rows
    from shoplake.lake.locks import hold_lock

    lake = locate_lake(settings)
    sales = _read(settings, flags)
    promotions = read_promotions(flags.promotions or settings.promotions_path)
    history = build_history(
        sales.rows, resolve_as_of(sales.rows, flags.as_of), promotions, settings.ml.closed_days)
    origins = plan_origins(history)
    wanted = [WMIXT, *(name for name in flags.models if name != WMIXT)]
    members = tuple(name for name in wanted if name in (WMIXT, *LEARNED_MODELS))
    with open_spread(settings, wanted, _start_spark) as spread:
        backtest = run_backtest(history, origins, _methods(settings, wanted, spread), members)
    backtest = add_bands(backtest, (*members, ENSEMBLE), settings.ml)
    figures = tell_figures(backtest)
    with hold_lock(lake, BACKTEST_METRICS.name, settings.lake.lock_timeout) as lock:
        replace_rows(lake, BACKTEST_METRICS, tabulate_figures(figures, sales, history.cutoff),
                     replaced_figures(figures, sales), lock)
    result = {"data": sales.data, "data_version": sales.version, "as_of_date": history.cutoff, **figures}
    result["page"] = str(_write_page(flags.page or settings.data_path / "backtest", result, backtest))
    if flags.out:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text(json.dumps(result, indent=1, default=str))
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _write_page(place: Path, result: dict[str, Any], backtest: "Backtest") -> Path:
    from shoplake.dashboards.backtest_pages import build_pages, describe_origin
    from shoplake.dashboards.document import name_document, save_document, write_document
    from shoplake.forecasting.evidence import collect_evidence

    file = place if place.suffix else place / name_document(result["data"])
    pages = build_pages(result, collect_evidence(backtest))
    save_document(file, write_document(f"Backtest of {result['data']}", describe_origin(result), pages))
    return file


def _read(settings: Settings, flags: argparse.Namespace) -> "Sales":
    if flags.source:
        from shoplake.forecasting.source_sales import read_source_sales

        return read_source_sales(flags.data, flags.source, settings)
    from shoplake.forecasting.inputs import read_sales

    return read_sales(flags.data, settings)


def _start_spark(settings: Settings) -> "SparkSession":
    from pyspark.sql import SparkSession

    return SparkSession.builder.appName(f"{settings.spark.app_name}-forecasts").getOrCreate()


def _methods(settings: Settings, names: list[str], spread: "Spread") -> "dict[str, Method]":
    from shoplake.forecasting.backtest import ready
    from shoplake.forecasting.boosted_peer import LightgbmForecaster
    from shoplake.forecasting.comparison import learned_methods
    from shoplake.forecasting.series_models import find_untrained

    learned: dict[str, Method] = {**learned_methods(settings.ml), LIGHTGBM: LightgbmForecaster.fit}
    return {name: learned[name] if name in learned else ready(find_untrained(name, spread)) for name in names}


def _describe(result: dict[str, Any]) -> str:
    lines = [
        f"{result['items']:,} items, {result['test_origins']} weeks; the next day from {result['daily_origins']} days. "
        "Lower is better, bias near 0.", "",
        f"{'model':<20}" + "".join(f"{name:>17}" for name in SHOWN),
    ]
    for name, figures in result["models"].items():
        lines.append(f"{name:<20}" + "".join(
            f"{'n/a' if figures.get(metric) is None else format(figures[metric], '.3f'):>17}" for metric in SHOWN))
    lines += ["", f"Against {WMIXT}, with the limits of 95%:"]
    for name, ratios in result["ratio_to_wmixt"].items():
        lines.append(f"{name:<20}" + "  ".join(
            f"{metric} {value:.3f} ({low:.3f} to {high:.3f})" for metric, (value, low, high) in ratios.items()
            if value is not None))
    weights = ", ".join(f"{weight:g} {name}" for name, weight in result["ensemble_weights"].items() if weight)
    lines += ["", f"The ensemble, as the validation weeks chose it: {weights}"]
    lines += [f"All figures of {result['data']} up to {result['as_of_date']}: gold.backtest_metrics",
              f"The same with plots, for a browser: {result['page']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
