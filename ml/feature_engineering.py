"""Write the feature table of one day: what the models see of each product for each of the next 7 days.

For people who want to look, or to train a model of their own; train.py and inference.py compute the same by themselves.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

log = logging.getLogger("shoplake.ml.feature_engineering")


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="feature_engineering.py", description=(__doc__ or "").strip())
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet or CSV history (default: gold.daily_sales)")
    parser.add_argument("--as-of", metavar="DAY", help="last day to use (default: the day before the newest)")
    parser.add_argument("--promotions", type=Path, metavar="FILE",
                        help="CSV of past and planned promotions (default: ml.promotions_file)")
    parser.add_argument("--out", type=Path, metavar="FILE.parquet", help="default: data/features.parquet")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.forecasting.features import hash_features, tabulate_features
    from shoplake.forecasting.history import build_history
    from shoplake.forecasting.inputs import read_sales, resolve_as_of
    from shoplake.forecasting.promotions import read_promotions

    sales = read_sales(flags.data, settings).rows
    promotions = read_promotions(flags.promotions or settings.promotions_path)
    history = build_history(sales, resolve_as_of(sales, flags.as_of), promotions, settings.ml.closed_days)
    log.info("computing features of %d products as of %s", len(history.product_ids), history.cutoff)
    table = tabulate_features(history, settings.ml.features)
    out = flags.out or settings.data_path / "features.parquet"
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(out, index=False)
    result: dict[str, Any] = {
        "as_of_date": history.cutoff, "file": str(out), "rows": len(table), "products": len(history.product_ids),
        "columns": list(table.columns), "features_sha256": hash_features(settings.ml.features),
    }
    text = (f"{len(table):,} rows (products x 7 target days) by {len(table.columns)} columns as of {history.cutoff}\n"
            f"columns: {', '.join(table.columns)}\nwritten to {out}")
    print_result(result, text, flags.json)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
