"""Forecast the units of every product for the next day or the next 7 days, into gold.demand_predictions.

Running it again for the same day, model and horizon replaces the same rows.
"""

import argparse
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.forecasting.names import BASELINE_MODELS, HORIZONS, MODEL_NAMES, XGBOOST
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from shoplake.forecasting.models import Forecaster

FORMATS = ("csv", "parquet")

log = logging.getLogger("shoplake.ml.inference")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="inference.py", description=(__doc__ or "").strip())
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--model", choices=MODEL_NAMES, default=XGBOOST, help=f"default: {XGBOOST}")
    parser.add_argument("--horizon", choices=HORIZONS, default="next_day", help="default: next_day")
    parser.add_argument("--save-bq", action="store_true", help="publish to the warehouse as well")
    parser.add_argument("--export", nargs="+", metavar=("csv|parquet", "PATH"),
                        help="write the predictions to a file too (default: in the data folder)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if flags.export and (flags.export[0] not in FORMATS or len(flags.export) > 2):
        parser.error(f"argument --export: {flags.export}; allowed: {' or '.join(FORMATS)}, then a path if any")
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.warehouse import open_warehouse

    # Opened first: without an account nothing is forecast.
    with open_warehouse(settings) if flags.save_bq else nullcontext() as warehouse:
        result, rows = _forecast(settings, flags)
        if warehouse is not None:
            from shoplake.contract.tables import DEMAND_PREDICTIONS

            result["published"] = warehouse.publish([DEMAND_PREDICTIONS])[0].message
    print_result(result, _describe(result, rows), flags.json)
    return EXIT_OK


def _forecast(settings: Settings, flags: argparse.Namespace) -> "tuple[dict[str, Any], pa.Table]":
    from shoplake.contract.tables import DEMAND_PREDICTIONS
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.predictions import predict_demand, replaced_rows
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import replace_rows
    from shoplake.lake.locks import hold_lock

    lake = locate_lake(settings)
    sales = read_sales(flags.data, lake)
    history = build_history(sales, resolve_as_of(sales, flags.as_of))
    forecaster = _find_forecaster(flags.model, settings, history.cutoff)
    log.info("forecasting %d products after %s with %s", len(history.product_ids), history.cutoff, flags.model)
    rows = predict_demand(forecaster, history, flags.horizon)
    with hold_lock(lake, DEMAND_PREDICTIONS.name, settings.lake.lock_timeout) as lock:
        replace_rows(lake, DEMAND_PREDICTIONS, rows, replaced_rows(forecaster, history, flags.horizon), lock)
    targets = sorted(set(rows["target_date"].to_pylist()))
    result: dict[str, Any] = {
        "as_of_date": history.cutoff, "model": forecaster.name, "model_version": forecaster.version,
        "horizon": flags.horizon, "first_target_date": targets[0], "last_target_date": targets[-1],
        "rows": rows.num_rows, "products": len(history.product_ids),
        "fallback_products": int((~history.has_series).sum()),
        "predicted_units": round(sum(rows["predicted_units"].to_pylist()), 3), "table": DEMAND_PREDICTIONS.name,
        "export": _export(rows, flags, settings, str(history.cutoff)) if flags.export else None,
        "published": None,
    }
    return result, rows


def _find_forecaster(name: str, settings: Settings, as_of: "date") -> "Forecaster":
    from shoplake.forecasting import models
    from shoplake.forecasting.artifact import load_model

    if name in BASELINE_MODELS:
        return next(baseline for baseline in models.BASELINES if baseline.name == name)
    artifact = load_model(settings.model_path, name, as_of, settings.ml.features)
    log.info("the model %s was trained on days up to %s", name, artifact.manifest["cutoff"])
    return artifact.model


def _export(rows: "pa.Table", flags: argparse.Namespace, settings: Settings, as_of: str) -> str:
    import pyarrow.csv
    import pyarrow.parquet

    kind = flags.export[0]
    default = settings.data_path / f"demand_predictions_{as_of}_{flags.model}_{flags.horizon}.{kind}"
    path = Path(flags.export[1]) if len(flags.export) > 1 else default
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        pyarrow.csv.write_csv(rows, path)
    else:
        pyarrow.parquet.write_table(rows, path)
    return str(path)


def _describe(result: dict[str, Any], rows: "pa.Table") -> str:
    lines = [
        f"{result['model']}, {result['horizon']}: {result['rows']:,} rows for {result['products']:,} products, "
        f"{result['first_target_date']} to {result['last_target_date']}, in {result['table']}",
        f"{result['predicted_units']:,.0f} units in all; {result['fallback_products']:,} product(s) with too little "
        "history have their category's figure", "", "The most wanted:",
    ]
    top = rows.sort_by([("predicted_units", "descending")]).slice(0, 5).to_pylist()
    lines += [f"  {row['target_date']}  {row['product_id']:<20} {row['predicted_units']:>10.1f}" for row in top]
    lines += [f"exported to {result['export']}"] if result["export"] else []
    lines += [f"--save-bq: {result['published']}"] if result["published"] else []
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
