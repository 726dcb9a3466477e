"""Count the files in each day's partition of a lake's tables, compact it, and count again.

Prints one JSON object: the most files that a day of any table has, before and after, and each table's own.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shoplake.errors import EXIT_OK
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags.lake.resolve()))


def run(lake: Path) -> int:
    """Count, compact, count."""
    before = count_files(lake)
    command = [sys.executable, str(PROJECT_ROOT / "utils" / "compact.py")]
    subprocess.run(command, env={**os.environ, "SHOPLAKE_LAKE__ROOT": str(lake)}, stdout=sys.stderr, check=True)
    after = count_files(lake)
    print(json.dumps({"before": max(before.values()), "after": max(after.values()), "tables_before": before,
                      "tables_after": after}))
    return EXIT_OK


def count_files(root: Path) -> dict[str, int]:
    """Give by table how many files the day with the most has."""
    from shoplake.contract.tables import TABLES
    from shoplake.lake.addresses import Lake
    from shoplake.lake.arrow import open_table, table_exists
    from shoplake.lake.partitions import list_files

    lake, most = Lake(str(root)), {}
    for table in TABLES:
        if table.partition_by and table_exists(lake, table):
            files = list_files(open_table(lake, table), table)
            most[table.name] = max(Counter(file.day for file in files).values(), default=0)
    return most


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
