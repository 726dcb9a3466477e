"""Train the demand models (linear regression and XGBoost), after comparing them with two baselines on held-out days.

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
    from shoplake.forecasting.training import Score

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
    from shoplake.forecasting.artifact import save_model
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.models import BASELINES
    from shoplake.forecasting.training import check_history, fit_models, score_forecasters, validation_cutoffs
    from shoplake.lake.addresses import locate_lake

    sales = read_sales(flags.data, locate_lake(settings))
    history = build_history(sales, resolve_as_of(sales, flags.as_of))
    check_history(history, settings.ml.min_history_days)
    cutoffs = validation_cutoffs(history.days, settings.ml.validation_days)
    first, last = history.until(cutoffs[0]).cutoff, history.until(cutoffs[-1]).cutoff
    log.info("comparing on the 7 days after each of the cutoffs %s to %s", first, last)
    candidates = fit_models(history.until(cutoffs[0]), settings.ml)
    metrics = _by_horizon(score_forecasters(history, (*candidates, *BASELINES), cutoffs))
    log.info("training on all days up to %s", history.cutoff)
    data = {"products": len(history.product_ids), "first_day": history.first_day, "last_day": history.cutoff,
            "rows": int((sales["event_date"].dt.date <= history.cutoff).sum()), "units": int(history.units.sum())}
    facts = {"trained_at": datetime.now(UTC).isoformat(timespec="seconds"), "data": data, "metrics": metrics,
             "validation": {"first_cutoff": first, "last_cutoff": last}}
    models = {}
    for model in fit_models(history, settings.ml):
        manifest = save_model(settings.model_path, model, history.cutoff, settings.ml, facts)
        models[model.name] = {"model_version": model.version, "manifest": str(manifest)}
    result = {"as_of_date": history.cutoff, **facts, "models": models}
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _by_horizon(scores: "list[Score]") -> dict[str, dict[str, dict[str, float | None]]]:
    metrics: dict[str, dict[str, dict[str, float | None]]] = {}
    for score in scores:
        figures = {"wape": score.wape, "rmsse": score.rmsse, "bias": score.bias}
        metrics.setdefault(score.horizon, {})[score.model] = figures
    return metrics


def _describe(result: dict[str, Any]) -> str:
    data, validation = result["data"], result["validation"]
    lines = [
        f"{data['rows']:,} rows, {data['products']:,} products, {data['first_day']} to {data['last_day']}",
        f"Scored on held-out days (cutoffs {validation['first_cutoff']} to {validation['last_cutoff']}; next_week: "
        "totals of 7 days); lower is better, bias near 0:", "",
        f"{'horizon':<11}{'model':<16}{'WAPE':>8}{'RMSSE':>8}{'bias':>8}",
    ]
    for horizon, models in result["metrics"].items():
        for model, scores in models.items():
            lines.append(f"{horizon:<11}{model:<16}" + "".join(
                f"{'n/a' if scores[name] is None else format(scores[name], '+.3f' if name == 'bias' else '.3f'):>8}"
                for name in ("wape", "rmsse", "bias")))
    lines += ["", *(f"{name}: {model['manifest']}" for name, model in result["models"].items())]
    lines.append(f"Next: python ml/inference.py --as-of {result['as_of_date']} --model xgboost --horizon next_week")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
