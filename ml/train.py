"""Train the demand models (linear regression, XGBoost, bands), after comparing them with baselines on held-out days.

The comparison is a split in time: the models see nothing of the days on which they are scored. They are then fitted
again on all days up to --as-of and saved with a manifest.
"""

import argparse
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.forecasting.history import DemandHistory
    from shoplake.forecasting.intervals import BandModel

log = logging.getLogger("shoplake.ml.train")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="train.py", description=(__doc__ or "").strip())
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.forecasting.artifact import Fitted, hash_fitted, save_artifact
    from shoplake.forecasting.baselines import BASELINES
    from shoplake.forecasting.comparison import compare_forecasters
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.training import check_history, fit_models, validation_cutoffs
    from shoplake.lake.addresses import locate_lake

    sales = read_sales(flags.data, locate_lake(settings))
    history = build_history(sales.rows, resolve_as_of(sales.rows, flags.as_of))
    check_history(history, settings.ml.min_history_days)
    cutoffs = validation_cutoffs(history.days, settings.ml.validation_days)
    first, last = history.until(cutoffs[0]).cutoff, history.until(cutoffs[-1]).cutoff
    log.info("comparing on the 7 days after each of the cutoffs %s to %s", first, last)
    candidates = fit_models(history.until(cutoffs[0]), settings.ml)
    metrics = compare_forecasters(history, (*candidates, *BASELINES), cutoffs)
    log.info("training on all days up to %s", history.cutoff)
    data = {"name": sales.data, "version": sales.version, "products": len(history.product_ids),
            "first_day": history.first_day, "last_day": history.cutoff, "units": int(history.units.sum()),
            "rows": int((sales.rows["event_date"].dt.date <= history.cutoff).sum())}
    facts = {"trained_at": datetime.now(UTC).isoformat(timespec="seconds"), "data": data, "metrics": metrics,
             "validation": {"first_cutoff": first, "last_cutoff": last}}
    fitted: list[Fitted] = [*(model.regressor for model in fit_models(history, settings.ml)),
                            *_fit_bands(history, settings)]
    models = {}
    for one in fitted:
        manifest = save_artifact(settings.model_path, one, history.cutoff, settings.ml, facts)
        models[one.name] = {"model_version": hash_fitted(one), "manifest": str(manifest)}
    result = {"as_of_date": history.cutoff, **facts, "models": models}
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _fit_bands(history: "DemandHistory", settings: Settings) -> "list[BandModel]":
    from shoplake.forecasting.intervals import BandModel, has_days_for_bands

    if not has_days_for_bands(history):
        log.warning("%d days up to %s are too few for bands: forecasts have no limits", history.days, history.cutoff)
        return []
    return [BandModel.fit(history, settings.ml)]


def _describe(result: dict[str, Any]) -> str:
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
    lines += ["", *(f"{name}: {model['manifest']}" for name, model in result["models"].items())]
    lines.append(f"Next: python ml/inference.py --as-of {result['as_of_date']} --model xgboost --horizon next_week")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
