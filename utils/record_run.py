"""Write the row of a finished DAG run to ops.runs and publish it; the same run again replaces its row."""

import argparse
import sys
from datetime import UTC, date, datetime
from typing import Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-id", required=True, help="Airflow's run id")
    parser.add_argument("--dag-id", required=True, help="the DAG")
    parser.add_argument("--day", required=True, type=date.fromisoformat, help="the shop day that the run was for")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Record the run; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: record(arguments))


def record(arguments: argparse.Namespace) -> int:
    """Gather the figures and write the row under the table's lock."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    import pyarrow as pa

    from shoplake.contract.render import arrow_schema
    from shoplake.contract.tables import RUNS
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import replace_rows, text_literal
    from shoplake.lake.locks import hold_lock
    from shoplake.warehouse import ADMIN, open_warehouse

    lake = locate_lake(settings)
    with open_warehouse(settings, ADMIN) as warehouse:
        row = describe_run(lake, arguments)
        with hold_lock(lake, RUNS.name, settings.lake.lock_timeout) as lock:
            rows = pa.Table.from_pylist([row], schema=arrow_schema(RUNS))
            replace_rows(lake, RUNS, rows, f"run_id = {text_literal(arguments.run_id)}", lock)
        warehouse.publish([RUNS])
    print_result(row, f"{row['run_id']}: {row['offset_count']:,} records, {row['prediction_count']:,} predictions",
                 arguments.json)
    return EXIT_OK


def describe_run(lake: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the row: what the ledger and the predictions hold after the run."""
    import pyarrow.compute as pc

    from shoplake.contract.tables import DEMAND_PREDICTIONS
    from shoplake.lake.arrow import read_table, table_exists
    from shoplake.lake.ledger import count_rows

    counts = count_rows(lake)
    predictions = 0
    if table_exists(lake, DEMAND_PREDICTIONS):
        as_of = read_table(lake, DEMAND_PREDICTIONS, ["as_of_date"])["as_of_date"]
        predictions = pc.sum(pc.equal(as_of, arguments.day)).as_py() or 0
    return {
        "run_id": arguments.run_id, "dag_id": arguments.dag_id, "run_date": arguments.day,
        "finished_at": datetime.now(UTC), "offset_count": counts["offsets"], "silver_count": counts["silver"],
        "duplicate_count": counts["duplicates"], "quarantine_count": counts["quarantine"], "late_count": counts["late"],
        "prediction_count": predictions,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
