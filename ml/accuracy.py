"""Compare the forecasts with what was sold since, day by day, and say whether sales have left a model's forecasts.

Scored are the days up to --as-of that have forecasts: those that gold.forecast_accuracy does not hold yet, and the
newest 35 again, for late events and forecasts made anew. Running it again gives the same table. A shift of the shop's
level (a CUSUM of the daily error) is told in the log and in the table; it is no failure.
"""

import argparse
import logging
import sys
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

# Days that a person is shown.
SHOWN = 14

log = logging.getLogger("shoplake.ml.accuracy")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="accuracy.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE",
                        help="Parquet or CSV of what was sold (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last complete day (default: the day before the newest)")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, metavar="DAY",
                        help="score all days from this one on again, settled ones too")
    parser.add_argument("--save-bq", action="store_true", help="publish to the warehouse as well")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.contract.tables import FORECAST_ACCURACY
    from shoplake.warehouse import ADMIN, open_warehouse

    # Opened first: without an account nothing is scored.
    with open_warehouse(settings, ADMIN) if flags.save_bq else nullcontext() as warehouse:
        result = _score(settings, flags)
        if warehouse is not None:
            result["published"] = warehouse.publish([FORECAST_ACCURACY])[0].message
    for drift in result["drifting"]:
        log.warning("%s: sales have left the forecasts of %s, %s than forecast (score %.1f): look at what changed, and "
                    "train again: python ml/train.py", drift["target_date"], drift["model"],
                    "more was sold" if drift["drift_score"] > 0 else "less was sold", drift["drift_score"])
    print_result(result, _describe(result), flags.json)
    return EXIT_OK


def _score(settings: Settings, flags: argparse.Namespace) -> dict[str, Any]:
    import pandas as pd

    from shoplake.contract.tables import FORECAST_ACCURACY
    from shoplake.forecasting.accuracy import (
        find_due_days,
        find_first_change,
        find_newest,
        find_signals,
        mark_drift,
        read_predictions,
        read_scored,
        replaced_accuracy,
        score_days,
        tabulate_accuracy,
    )
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import replace_rows
    from shoplake.lake.locks import hold_lock

    lake = locate_lake(settings)
    sales = read_sales(flags.data, settings).rows
    as_of = resolve_as_of(sales, flags.as_of)
    with hold_lock(lake, FORECAST_ACCURACY.name, settings.lake.lock_timeout) as lock:
        before = read_scored(lake)
        days = find_due_days(lake, before, as_of, flags.first)
        log.info("scoring %d day(s) up to %s", len(days), as_of)
        after = before
        if days:
            kept = before[~before["target_date"].isin(days)]
            scored = score_days(read_predictions(lake, days), sales)
            after = mark_drift(pd.concat([kept, scored], ignore_index=True) if len(kept) else scored)
        changed = find_first_change(before, after)
        if changed is not None:
            replace_rows(lake, FORECAST_ACCURACY, tabulate_accuracy(after, changed), replaced_accuracy(changed), lock)
    newest = find_newest(after, as_of, SHOWN)
    return {
        "as_of_date": as_of, "days": len(days), "first_changed": changed, "table": FORECAST_ACCURACY.name,
        "newest": newest,
        "drifting": find_signals(newest, before, as_of),
        "published": None,
    }


def _describe(result: dict[str, Any]) -> str:
    if not result["newest"]:
        return f"nothing to score yet: no day up to {result['as_of_date']} was forecast"
    lines = [f"{result['days']} day(s) scored up to {result['as_of_date']}, in {result['table']}", "",
             f"{'day':<12}{'model':<20}{'ahead':>6}{'forecast':>12}{'sold':>12}{'wape':>8}{'bias':>8}{'in 80%':>8}"
             f"{'missed':>8}{'drift':>8}"]
    for row in result["newest"]:
        lines.append(
            f"{row['target_date']!s:<12}{row['model']:<20}{row['horizon']:>6}{row['predicted_units']:>12,.0f}"
            f"{row['actual_units']:>12,}" + "".join(
                f"{'n/a' if row[name] is None else format(row[name], form):>8}" for name, form in (
                    ("wape", ".2f"), ("bias", "+.2f"), ("coverage_80", ".0%"), ("missed_units", ",.0f"),
                    ("drift_score", "+.1f")))
            + ("  DRIFT" if row["is_drifting"] else ""))
    lines += [f"--save-bq: {result['published']}"] if result["published"] else []
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
