"""Merge the small files of the lake's tables, and delete files that nobody needs any more; no row changes.

Each day of a table becomes one file of at most 512 MiB. It works beside a running stream: each step holds the table's
write lock for some seconds, and waiting writers go in between. What it has replaced is deleted --retention hours later,
by a later run: whoever reads an older version of a table until then still can.
"""

import argparse
import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shoplake.contract.tables import Table
    from shoplake.lake.addresses import Lake
    from shoplake.lake.locks import HeldLock

LOG = logging.getLogger("shoplake.compact")
WEEK = 168
SHORTEST_BESIDE_OTHERS = 1  # hours


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", metavar="NAME", dest="tables",
                        help="only this table, such as silver.events; may be given several times (default: all)")
    parser.add_argument("--retention", type=hours, default=WEEK, metavar="HOURS",
                        help=f"keep replaced files so long (default: {WEEK}; 0 only while nothing else runs)")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def hours(text: str) -> int:
    """Read a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of hours")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Compact; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: compact(arguments))


def compact(arguments: argparse.Namespace) -> int:
    """Compact table after table, and say what became of each."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.contract.tables import TABLES, find_table
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import table_exists
    from shoplake.lake.maintenance import compact_table

    named = [find_table(name) for name in arguments.tables or ()]
    lake = locate_lake(settings)
    tables = [table for table in named or TABLES if table_exists(lake, table)]
    done = []
    with ExitStack() as stack:
        held = lock_everything(lake, tables, stack) if arguments.retention < SHORTEST_BESIDE_OTHERS else {}
        for table in tables:
            compaction = compact_table(lake, table, arguments.retention, settings.lake.lock_timeout, held)
            LOG.info("%s: %d files -> %d", table.name, compaction.files_before, compaction.files_after)
            done.append(vars(compaction))
    report = {"lake": lake.root, "retention_hours": arguments.retention, "tables": done}
    print_result(report, describe(report, settings), arguments.json)
    return EXIT_OK


def lock_everything(lake: "Lake", tables: "Iterable[Table]", stack: ExitStack) -> "dict[str, HeldLock]":
    """Take the stream's lock and those of every table for the whole run, or refuse at once, naming who holds one."""
    from shoplake.contract.tables import TABLES
    from shoplake.lake.locks import STREAM, hold_lock
    from shoplake.lake.maintenance import write_lock

    names = [STREAM, *sorted({write_lock(table) for table in TABLES})] if tables else []
    return {name: stack.enter_context(hold_lock(lake, name, timeout=0)) for name in names}


def describe(report: dict[str, Any], settings: Settings) -> str:
    """Write the report for a person."""
    if not report["tables"]:
        return f"No table was written yet in {settings.lake_root}, so there is nothing to compact."
    lines = [f"{'table':<30}{'files':>16}{'days':>8}{'most a day':>12}{'deleted':>10}"]
    for one in report["tables"]:
        files = f"{one['files_before']:,} -> {one['files_after']:,}"
        lines.append(f"{one['table']:<30}{files:>16}{one['days']:>8,}{one['most_files']:>12,}{one['deleted_files']:>10,}")
    if not any(one["days"] or one["deleted_files"] for one in report["tables"]):
        lines.append("Every day is one file already, and no file is older than the retention: nothing was done.")
    elif report["retention_hours"]:
        lines.append(f"Replaced files are deleted by a run {report['retention_hours']} hours from now or later.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
