"""Look into the lake's bucket, put a file there, and take tables out as Parquet.

list: the objects whose addresses begin so.
upload: a file, resumably when it is large; it replaces nothing but the generation that is named.
export: a table of the lake, whole or some of its days, now or as it was, as one Parquet file here or in a bucket.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.days import list_days
from shoplake.errors import EXIT_OK, ConfigError, StorageError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.lake.addresses import Lake

MAX_LISTED = 10_000


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(
        prog="gcs_client.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--profile", choices=PROFILES, help="settings (default: SHOPLAKE_PROFILE, else local)")
    shared.add_argument("--json", action="store_true", help="print one JSON object")

    looked = actions.add_parser("list", parents=[shared], help="list objects")
    looked.add_argument("address", nargs="?", metavar="gs://BUCKET/PREFIX", help="default: the lake")
    looked.set_defaults(run=list_bucket)

    sent = actions.add_parser("upload", parents=[shared], help="upload a file")
    sent.add_argument("file", type=Path, metavar="FILE")
    sent.add_argument("address", metavar="gs://BUCKET/NAME", help="a name that ends with / keeps the file's own")
    sent.add_argument("--replace", type=int, metavar="GENERATION",
                      help="the object that is there now, as list shows it, and no other")
    sent.set_defaults(run=upload)

    taken = actions.add_parser("export", parents=[shared], help="write a table's rows as Parquet")
    taken.add_argument("table", help="such as gold.daily_sales")
    taken.add_argument("target", metavar="FILE|gs://BUCKET/NAME", help="what is there is not replaced")
    taken.add_argument("--from", dest="first", type=date.fromisoformat, metavar="D", help="first day (inclusive)")
    taken.add_argument("--to", dest="last", type=date.fromisoformat, metavar="D", help="last day (inclusive)")
    taken.add_argument("--version", type=int, metavar="N", help="as the table's version N was (default: the newest)")
    taken.add_argument("--at", type=datetime.fromisoformat, metavar="TIME",
                       help="as it was at this time, ISO 8601 with an offset")
    taken.set_defaults(run=export)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for, and print what came of it."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.lake.addresses import locate_lake

    result, text = arguments.run(arguments, settings, locate_lake(settings))
    print_result(result, text, arguments.json)
    return EXIT_OK


def list_bucket(arguments: argparse.Namespace, settings: Settings, lake: "Lake") -> tuple[dict[str, Any], str]:
    """List what lies under an address."""
    from itertools import islice

    from shoplake.lake.buckets import list_objects

    address = check_address(arguments.address or lake.root, settings)
    found = list(islice(list_objects(lake, address), MAX_LISTED + 1))
    objects = [vars(one) for one in found[:MAX_LISTED]]
    lines = [f"{one.byte_count:>14,}  {one.updated_at:%Y-%m-%d %H:%M:%S}  {one.generation}  {one.address}"
             for one in found[:MAX_LISTED]]
    lines.append(f"{len(objects):,} objects under {address}" + (
        ", and more: give a longer prefix" if len(found) > MAX_LISTED else ""))
    return {"address": address, "objects": objects, "is_cut": len(found) > MAX_LISTED}, "\n".join(lines)


def upload(arguments: argparse.Namespace, settings: Settings, lake: "Lake") -> tuple[dict[str, Any], str]:
    """Upload a file under its address; the same bytes that lie there already are left alone.

    Raises:
        StorageError: another object is there.
    """
    from shoplake.lake.buckets import NEW

    if not arguments.file.is_file():
        raise ConfigError(f"{arguments.file} is no file that can be uploaded")
    address = check_address(arguments.address, settings)
    address += arguments.file.name if address.endswith("/") else ""
    replaces = NEW if arguments.replace is None else arguments.replace
    return send(lake, arguments.file, address, replaces)


def send(lake: "Lake", file: Path, address: str, replaces: int) -> tuple[dict[str, Any], str]:
    """Upload, and say what is there now."""
    from shoplake.lake.addresses import split_address
    from shoplake.lake.buckets import find_object, upload_file

    if not split_address(address)[1]:
        raise ConfigError(f"{address} names a bucket, but no object in it: gs://bucket/name")
    stored = upload_file(lake, file, address, replaces)
    if stored is None:
        there = find_object(lake, address)
        now = f"generation {there.generation} of {there.byte_count:,} bytes" if there else "nothing"
        raise StorageError(
            f"{address} is not what this upload may replace: there is {now}. Nothing was changed. "
            + (f"To replace it: --replace {there.generation}" if there else "Leave --replace out"))
    return vars(stored), f"{stored.address}: {stored.byte_count:,} bytes, generation {stored.generation}"


def export(arguments: argparse.Namespace, settings: Settings, lake: "Lake") -> tuple[dict[str, Any], str]:
    """Write a table's rows, as they are or once were, to one Parquet file, whole or for the days asked for."""
    from shoplake.contract.tables import find_table
    from shoplake.errors import ContractError
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import BUCKETS
    from shoplake.lake.arrow import find_version, table_exists
    from shoplake.lake.buckets import NEW
    from shoplake.lake.export import export_days

    table = find_table(arguments.table)
    days = list_days(arguments.first, arguments.last)
    if days is not None and table.partition_by is None:
        raise ConfigError(f"{table.name} is not stored by days: leave --from and --to out")
    is_remote = arguments.target.startswith(BUCKETS)
    if "://" in arguments.target:
        check_address(arguments.target, settings)
    if not table_exists(lake, table):
        raise ContractError(f"the table {table.name} does not exist yet in {lake.root}")
    if arguments.at and arguments.at.tzinfo is None:
        raise ConfigError(f"--at {arguments.at.isoformat()} has no offset; write it like 2026-10-13T12:00:00+00:00")
    version = find_version(lake, table, arguments.version, arguments.at)
    days_told = [str(day) for day in (arguments.first, arguments.last) if day]
    with (audited(lake, settings, "export", table.name, {
              "version": version, "file": arguments.target, "days": days_told}) as told,
          tempfile.TemporaryDirectory(prefix="shoplake-") if is_remote else folder_beside(arguments.target) as folder):
        file = Path(folder) / "rows.parquet"
        rows = told["rows"] = export_days(lake, table, version, days, file)
        if is_remote:
            send(lake, file, arguments.target, NEW)
        else:
            os.link(file, arguments.target)
    result = {"table": table.name, "version": version, "file": arguments.target, "rows": rows}
    return result, f"{table.name}: {rows:,} rows in {arguments.target}"


@contextmanager
def folder_beside(target: str) -> Iterator[str]:
    """Give a folder on the target's disk for the block, in which the target is made; it goes whatever happens.

    Raises:
        ConfigError: the target is there already, or is at the end of the block.
    """
    taken = ConfigError(f"{target} is there already, and an export replaces nothing: remove it, or name another file")
    if os.path.lexists(target):
        raise taken
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=Path(target).parent, prefix=".export-") as folder:
            yield folder
    except FileExistsError as error:
        raise taken from error


def check_address(address: str, settings: Settings) -> str:
    """Refuse what is no address in a bucket."""
    from shoplake.lake.addresses import BUCKETS, split_address

    if not address.startswith(BUCKETS) or not split_address(address)[0]:
        raise ConfigError(f"{address} is no address in a bucket, gs://bucket/name"
                          + (f"; the lake of the profile {settings.profile} is a folder of this machine"
                             if address == settings.lake_root else ""))
    return address


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
