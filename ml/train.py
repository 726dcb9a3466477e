"""Train the demand models (linear regression, XGBoost, bands), after comparing them with baselines on held-out days.

The comparison is a split in time: the models see nothing of the days on which they are scored; the champions of the
model registry take part. The models are then fitted again on all days up to --as-of, saved with a manifest, and logged
as one run of MLflow. Those of gold become the challengers of their names, those of a file are kept apart and serve
that file alone: ml/promote.py is how one becomes the champion.
"""

import argparse
import logging
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK
from shoplake.forecasting.names import LEARNED_MODELS
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

# A run of its own costs some 20 rows of the database and a folder.
MAX_ITEM_RUNS = 1000

log = logging.getLogger("shoplake.ml.train")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="train.py", description=(__doc__ or "").strip())
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--promotions", type=Path, metavar="FILE",
                        help="CSV of past and planned promotions (default: ml.promotions_file)")
    parser.add_argument("--item-runs", type=int, default=0, metavar="N",
                        help=f"log ARIMA's fit of the N items of most units as runs too, up to {MAX_ITEM_RUNS}; their "
                             "table is always there")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if not 0 <= flags.item_runs <= MAX_ITEM_RUNS:
        parser.error(f"argument --item-runs: {flags.item_runs}; allowed: 0 to {MAX_ITEM_RUNS}")
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.forecasting.artifact import Fitted, find_folder, hash_fitted, save_artifact
    from shoplake.forecasting.baselines import BASELINES
    from shoplake.forecasting.effects import explain_trees
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import hash_file, read_sales, resolve_as_of
    from shoplake.forecasting.promotions import read_promotions
    from shoplake.forecasting.training import check_history, fit_everything, validation_cutoffs
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import hold_lock
    from shoplake.registry.champions import enter_champions
    from shoplake.registry.evaluation import evaluate_forecasters
    from shoplake.registry.names import CHALLENGER
    from shoplake.registry.store import MODELS_LOCK, open_registry
    from shoplake.registry.training_log import Training, log_training

    lake = locate_lake(settings)
    sales = read_sales(flags.data, settings)
    plan = flags.promotions or settings.promotions_path
    promotions = read_promotions(plan)
    history = build_history(
        sales.rows, resolve_as_of(sales.rows, flags.as_of), promotions, settings.ml.closed_days)
    check_history(history, settings.ml.min_history_days)
    registry = open_registry(settings)
    cutoffs = validation_cutoffs(history.days, settings.ml.validation_days)
    first, last = history.until(cutoffs[0]).cutoff, history.until(cutoffs[-1]).cutoff
    log.info("training on the days up to %s, and up to %s: compared on the 7 days after each cutoff from there to %s",
             history.cutoff, first, last)
    fitted = fit_everything(history, cutoffs[0], settings.ml)
    champions = enter_champions(registry, LEARNED_MODELS, sales.data, history, cutoffs[0], settings.ml)
    evaluation = evaluate_forecasters(history, {
        **{one.name: one for one in (*fitted.candidates, *BASELINES)},
        **{one.column: one.forecaster for one in champions.values() if one.forecaster}}, cutoffs, settings.ml.processes)
    metrics = evaluation.metrics()
    data = {"name": sales.data, "version": sales.version, "products": len(history.product_ids),
            "promotions": hash_file(plan) if plan else None,
            "closed_days": history.closed_text, "first_day": history.first_day,
            "last_day": history.cutoff, "units": int(history.units.sum()),
            "rows": int((sales.rows["event_date"].dt.date <= history.cutoff).sum())}
    facts = {"trained_at": datetime.now(UTC).isoformat(timespec="seconds"), "data": data, "metrics": metrics,
             "validation": {"first_cutoff": first, "last_cutoff": last}}
    if fitted.bands is None:
        log.warning("%d days up to %s are too few for bands: forecasts have no limits", history.days, history.cutoff)
    artifacts: list[Fitted] = [*(model.regressor for model in fitted.models), *filter(None, [fitted.bands])]
    effects = next((rows for model in fitted.models if (rows := explain_trees(model, history)[0])), [])
    with hold_lock(lake, MODELS_LOCK, settings.lake.lock_timeout):
        manifests = {one.name: save_artifact(find_folder(settings, sales.data), one, history.cutoff, settings.ml, facts)
                     for one in artifacts}
        versions = log_training(registry, Training(
            history, settings.ml, facts, {name: manifest.parent for name, manifest in manifests.items()},
            evaluation.week_errors(), champions, effects), flags.item_runs)
    told = {one.name: {"model_version": hash_fitted(one), "manifest": str(manifests[one.name]),
                       "version": versions[one.name].number if one.name in versions else None,
                       "is_challenger": one.name in versions and CHALLENGER in versions[one.name].aliases}
            for one in artifacts}
    result = {"as_of_date": history.cutoff, **facts, "models": told,
              "run_id": next(iter(versions.values())).run_id,
              "champions": {name: {"version": one.version.number, "note": one.note} for name, one in champions.items()}}
    print_result(result, _describe(result, flags.data), flags.json)
    return EXIT_OK


def _describe(result: dict[str, Any], file: Path | None) -> str:
    data, validation = result["data"], result["validation"]
    lines = [
        f"{data['rows']:,} rows, {data['products']:,} products, {data['first_day']} to {data['last_day']}",
        f"Scored on held-out days (cutoffs {validation['first_cutoff']} to {validation['last_cutoff']}; next_week: "
        "totals of 7 days); lower is better, bias near 0:", "",
        f"{'horizon':<11}{'model':<20}{'WAPE':>8}{'RMSSE':>8}{'bias':>8}",
    ]
    for horizon, models in result["metrics"].items():
        for model, scores in models.items():
            lines.append(f"{horizon:<11}{model:<20}" + "".join(
                f"{'n/a' if scores[name] is None else format(scores[name], '+.3f' if name == 'bias' else '.3f'):>8}"
                for name in ("wape", "rmsse", "bias")))
    models = result["models"]
    lines += ["", *(f"{name}: {model['manifest']}" + (f", v{model['version']}" if model["version"] else "")
                    + (", the challenger" if model["is_challenger"] else "") for name, model in models.items())]
    lines += [champion["note"] for champion in result["champions"].values()]
    lines.append("Let it serve, if the gate lets it: python ml/promote.py --model xgboost "
                 f"--version {models['xgboost']['version']} --to champion --reason TEXT")
    data = f"--data {shlex.quote(str(file))} " if file else ""
    lines.append(f"Next: python ml/inference.py {data}--as-of {result['as_of_date']} --model xgboost "
                 "--horizon next_week")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
