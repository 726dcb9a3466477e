"""Plan, create and publish the served tables.

plan: print the datasets and tables that BigQuery would hold, as DDL, how they would be published and what is billed;
needs no account.
create: make the datasets and tables that are missing, and bring what roles see up to date, by the plan's statements.
publish: serve the newest rows to readers, in the warehouse of the profile.
"""

import argparse
import sys

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="bigquery_client.py", description="Plan, create and publish the served tables.")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, help_, action in (
        ("plan", "print the DDL of datasets, tables and roles, the publication and the bill; offline", _plan),
        ("create", "make the datasets, tables and views that are missing", _create),
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
    from shoplake.warehouse.cost import Shop, describe_bill, estimate_run
    from shoplake.warehouse.plan import plan_bigquery, plan_publication
    from shoplake.warehouse.role_plan import plan_role_views, plan_row_policies

    shop = Shop()
    policies = [one for of_table in plan_row_policies(settings.gcp, settings.governance).values()
                for one in of_table.values()]
    roles = [*plan_role_views(settings.gcp, settings.governance), *policies]
    statements, publication = plan_bigquery(settings.gcp), plan_publication(settings.gcp, shop.last_day)
    bill = estimate_run(shop)
    if not settings.gcp.project_id:
        print("gcp.project_id is empty, so the names carry no project; --profile dev has one", file=sys.stderr)
    text = ["-- Created", ";\n\n".join(statements) + ";",
            "-- Created for the roles of governance.role_members", ";\n\n".join(roles) + ";" if roles else "-- none",
            "-- Published, where one day changed",
            *publication.values(), f"-- Billed for a daily run of the shop of docs/cost.md\n{describe_bill(bill)}"]
    result = {"statements": list(statements), "roles": roles, "publication": publication,
              "bill": [vars(scan) for scan in bill]}
    print_result(result, "\n\n".join(text), as_json)
    return EXIT_OK


def _create(settings: Settings, as_json: bool) -> int:
    configure_logging(settings.log_level)
    if settings.warehouse.kind != "bigquery":
        raise ConfigError(f"the profile {settings.profile} has the embedded warehouse, which needs no tables: its "
                          "views serve the lake. For BigQuery take --profile dev")
    from shoplake.warehouse.bigquery import open_bigquery

    with open_bigquery(settings) as warehouse:
        tables = warehouse.create()
    print_result({"tables": list(tables)}, "\n".join(f"{table} is there" for table in tables), as_json)
    return EXIT_OK


def _publish(settings: Settings, as_json: bool) -> int:
    configure_logging(settings.log_level)
    from shoplake.warehouse import ADMIN, open_warehouse
    from shoplake.warehouse.protocol import RELATIONS

    with open_warehouse(settings, ADMIN) as warehouse:
        publications = warehouse.publish(RELATIONS)
    result = {"published": [vars(publication) for publication in publications]}
    text = "\n".join(f"{one.table:<30}{one.row_count:>12,} rows  {one.message}" for one in publications)
    print_result(result, text, as_json)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
