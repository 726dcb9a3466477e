"""Check that the lake balances: every record taken in stands in exactly one of silver, duplicates, quarantine, erased.

Waits for the `ingest` lock, so that no batch is under way. Exit code 0: balanced; 3: a residual was found.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from shoplake.errors import EXIT_OK, GateRefusedError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.lake.reconcile import Reconciliation

NOTHING_YET = (
    "Nothing was ingested yet in {root}, so there is nothing to check.\n"
    "Next: python kafka/producer.py --events 1000, then spark-submit spark/streaming_pipeline.py --drain"
)


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="reconcile.py", description=(__doc__ or "").strip())
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(load_settings(arguments.profile), arguments.json))


def _run(settings: Settings, as_json: bool) -> int:
    configure_logging(settings.log_level)
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.data_keys import list_destroyed
    from shoplake.lake.locks import INGEST, hold_lock
    from shoplake.lake.reconcile import ERASED_USER_IS_BACK, reconcile

    lake = locate_lake(settings)
    with hold_lock(lake, INGEST, settings.lake.lock_timeout):
        found = reconcile(lake, list_destroyed(settings, lake))
    print_result(found.as_dict(), _describe(found, lake.root), as_json)
    if not found.is_balanced:
        checks = [residual.check for residual in found.residuals]
        again = " Run utils/erase_user.py again for whoever was erased." if ERASED_USER_IS_BACK in checks else ""
        raise GateRefusedError(f"{lake.root} does not balance: {', '.join(checks)}. The rows above say where.{again}")
    return EXIT_OK


def _describe(found: "Reconciliation", root: str) -> str:
    if found.is_empty:
        return NOTHING_YET.format(root=root)
    lines = [
        f"{'records in the ledger':<24}{found.offsets:>14,}", f"{'bronze':<24}{found.bronze:>14,}",
        f"{'silver':<24}{found.silver:>14,}", f"{'duplicates':<24}{found.duplicates:>14,}",
        f"{'quarantine':<24}{found.quarantine:>14,}",
        *([f"{'of erased users':<24}{found.erased:>14,}"] if found.erased else []),
        *(f"  {reason:<22}{count:>14,}" for reason, count in found.by_reason.items()),
    ]
    if found.reused_event_ids:
        lines.append(f"{'event_ids on two dates':<24}{found.reused_event_ids:>14,}  (kept as separate events)")
    for residual in found.residuals:
        lines.append(f"RESIDUAL {residual.check}: {residual.count:,} row(s), for example")
        lines += ["  " + ", ".join(f"{key}={value}" for key, value in row.items()) for row in residual.examples]
    lines.append("balanced" if found.is_balanced else "NOT balanced")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
