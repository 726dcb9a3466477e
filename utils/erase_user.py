"""Erase a person from the lake, the landing place and the warehouse, and write a signed receipt.

The data key of the user is destroyed, so that their records in bronze, and in every copy of it, cannot be read any
more. Their rows go from silver and gold, with the older versions of the tables; whole files that name them go. Whatever
comes in of them later is not kept: a topic, a file or a backup that is read again does not bring them back.

In this order: the key; rows of bronze, silver and gold, each table's older versions and log; exported files; the
warehouse, if this profile's is BigQuery; copies of files in the lake, and files in done/; the receipt.

It asks first; without a terminal it wants --yes. Killed in the middle, run it again with the same user. It may be run
beside the stream, which waits for it between two batches; a batch job or a question that reads older versions of a
table in that moment fails, and is run again.

  python utils/erase_user.py --user U000123 --receipt receipt.json
  python utils/erase_user.py --check receipt.json --user U000123
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError, GateRefusedError, ShoplakeError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.private_files import create_private
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.lake.addresses import Lake

MAX_RECEIPT_BYTES = 1_000_000


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", metavar="ID", required=True, help="the user's own id, as events have it")
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="write the receipt there (default: print it)")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only check that a receipt is sound and this user's")
    parser.add_argument("--public-key", metavar="HEX", help="with --check: by which it must be signed (default: this "
                        "lake's, which another master key changes)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Erase, or check a receipt; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: check(arguments) if arguments.check else erase(arguments))


def erase(arguments: argparse.Namespace) -> int:
    """Say what will happen, ask, do it, and write the receipt."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.governance.audit import audited
    from shoplake.governance.erasure import erase_user
    from shoplake.governance.erasure_files import erase_files
    from shoplake.governance.receipts import make_receipt
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.data_keys import is_user_id, open_data_keys

    lake = locate_lake(settings)
    data_keys = open_data_keys(settings, lake)
    if data_keys is None:
        raise ConfigError("governance.pseudonyms is off: rows are not told apart by a key, and nobody can be erased "
                          "from this lake. A lake with pseudonyms is begun with SHOPLAKE_GOVERNANCE__PSEUDONYMS=true")
    if not is_user_id(arguments.user):
        raise ConfigError(f"--user {arguments.user!r} can be no user's id: 1 to 256 characters, without control ones")
    confirm(lake, arguments)
    receipt_file = create_private(arguments.receipt) if arguments.receipt else None
    with audited(lake, settings, "erase", "a user") as details:
        done = erase_user(lake, data_keys, arguments.user, settings.lake.lock_timeout)
        is_published = publish(settings, lake)
        files = erase_files(lake, settings, data_keys, arguments.user)
        details |= {"records": done.records, "files": len(files.deleted)}
    facts = {"lake": lake.root, "records": done.records, "unsure_records": done.unsure, "rows": done.rows,
             "deleted_files": list(files.deleted), "left_files": list(files.left), "unread_files": list(files.unread),
             "is_published": is_published, "event_days": sorted(day.isoformat() for day in done.event_days)}
    receipt = make_receipt(arguments.user, facts, settings)
    if receipt_file:
        with receipt_file:
            receipt_file.write(json.dumps(receipt, indent=2) + "\n")
    print_result(receipt, describe(facts, receipt, arguments.receipt), arguments.json)
    return EXIT_OK


def confirm(lake: "Lake", arguments: argparse.Namespace) -> None:
    """Ask for the word; without a terminal only --yes is an answer."""
    print(f"All that is known of one user goes from {lake.root} for good, and nothing is kept of them later. Not "
          "touched are the topic, which keeps its records as long as it is told to, and copies that were made outside.",
          file=sys.stderr)
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("this is no terminal to ask on, and nothing was erased. If it shall be: add --yes")
    print("Type the user's id again to erase it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != arguments.user:
        raise ShoplakeError("nothing was erased")


def publish(settings: Settings, lake: "Lake") -> bool:
    """Bring every table that an erasure may change to BigQuery; DuckDB reads the lake itself. Tell whether it did."""
    from shoplake.governance.erasure import tables_to_publish
    from shoplake.lake.export import drop_exports
    from shoplake.sections import ADMIN
    from shoplake.warehouse import open_warehouse

    for table in tables_to_publish():
        drop_exports(lake, table)
    if settings.warehouse.kind != "bigquery":
        return False
    with open_warehouse(settings, ADMIN) as warehouse:
        warehouse.publish(tables_to_publish())
    return True


def check(arguments: argparse.Namespace) -> int:
    """Refuse a receipt that is not sound, or another user's."""
    from shoplake.governance.receipts import check_receipt, public_key_of
    from shoplake.lake.keys import has_key

    try:
        if arguments.check.stat().st_size > MAX_RECEIPT_BYTES:
            raise ConfigError(f"{arguments.check} is too large for a receipt")
        receipt: Any = json.loads(arguments.check.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{arguments.check} cannot be read as a receipt: {error}") from error
    settings = load_settings(arguments.profile)
    if not arguments.public_key and not has_key(settings):
        raise ConfigError("this lake has no master key, so no receipt is signed with it. Give the public key of "
                          "the one that signed this receipt: --public-key")
    public_key = arguments.public_key or public_key_of(settings)
    if wrong := check_receipt(receipt, public_key, arguments.user):
        raise GateRefusedError(f"{arguments.check}: {wrong}")
    print_result({"sound": True, "public_key": receipt["public_key"]},
                 f"{arguments.check} is this user's, and signed with {receipt['public_key']}.", arguments.json)
    return EXIT_OK


def describe(facts: dict[str, Any], receipt: dict[str, Any], file: Path | None) -> str:
    """Say in words what was erased, and what is left to do."""
    lines = [f"{facts['records']:,} records of the user cannot be read any more, and these rows are gone:"]
    lines += [f"  {name:<32}{count:>12,}" for name, count in facts["rows"].items()] or ["  none"]
    lines += [f"Deleted, because it names the user: {address}" for address in facts["deleted_files"]]
    if facts["unsure_records"]:
        lines.append(f"{facts['unsure_records']:,} records that cannot be read hold this number, which may be anything "
                     "there, and stay encrypted. To see them: python utils/replay_quarantine.py --show 20")
    lines += [f"It names the user and lies nowhere else, so it is left to you: {address}"
              for address in facts["left_files"]]
    lines += [f"Does not tell, because it or a line of it cannot be read: {address}"
              for address in facts["unread_files"]]
    if not facts["is_published"]:
        lines.append("This profile's warehouse is the lake itself. If the lake was ever published to BigQuery with "
                     "another one: python gcp/bigquery_client.py publish --profile …")
    if facts["event_days"]:
        first, last = facts["event_days"][0], facts["event_days"][-1]
        lines.append("The sums in gold, which name nobody, still count what the user bought. To build their days "
                     f"without it: spark-submit spark/batch_processing.py --from {first} --to {last}")
    lines.append(f"The receipt is in {file}." if file else json.dumps(receipt))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
