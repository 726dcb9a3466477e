"""Check every SQL statement of the project before it reaches a warehouse; a part of make check.

Google's own analyzer (ZetaSQL) reads the queries of sql/, the views, and what makes and fills BigQuery's tables. The
queries must also mean the same in DuckDB and read few partitions. Its module is compiled once, which takes a minute.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from shoplake.errors import EXIT_OK, GateRefusedError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, PROJECT_ROOT, Settings, find_resources, load_settings

if TYPE_CHECKING:
    from shoplake.warehouse.google_analyzer import GoogleAnalyzer
    from shoplake.warehouse.own_sql import Finding

CACHE = Path(sys.prefix) / "zetasql"


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="check_sql.py", description=(__doc__ or "").strip())
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE",
                        help="queries to check (default: all of sql/, and the statements made from the contract)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.warehouse.google_analyzer import GoogleAnalyzer

    started = time.monotonic()
    analyzer = GoogleAnalyzer(CACHE)
    checked = list(_check_files(analyzer, arguments.files) if arguments.files else _check_all(analyzer, settings))
    findings = [finding for found in checked for finding in found]
    if findings:
        raise GateRefusedError("\n".join(map(str, findings)))
    seconds = time.monotonic() - started
    print_result({"statements": len(checked)}, f"{len(checked)} statements in {seconds:.1f} s: all are right",
                 arguments.json)
    return EXIT_OK


def _check_all(analyzer: "GoogleAnalyzer", settings: Settings) -> "Iterator[list[Finding]]":
    from shoplake.contract import tables
    from shoplake.governance.roles import load_roles
    from shoplake.warehouse.own_sql import check_statement, check_view
    from shoplake.warehouse.plan import (
        ANY_PUBLICATION,
        merge_statement,
        plan_bigquery,
        published_tables,
        staging_name,
    )
    from shoplake.warehouse.role_plan import plan_role_views, plan_row_policies

    gcp, governance = settings.gcp, settings.governance
    yield from _check_files(analyzer, sorted(Path(str(find_resources("sql"))).rglob("*.sql")))
    contract = Path(tables.__file__)
    text = contract.read_text(encoding="utf-8")
    for view in tables.VIEWS:
        yield check_view(analyzer, view, _name(contract), text[:text.index(view.sql)].count("\n"))
    merges = (merge_statement(table, gcp, days, staging_name(table, gcp, ANY_PUBLICATION))
              for table in published_tables() if table.partition_by
              for days in ([date(2026, 1, 30), date(2026, 1, 31)], None))
    some = ("group:some@shop.example",)
    everybody = governance.model_copy(update={"role_members": dict.fromkeys(load_roles(), some)})
    policies = (one for of_table in plan_row_policies(gcp, everybody).values() for one in of_table.values())
    for statement in (*plan_bigquery(gcp), *plan_role_views(gcp, everybody), *policies, *merges):
        yield check_statement(analyzer, statement.splitlines()[0].rstrip(" ("), statement, gcp)


def _check_files(analyzer: "GoogleAnalyzer", files: list[Path]) -> "Iterator[list[Finding]]":
    from shoplake.warehouse.own_sql import check_query

    for file in files:
        yield check_query(analyzer, _name(file), file.read_text(encoding="utf-8"))


def _name(file: Path) -> str:
    return str(file.relative_to(PROJECT_ROOT) if file.is_relative_to(PROJECT_ROOT) else file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
