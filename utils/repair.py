"""Repair what a crash, a full disk or a topic made anew has left; nothing is deleted, and no row is given up.

  python utils/repair.py --table silver.events   broken files of a table's Delta log: a checkpoint or its pointer is
                                                 moved aside; so is a newest entry that was cut short, if its batch has
                                                 no ledger row (it is repeated then). All else is refused.
  python utils/repair.py --topic                 the topic was made anew: the old one's checkpoint is moved aside, and
                                                 the stream begins the new topic. What the old one brought stays.
  python utils/repair.py --checkpoint            the stream's checkpoint has empty or cut files: it is moved aside, and
                                                 a new one goes on where the ledger ends.

Refused while the stream runs.
"""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError, GateRefusedError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings
from shoplake.topics import look_up_topic

if TYPE_CHECKING:
    from shoplake.contract.tables import Table
    from shoplake.lake.addresses import Lake

QUERY = "events"
REBUILD = "spark-submit utils/rebuild.py --from bronze"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", metavar="NAME", help="a table, such as silver.events")
    what.add_argument("--topic", action="store_true", help="the topic was made anew")
    what.add_argument("--checkpoint", action="store_true", help="the stream's checkpoint cannot be read")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Repair; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: repair(arguments))


def repair(arguments: argparse.Namespace) -> int:
    """Do what the flag asks for, under the stream's lock and the table's, and say what was moved where."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.contract.tables import AUDIT, find_table
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import INGEST, STREAM, hold_lock
    from shoplake.lake.maintenance import write_lock

    lake = locate_lake(settings)
    if not lake.is_local:
        place = lake.checkpoint(QUERY)
        raise ConfigError(f"{lake.root} is in a bucket, where a write is whole or not there; only a lake on a local "
                          "disk is repaired. A checkpoint is moved aside with: "
                          f"gcloud storage mv {place} {place}.old")
    table = find_table(arguments.table) if arguments.table else None
    lock = write_lock(table) if table else INGEST
    subject = arguments.table or ("topic" if arguments.topic else "checkpoint")
    # The log that cannot be read cannot tell of its own repair.
    told: AbstractContextManager[dict[str, Any]] = (
        nullcontext({}) if table is AUDIT else audited(lake, settings, "repair", subject))
    with told as details, hold_lock(lake, STREAM, timeout=0), hold_lock(lake, lock, settings.lake.lock_timeout):
        if table:
            moved, said = repair_table(lake, table)
        elif arguments.topic:
            moved, said = repair_topic(lake, settings)
        else:
            moved, said = repair_checkpoint(lake)
        details["moved"] = moved
    print_result({"moved": moved, "message": said}, "\n".join([*(f"moved to {place}" for place in moved), said]),
                 arguments.json)
    return EXIT_OK


def now() -> str:
    """Give this moment, for a name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def repair_table(lake: "Lake", table: "Table") -> tuple[list[str], str]:
    """Move the broken files of a table's log aside, as far as no row depends on them."""
    from shoplake.lake.arrow import open_table
    from shoplake.lake.repair import ASIDE, inspect_log, log_folder, set_aside

    log = log_folder(lake, table)
    state = inspect_log(log)
    if not state.broken and not state.missing:
        return [], f"The log of {table.name} is whole, up to version {state.newest}: there is nothing to repair."
    if state.missing and state.missing != (state.newest,):
        raise GateRefusedError(
            f"version {state.missing[0]} of {table.name} cannot be read in {log}, and no intact checkpoint comes after "
            f"it: the versions up to {state.newest} need it. Nothing was moved. {without(lake, table)}")
    aside = Path(lake.root) / ASIDE / f"{table.name}.{now()}"
    moved = move_entry(lake, table, log, aside) if state.missing else []
    moved += set_aside(state.optional, aside)
    version = open_table(lake, table).version()
    expected = state.newest - len(state.missing)
    if version != expected:
        raise GateRefusedError(f"{table.name} reads as version {version} now, and should as {expected}; what was moved "
                               f"lies in {aside}: put it back, and look at {log}")
    done = f"{table.name} reads at version {version}."
    if state.missing:
        done += f" What the cut version {state.newest} held is written again by the next run: {next_run(table)}"
    elif not moved:
        done += f" Broken files that a later checkpoint covers stay: {', '.join(file.name for file in state.broken)}."
    return [str(file) for file in moved], done


def move_entry(lake: "Lake", table: "Table", log: Path, aside: Path) -> list[Path]:
    """Move the newest entry aside if what it held comes again; else leave it, and refuse."""
    from shoplake.lake.locks import INGEST
    from shoplake.lake.maintenance import write_lock
    from shoplake.lake.repair import find_losses, inspect_log, put_back, set_aside

    state = inspect_log(log)
    entry = log / f"{state.newest:020d}.json"
    if next_run(table) is None:
        raise GateRefusedError(f"the newest entry of {table.name}, {entry}, is cut short, and nothing would write its "
                               f"rows again. Nothing was moved. {without(lake, table)}")
    moved = set_aside([entry], aside)
    # DuckDB and delta-rs go by the pointer: a broken one may not decide what is seen now.
    others = set_aside(state.optional, aside)
    loss = find_losses(lake, table) if write_lock(table) == INGEST else None
    if loss:
        put_back([*moved, *others], log)
        raise GateRefusedError(f"the newest entry of {table.name}, {entry}, is cut short, and its batch has a ledger "
                               f"row: {loss}. Nothing was moved. {without(lake, table)}")
    return [*moved, *others]


def next_run(table: "Table") -> str | None:
    """Give the command that writes again what the newest commit of a table held; None if there is none."""
    from shoplake.contract.tables import AUDIT, USERS_DIM
    from shoplake.lake.locks import INGEST
    from shoplake.lake.maintenance import write_lock

    if table is AUDIT:
        return "python utils/verify_audit.py"
    if write_lock(table) == INGEST:
        return "spark-submit spark/streaming_pipeline.py --drain, or the historical file's"
    if write_lock(table) == USERS_DIM.name:
        return ("spark-submit spark/batch_processing.py --source c2c_users --historical-csv FILE, with the newest file "
                "under bronze/files/c2c_users/, which may be an encrypted copy")
    return f"spark-submit {table.writer}" if table.writer == "spark/batch_processing.py" else None


def without(lake: "Lake", table: "Table") -> str:
    """Say what is left to do for a table whose log cannot be read."""
    from shoplake.contract.tables import BRONZE_EVENTS
    from shoplake.lake.locks import INGEST
    from shoplake.lake.maintenance import write_lock

    if table is BRONZE_EVENTS:
        return ("Put that file back from a backup, or read the topic and the files into a new lake: "
                "SHOPLAKE_LAKE__ROOT=<new folder>")
    if write_lock(table) == INGEST:
        return f"Put that file back from a backup, or move {lake.table(table)} away and run: {REBUILD}"
    return f"Put that file back from a backup, or move {lake.table(table)} away and run {table.writer} again"


def repair_topic(lake: "Lake", settings: Settings) -> tuple[list[str], str]:
    """Move the checkpoint of a topic that is no more aside."""
    import kafka

    from shoplake.lake.ledger import origins_of
    from shoplake.lake.repair import find_origins
    from shoplake.streaming.checkpoint import find_query_id

    topic = look_up_topic(kafka, settings)
    query_id = find_query_id(lake, QUERY)
    strangers = (origins_of(lake, query_id) | find_origins(lake, query_id)) - {topic.id} if query_id else set()
    if not strangers:
        place = f"is of {topic.name}, as it is now" if query_id else "does not exist"
        return [], f"The checkpoint {lake.checkpoint(QUERY)} {place} (topic id {topic.id}): there is nothing to repair."
    moved = move_checkpoint(lake, sorted(strangers)[0])
    return [moved], (f"The stream begins {topic.name} (topic id {topic.id}) anew; what came from "
                     f"{', '.join(sorted(strangers))} stays.{describe_unfinished(lake)} "
                     "Next: spark-submit spark/streaming_pipeline.py --drain")


def repair_checkpoint(lake: "Lake") -> tuple[list[str], str]:
    """Move a checkpoint with broken files aside, if the ledger knows all that it knew."""
    from shoplake.lake.repair import find_broken_progress, find_unfinished

    place = Path(lake.checkpoint(QUERY))
    broken = find_broken_progress(place)
    if not broken:
        return [], f"Every file of the checkpoint {place} can be read, or there is none: there is nothing to repair."
    names = ", ".join(str(file.relative_to(place)) for file in broken)
    if find_unfinished(lake):
        raise GateRefusedError(f"{names} of the checkpoint {place} cannot be read, and a new one could not repeat what "
                               f"broke off.{describe_unfinished(lake)} Then run this again; nothing was moved")
    return [move_checkpoint(lake, "broken")], (
        f"{names} could not be read. A new checkpoint goes on where the ledger ends. "
        "Next: spark-submit spark/streaming_pipeline.py --drain")


def move_checkpoint(lake: "Lake", why: str) -> str:
    """Give the checkpoint another name in one step; give the name."""
    place = Path(lake.checkpoint(QUERY))
    return str(place.rename(f"{place}.{why}.{now()}"))


def describe_unfinished(lake: "Lake") -> str:
    """Say which batches broke off, and what gives them their ledger rows."""
    from shoplake.lake.repair import find_unfinished

    return "".join(f" Batch {one.batch_id} of {one.query_id} broke off with {one.row_count:,} records in bronze: "
                   f"finish it with: {REBUILD}." for one in find_unfinished(lake))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
