"""Write the dashboard's pages as one self-contained HTML file: charts inside it, no script, nothing to fetch.

It holds what the dashboard would show now. With a run id its name and title are the run's; without one they are the
newest shop day's, or today's before there is one. Written again it is replaced.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings

if TYPE_CHECKING:
    from shoplake.dashboards.board import Board


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="report.py", description=(__doc__ or "").strip())
    parser.add_argument("--run-id", help="the run that the report is for, as Airflow names it")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="default: reports/<run id or day>.html in the data folder")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.dashboards.board import Board
    from shoplake.dashboards.document import name_document, save_document, write_document
    from shoplake.dashboards.figures import write_time
    from shoplake.dashboards.pages import forecast_page, live_page, quality_page, runs_page, sales_page
    from shoplake.dashboards.shop_pages import customers_page, funnel_page, products_page
    from shoplake.warehouse import open_warehouse

    now = datetime.now(UTC)
    with open_warehouse(settings) as warehouse:
        board = Board(warehouse, settings)
        subject = arguments.run_id or _find_day(board, now)
        pages = [build(board, now) for build in (
            sales_page, forecast_page, customers_page, funnel_page, products_page, quality_page, live_page, runs_page)]
    origin = f"Written {write_time(now)} from the profile {settings.profile}"
    file = arguments.out or settings.report_path / name_document(subject)
    save_document(file, write_document(f"shoplake report: {subject}", origin, pages))
    result: dict[str, Any] = {"file": str(file), "run_id": arguments.run_id, "bytes": file.stat().st_size}
    print_result(result, f"report: {file}", arguments.json)
    return EXIT_OK


def _find_day(board: "Board", now: datetime) -> str:
    from shoplake.contract.tables import DAILY_SALES

    if board.changed_at(DAILY_SALES.name) is None:
        return str(now.date())
    return str(board.ask("daily_revenue").day("to_date"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
