"""Forecast the units of every product for the next day or the next 7 days, into gold.demand_predictions.

The totals of the next day and the week, of products, categories and the shop, go into gold.demand_totals. Running it
again for the same day, model and horizon replaces the same rows.
"""

import argparse
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.forecasting.names import (
    ACTIVE_DAY_AVERAGE,
    BANDS,
    HORIZONS,
    LEARNED_MODELS,
    MODEL_NAMES,
    RANKINGS,
    XGBOOST,
)
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa
    from pyspark.sql import SparkSession

    from shoplake.forecasting.forecasters import Forecaster
    from shoplake.forecasting.intervals import BandModel
    from shoplake.forecasting.predictions import Prediction
    from shoplake.forecasting.series_models import Spread
    from shoplake.forecasting.totals import RelativeBands
    from shoplake.lake.addresses import Lake
    from shoplake.sections import FeatureSettings

FORMATS = ("csv", "parquet")
# Products that are told without --top.
SHOWN = 5

log = logging.getLogger("shoplake.ml.inference")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="inference.py", description=(__doc__ or "").strip())
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--promotions", type=Path, metavar="FILE",
                        help="CSV of past and planned promotions (default: ml.promotions_file)")
    parser.add_argument("--model", choices=MODEL_NAMES, default=XGBOOST, help=f"default: {XGBOOST}")
    ahead = parser.add_mutually_exclusive_group()
    ahead.add_argument("--horizon", choices=HORIZONS, default="next_day", help="default: next_day")
    ahead.add_argument("--horizon-days", type=int, choices=range(1, 8), metavar="1..7", help="so many days instead")
    parser.add_argument("--top", type=int, metavar="N", help="show, and export, only the first N products")
    parser.add_argument("--by", choices=RANKINGS, default=RANKINGS[0],
                        help="what makes a product the first: forecast units (default), or days with a sale so far")
    parser.add_argument("--save-bq", action="store_true", help="publish to the warehouse as well")
    parser.add_argument("--export", nargs="+", metavar=("csv|parquet", "PATH"),
                        help="write the predictions to a file too (default: in the data folder)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if flags.export and (flags.export[0] not in FORMATS or len(flags.export) > 2):
        parser.error(f"argument --export: {flags.export}; allowed: {' or '.join(FORMATS)}, then a path if any")
    if flags.top is not None and flags.top < 1:
        parser.error(f"argument --top: {flags.top} is no number above 0")
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.batch.forecast_groups import open_spread
    from shoplake.warehouse import ADMIN, open_warehouse

    # Opened first: without an account nothing is forecast.
    with open_warehouse(settings, ADMIN) if flags.save_bq else nullcontext() as warehouse:
        with open_spread(settings, [flags.model], _start_spark) as spread:
            result = _forecast(settings, flags, spread)
        if warehouse is not None:
            from shoplake.contract.tables import DEMAND_PREDICTIONS, DEMAND_TOTALS

            published = warehouse.publish([DEMAND_PREDICTIONS, DEMAND_TOTALS])
            result["published"], result["published_totals"] = (one.message for one in published)
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _start_spark(settings: Settings) -> "SparkSession":
    from pyspark.sql import SparkSession

    return SparkSession.builder.appName(f"{settings.spark.app_name}-forecasts").getOrCreate()


def _forecast(settings: Settings, flags: argparse.Namespace, spread: "Spread") -> dict[str, Any]:
    from shoplake.contract.tables import DEMAND_PREDICTIONS
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.predictions import predict_demand, rank_products
    from shoplake.forecasting.promotions import read_promotions
    from shoplake.forecasting.totals import find_shop_totals, measure_past_totals
    from shoplake.lake.addresses import locate_lake

    lake = locate_lake(settings)
    sales = read_sales(flags.data, settings)
    promotions = read_promotions(flags.promotions or settings.promotions_path)
    history = build_history(
        sales.rows, resolve_as_of(sales.rows, flags.as_of), promotions, settings.ml.closed_days)
    forecaster, served, bands = _find_forecaster(settings, flags, sales.data, history.cutoff, spread)
    log.info("forecasting %d products after %s with %s (%s)", len(history.product_ids), history.cutoff, flags.model,
             served or "nothing to train")
    days = flags.horizon_days or HORIZONS[flags.horizon]
    prediction = predict_demand(forecaster, history, bands)
    rows, totals = _save(settings, lake, prediction, measure_past_totals(forecaster, history), days)
    targets = sorted(set(rows["target_date"].to_pylist()))
    top = rank_products(history, rows, flags.top or SHOWN, flags.by)
    return {
        "as_of_date": history.cutoff, "model": forecaster.name, "model_version": forecaster.version, "served": served,
        "horizon_days": days, "first_target_date": targets[0], "last_target_date": targets[-1],
        "rows": rows.num_rows, "products": len(history.product_ids),
        "fallback_products": len({row["product_id"] for row in rows.to_pylist() if row["is_fallback"]}),
        "predicted_units": round(sum(rows["predicted_units"].to_pylist()), 3), "table": DEMAND_PREDICTIONS.name,
        "totals": find_shop_totals(totals),
        "top": top, "export": _export(rows, top, flags, settings, str(history.cutoff)) if flags.export else None,
        "published": None, "published_totals": None,
    }


def _save(
    settings: Settings, lake: "Lake", prediction: "Prediction", past: "RelativeBands", days: int,
) -> "tuple[pa.Table, pa.Table]":
    from shoplake.contract.tables import DEMAND_PREDICTIONS, DEMAND_TOTALS
    from shoplake.forecasting.predictions import replaced_days, replaced_totals, tabulate_days, week_stands
    from shoplake.forecasting.totals import SPANS, tabulate_totals
    from shoplake.lake.arrow import replace_rows
    from shoplake.lake.locks import hold_lock

    rows, timeout = tabulate_days(prediction, days), settings.lake.lock_timeout
    # Both locks at once: between them another run would leave totals that are no sums of what stands.
    with hold_lock(lake, DEMAND_PREDICTIONS.name, timeout) as lock, hold_lock(lake, DEMAND_TOTALS.name, timeout) as own:
        replace_rows(lake, DEMAND_PREDICTIONS, rows, replaced_days(prediction, days), lock)
        totals = tabulate_totals(prediction, past, SPANS if week_stands(lake, prediction) else SPANS[:1])
        replace_rows(lake, DEMAND_TOTALS, totals, replaced_totals(prediction), own)
    return rows, totals


def _find_forecaster(
    settings: Settings, flags: argparse.Namespace, data: str, as_of: "date", spread: "Spread",
) -> "tuple[Forecaster, str | None, BandModel | None]":
    """Give the champion with its bands if it knows no later day, else the newest that do not; and which of them it is.

    Of either only what was trained on the same data: `data` is gold, or a file's name. A champion whose features this
    code cannot compute steps back, so that an update of the code stops no forecast.
    """
    from shoplake.forecasting.artifact import find_folder, load_model, revive_model
    from shoplake.forecasting.features import hash_features
    from shoplake.forecasting.inputs import train_command
    from shoplake.forecasting.intervals import BandModel
    from shoplake.forecasting.series_models import find_untrained
    from shoplake.registry.store import find_registry
    from shoplake.registry.succession import find_served

    folder, spec = find_folder(settings, data), settings.ml.features
    if flags.model not in LEARNED_MODELS:
        return find_untrained(flags.model, spread), None, _find_bands(folder, as_of, spec, flags.data)
    registry = find_registry(settings)
    champion = registry and find_served(registry, flags.model, data)
    if champion and champion.tags["features_sha256"] != hash_features(spec):
        log.warning("the champion %s was trained with other features and cannot serve: the newest model does. Train "
                    "and promote a new one: %s", champion, train_command(flags.data))
    elif registry and champion and champion.cutoff <= as_of:
        bands = registry.read_bands(champion, spec)
        if bands is None:
            log.warning("no bands were fitted with the champion %s: the forecast has no limits", champion)
        return (revive_model(registry.read_model(champion, spec), spec), f"champion v{champion.number}",
                BandModel.from_bytes(bands.content, spec) if bands else None)
    model = load_model(folder, flags.model, as_of, spec, flags.data)
    return model, "newest", _find_bands(folder, as_of, spec, flags.data)


def _find_bands(folder: Path, as_of: "date", spec: "FeatureSettings", file: Path | None) -> "BandModel | None":
    from shoplake.forecasting.artifact import find_cutoff, load_bands

    if find_cutoff(folder, BANDS, as_of) is None:
        log.warning("no bands were fitted on days up to %s: the forecast has no limits", as_of)
        return None
    return load_bands(folder, as_of, spec, file)


def _export(
    rows: "pa.Table", top: list[dict[str, Any]], flags: argparse.Namespace, settings: Settings, as_of: str,
) -> str:
    import pyarrow.parquet

    from shoplake.forecasting.predictions import pick_products
    from shoplake.warehouse.presentation import as_csv

    kind = flags.export[0]
    ahead = f"{flags.horizon_days}_days" if flags.horizon_days else flags.horizon
    default = settings.data_path / f"demand_predictions_{as_of}_{flags.model}_{ahead}.{kind}"
    path = Path(flags.export[1]) if len(flags.export) > 1 else default
    path.parent.mkdir(parents=True, exist_ok=True)
    if flags.top:
        rows = pick_products(rows, top)
    if kind == "csv":
        path.write_text(as_csv(rows), encoding="utf-8")
    else:
        pyarrow.parquet.write_table(rows, path)
    return str(path)


def _describe(result: dict[str, Any]) -> str:
    lines = [
        f"{result['model']}: {result['rows']:,} rows for {result['products']:,} products, "
        f"{result['first_target_date']} to {result['last_target_date']}, in {result['table']}",
        f"{result['predicted_units']:,.0f} units in all; {result['fallback_products']:,} product(s) have a stand-in "
        "(fallback_reason says why)", "",
        f"{'product':<22}{'days with a sale':>18}{'units forecast':>16}{ACTIVE_DAY_AVERAGE:>22}",
    ]
    lines += [f"{product['product_id']:<22}{product['active_days']:>18,}{product['predicted_units']:>16,.1f}"
              f"{product['active_day_average']:>22,.1f}" for product in result["top"]]
    lines += ["", *(_describe_total(total) for total in result["totals"])]
    lines += [f"exported to {result['export']}"] if result["export"] else []
    lines += [f"--save-bq: {result['published']}"] if result["published"] else []
    return "\n".join(lines)


def _describe_total(total: dict[str, Any]) -> str:
    limits = ", ".join(f"{level}%: {total[f'lower_{level}']:,.0f} to {total[f'upper_{level}']:,.0f}"
                       for level in (80, 95) if total[f"lower_{level}"] is not None)
    days = "next day" if total["horizon_days"] == 1 else f"next {total['horizon_days']} days"
    return f"the shop's {days}: {total['predicted_units']:,.0f} units" + (f" ({limits})" if limits else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
