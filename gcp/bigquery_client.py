"""Plan and publish the served tables.

plan: print the datasets and tables that BigQuery would hold, as DDL; needs no account.
publish: serve the newest rows to readers, in the warehouse of the profile.
"""

import argparse
import sys

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="bigquery_client.py", description="Plan and publish the served tables.")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, help_, action in (
        ("plan", "print the DDL of datasets and tables; offline", _plan),
        ("publish", "serve the newest rows", _publish),
    ):
        sub = actions.add_parser(name, help=help_)
        sub.add_argument("--profile", choices=PROFILES, help="settings (default: SHOPLAKE_PROFILE, else local)")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(run=action)
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: arguments.run(load_settings(arguments.profile), arguments.json))


def _plan(settings: Settings, as_json: bool) -> int:
    configure_logging(settings.log_level)
    from shoplake.warehouse.plan import plan_bigquery

    statements = plan_bigquery(settings.gcp)
    if not settings.gcp.project_id:
        print("gcp.project_id is empty, so the names carry no project; --profile dev has one", file=sys.stderr)
    print_result({"statements": list(statements)}, ";\n\n".join(statements) + ";", as_json)
    return EXIT_OK


def _publish(settings: Settings, as_json: bool) -> int:
    configure_logging(settings.log_level)
    from shoplake.warehouse import open_warehouse
    from shoplake.warehouse.protocol import RELATIONS

    with open_warehouse(settings) as warehouse:
        publications = warehouse.publish(RELATIONS)
    result = {"published": [vars(publication) for publication in publications]}
    text = "\n".join(f"{one.table:<30}{one.row_count:>12,} rows  {one.message}" for one in publications)
    print_result(result, text, as_json)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
