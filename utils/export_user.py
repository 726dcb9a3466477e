"""Give a person all that the lake knows of them, as one JSON file: their records as they came, and their rows.

  python utils/export_user.py --user U000123 --to u000123.json

Records that do not tell their user for certain (no JSON, for example) are not in it.
"""

import argparse
import json
import sys
from pathlib import Path

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.private_files import create_private
from shoplake.settings import PROFILES, load_settings


def main(argv: list[str] | None = None) -> int:
    """Export; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="export_user.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", metavar="ID", required=True, help="the user's own id, as events have it")
    parser.add_argument("--to", type=Path, metavar="FILE", required=True, help="a file that does not exist yet")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: export(flags))


def export(flags: argparse.Namespace) -> int:
    """Write the file, which only its owner may read."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    from shoplake.governance.access import read_user
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.data_keys import open_data_keys

    lake = locate_lake(settings)
    data_keys = open_data_keys(settings, lake)
    if data_keys is None:
        raise ConfigError("governance.pseudonyms is off: users have their own ids in every table. Ask for them with "
                          "python sql/run_analytics.py")
    with audited(lake, settings, "access", "a user") as details:
        found = read_user(lake, data_keys, flags.user)
        with create_private(flags.to) as file:
            json.dump(found, file, indent=2, default=str, ensure_ascii=False)
            file.write("\n")
        counts = {"records": len(found["records"]), "lines": len(found["lines"]),
                  "rows": {name: len(rows) for name, rows in found["tables"].items()}}
        details["records"] = counts["records"]
    text = [f"{flags.to}: {len(found['records']):,} records, {len(found['lines']):,} lines of files of users"]
    text += [f"  {name:<32}{len(rows):>12,} rows" for name, rows in found["tables"].items()]
    print_result({"file": str(flags.to), **counts}, "\n".join(text), flags.json)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
