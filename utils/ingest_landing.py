"""Take in the files of the landing folder: put a file into <landing>/<source>/, and it is ingested once and moved.
Where the lake is in a bucket, so is the landing folder.

  <landing>/<source>/FILE -> Kafka, or the lake for large files -> <landing>/done/<source>/
                          -> <landing>/rejected/<source>/ with FILE.reason.txt, if it cannot be read

The bytes decide: the same file again, also under another name, is not ingested again. What is still being written is
left alone. A file that cannot be taken in now (the broker is down) stays where it is, for the next run.

The order of the steps is: keep a copy, send, record in ops.files, move. Killed between them, the next run repeats the
file: what was sent twice has the same event_ids, silver counts the second as duplicates, and the ledger balances.
"""

import argparse
import logging
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake import arrivals
from shoplake.errors import EXIT_OK, ConfigError, ShoplakeError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, PROJECT_ROOT, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.lake.addresses import Lake
    from shoplake.lake.landing import Arrived, Landing
    from shoplake.sources.landing import Inspection, Route

LOG = logging.getLogger("shoplake.landing")
OUTCOMES = ("ingested", "repeated", "rejected", "waiting", "failed")
# A broker that is down fails every file in the same way, each after its time-out: one more try is enough.
MAX_FAILURES = 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Entry = dict[str, Any]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Take in what is there; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: take_in_all(arguments))


def take_in_all(arguments: argparse.Namespace) -> int:
    """Take each file in by itself, the oldest first, so that none stops the others."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.landing import open_landing
    from shoplake.lake.locks import LANDING, hold_lock
    from shoplake.sources import list_sources

    lake = locate_lake(settings)
    landing = open_landing(settings, lake)
    landing.prepare(list_sources(settings))
    report: dict[str, list[Entry]] = {outcome: [] for outcome in OUTCOMES}
    failures: Counter[str] = Counter()
    with hold_lock(lake, LANDING, settings.lake.lock_timeout):
        for arrival in landing.find():
            try:
                outcome, entry = take_in(landing, arrival, settings, lake, failures)
            except (ShoplakeError, OSError) as error:
                outcome, entry = "failed", {"error": arrivals.make_printable(str(error))}
                LOG.error("%s stays where it is: %s", arrival.label, entry["error"])
            report[outcome].append({"file": arrival.label, **entry})
    print_result(report, describe(report, landing.place), arguments.json)
    if report["failed"]:
        first = report["failed"][0]
        raise SourceError(f"{len(report['failed'])} file(s) could not be taken in and lie where they were. The first, "
                          f"{first['file']}: {first['error']} Then run it again: python utils/ingest_landing.py")
    return EXIT_OK


def take_in(
    landing: "Landing[Any]", arrival: "Arrived", settings: Settings, lake: "Lake", failures: Counter[str],
) -> tuple[str, Entry]:
    """Take one file through its steps; give what became of it.

    Args:
        failures: how often each route failed in this run; it is counted here.

    Raises:
        ShoplakeError: it could not be sent or recorded; it stays where it is.
    """
    if not landing.is_settled(arrival):
        return "waiting", {}
    if not arrival.is_file:
        return reject(landing, arrival, settings, "it is no file but a link, a folder or a pipe; put the file itself "
                      "there")
    if arrival.byte_count > settings.sources.landing_max_bytes:
        return reject(landing, arrival, settings, f"it has {arrival.byte_count:,} bytes; sources.landing_max_bytes "
                      f"allows {settings.sources.landing_max_bytes:,}. Split it, or raise that")
    with landing.fetch(arrival) as path:
        return ("waiting", {}) if path is None else take_in_file(landing, arrival, path, settings, lake, failures)


def take_in_file(
    landing: "Landing[Any]", arrival: "Arrived", path: Path, settings: Settings, lake: "Lake", failures: Counter[str],
) -> tuple[str, Entry]:
    """Take in an arrival whose bytes are in a file of this machine; see take_in."""
    from shoplake.lake.data_keys import open_data_keys
    from shoplake.lake.files import is_ingested
    from shoplake.lake.sealed_files import keep_sealed
    from shoplake.lake.users import ingest_users
    from shoplake.sources import holds_users, list_sources, open_source
    from shoplake.sources.landing import choose_route, inspect_file

    source = arrival.folder or ""
    try:
        sha256 = landing.read_hash(arrival, path)
    except SourceError as error:
        return reject(landing, arrival, settings, describe_reason(arrival, path, error))
    if sha256 is None:
        return "waiting", {}
    names = list_sources(settings)
    if source not in names:
        where = f"the folder {source!r} is no source" if source else "it lies in no source's folder"
        return reject(landing, arrival, settings, f"{where}; there are {', '.join(names)}", lake, sha256)
    if is_ingested(lake, source, sha256):
        LOG.info("%s was ingested before, under this name or another: nothing is sent", arrival.label)
        return moved("repeated", landing, arrival, sha256)
    try:
        inspection = inspect_file(path, source, settings)
    except (SourceError, ConfigError) as error:  # the latter: of a kind that this shop excludes
        return reject(landing, arrival, settings, describe_reason(arrival, path, error), lake, sha256)
    route = choose_route(inspection, source, arrival.byte_count, settings)
    data_keys = open_data_keys(settings, lake)
    with keep_sealed(path, lake, source, data_keys, sha256) as kept:
        if kept.sha256 != sha256 or not landing.is_unchanged(arrival) or failures[route] >= MAX_FAILURES:
            return "waiting", {}
        for warning in inspection.warnings:
            LOG.warning("%s", describe_reason(arrival, path, warning))
        try:
            if holds_users(source):
                records = open_source(kept.path, source, settings, kept.kept_at_ms)
                ingest_users(records, source, sha256, kept.kept_at_ms, lake, data_keys, settings.lake.lock_timeout)
            else:
                send(kept.path, source, route, settings)
        except SourceError:
            failures[route] += 1
            raise
    record(arrival, lake, settings, sha256, "ingested", inspection, route)
    LOG.info("%s: %d records by the route %s", arrival.label, inspection.record_count, route)
    outcome, entry = moved("ingested", landing, arrival, sha256)
    return outcome, {**entry, "route": route, "records": inspection.record_count,
                     "bad_lines": inspection.bad_line_count}


def moved(outcome: str, landing: "Landing[Any]", arrival: "Arrived", sha256: str) -> tuple[str, Entry]:
    """Move a file whose content is in; another that took its name meanwhile stays, for the next run."""
    return outcome, {"sha256": sha256, "moved_to": landing.move_to_done(arrival, sha256)}


def reject(
    landing: "Landing[Any]", arrival: "Arrived", settings: Settings, reason: str, lake: "Lake | None" = None,
    sha256: str = "",
) -> tuple[str, Entry]:
    """Set a file aside with its reason, and record it where its bytes are known; one that changed meanwhile waits."""
    if not landing.is_unchanged(arrival):
        return "waiting", {}
    if lake:
        record(arrival, lake, settings, sha256, "rejected", reason=reason)
    place = landing.set_aside(arrival, reason, sha256)
    if place is None:
        return "waiting", {}
    LOG.warning("%s is set aside: %s", arrival.label, reason)
    return "rejected", {"reason": reason, "moved_to": place}


def describe_reason(arrival: "Arrived", path: Path, problem: object) -> str:
    """Name the file by its place in the landing folder, and keep control characters of its content out."""
    return arrivals.make_printable(str(problem).replace(str(path), arrival.label))


def send(kept: Path, source: str, route: "Route", settings: Settings) -> None:
    """Run the command that takes the kept copy in; what it says goes to our stderr. Gold is left to the next build.

    Raises:
        SourceError: it failed; the file is readable, so this is the broker's or the lake's fault.
    """
    from shoplake.airflow_environment import command_environment

    if route == "historical" and settings.spark.runner == "dataproc":
        raise SourceError("a record of it is too large for Kafka, and no Spark is on this machine (spark.runner is "
                          "dataproc): put its lines into smaller records, or take its copy under bronze/files/ in with "
                          "a batch of spark/batch_processing.py --historical-csv gs://…")
    binaries = Path(sys.executable).parent
    words = [sys.executable, "kafka/producer.py", "--replay"] if route == "kafka" else [
        str(binaries / "spark-submit"), *settings.spark.submit_options, "spark/batch_processing.py", "--ingest-only",
        "--historical-csv"]
    words += [str(kept), "--source", source, "--profile", settings.profile, "--json"]
    done = subprocess.run(words, cwd=PROJECT_ROOT, env={**os.environ, **command_environment(os.environ, binaries)},
                          stdout=subprocess.PIPE, check=False)
    if done.returncode != EXIT_OK:
        raise SourceError(f"the {route} route ended with exit code {done.returncode}; its message stands above.")


def record(
    arrival: "Arrived", lake: "Lake", settings: Settings, sha256: str, status: str,
    inspection: "Inspection | None" = None, route: "Route | None" = None, reason: str | None = None,
) -> None:
    """Write the file's row of ops.files."""
    from shoplake.lake.files import record_file

    record_file(lake, {
        "source": arrivals.clean_name(arrival.folder or ""), "file_sha256": sha256, "file_name": arrival.name,
        "byte_count": arrival.byte_count, "record_count": inspection.record_count if inspection else None,
        "bad_line_count": inspection.bad_line_count if inspection else None, "route": route, "status": status,
        "reason": reason, "arrived_at": EPOCH + timedelta(microseconds=arrival.changed_ns // 1000),
        "recorded_at": datetime.now(UTC),
    }, settings.lake.lock_timeout)


def describe(report: dict[str, list[Entry]], place: str) -> str:
    """Say in words what became of the files."""
    lines = [f"{outcome:>9}: {len(entries)}" for outcome, entries in report.items()]
    lines += [f"{entry['file']}: {entry['records']:,} records ({entry['route']})" for entry in report["ingested"]]
    lines += [f"{entry['file']}: {entry['reason']}" for entry in report["rejected"]]
    if not any(report.values()):
        lines = [f"Nothing lies in {place}. Put a file into the folder of its source there"]
    elif any(entry["route"] == "kafka" for entry in report["ingested"]):
        lines.append("Next: spark-submit spark/streaming_pipeline.py --drain")
    elif report["ingested"]:
        lines.append("Next: spark-submit spark/batch_processing.py")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
