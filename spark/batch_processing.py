"""Build the gold tables' changed days from silver; with --historical-csv ingest that file or folder first.

Also writes daily_sales.parquet into the data folder. With --ingest-only the file is ingested, and nothing is built.
Run it with spark-submit.
"""

import argparse
import logging
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.days import list_days
from shoplake.errors import EXIT_OK, ConfigError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shoplake.lake.addresses import Lake
    from shoplake.sources import SourceReader

LOG = logging.getLogger("shoplake.batch")
# What is told of a file, by the ledger's columns.
COUNTS = {"records": "bronze_count", "silver": "silver_count", "duplicates": "duplicate_count",
          "quarantine": "quarantine_count"}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--historical-csv", metavar="FILE|FOLDER|gs://BUCKET/NAME",
                        help="CSV or Parquet to ingest first (.gz, .zst, .zip allowed), or a folder of such files")
    parser.add_argument("--source", default="events",
                        help="the file's format (default: events, the contract's own columns)")
    parser.add_argument("--ingest-only", action="store_true",
                        help="with --historical-csv: leave gold as it is, for the next build")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, metavar="D",
                        help="build this day and those after it, changed or not (inclusive)")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, metavar="D", help="last day to build (inclusive)")
    parser.add_argument("--as-of", type=date.fromisoformat, metavar="D",
                        help="day at whose end customers are looked at (default: the day before the newest)")
    parser.add_argument("--table", action="append", dest="tables", metavar="TABLE",
                        help="build this table only, such as gold.sessions; may be given several times (default: all)")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the batch job; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: run_batch(arguments))


def run_batch(arguments: argparse.Namespace) -> int:
    """Ingest the file if one is given; build gold and export daily_sales, unless only the file is wanted."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    days = list_days(arguments.first, arguments.last)
    if arguments.ingest_only and (days or arguments.as_of or arguments.tables or not arguments.historical_csv):
        raise ConfigError("--ingest-only goes with --historical-csv FILE, without --from, --to, --as-of and --table")
    from pyspark.sql import SparkSession

    from shoplake.batch.job import build_tables, choose_tables
    from shoplake.contract.tables import DAILY_SALES, INGEST_TABLES
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.delta import check_session, create_tables, session_options

    lake = locate_lake(settings)
    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-batch").config(
        map={**session_options(settings)}).getOrCreate()
    try:
        check_session(spark)
        create_tables(lake, INGEST_TABLES, settings.shop)
        ingested = ingest(spark, lake, settings, arguments) if arguments.historical_csv else None
        tables = () if arguments.ingest_only else choose_tables(arguments.tables)
        built = build_tables(spark, lake, settings, tables, days, arguments.as_of) if tables else {}
    finally:
        if own_session:
            spark.stop()
    exported = export(lake, settings) if DAILY_SALES in tables else None
    report = {"ingested": ingested, "built": built, "exported": exported}
    print_result(report, describe(report), arguments.json)
    return EXIT_OK


def ingest(spark: "SparkSession", lake: "Lake", settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Take the historical file, or each file of a folder, into the lake, and warn of what could not be read of it.

    A file of a folder that cannot be read stops no other; at the end it is an error.
    """
    from shoplake.lake.data_keys import open_data_keys
    from shoplake.lake.sealed_files import open_original
    from shoplake.sources import find_files

    given, source = arguments.historical_csv, arguments.source
    if not Path(given).is_dir():
        with open_original(given, lake, open_data_keys(settings, lake)) as path:
            return {"file": given, **ingest_local(spark, path, lake, settings, source)}
    taken, failed = [], {}
    files, unread = find_files(Path(given), source)
    if unread:
        LOG.warning("not read, because they are no tables: %s", ", ".join(path.name for path in unread)[:300])
    for path in files:
        try:
            taken.append({"file": str(path), **ingest_local(spark, path, lake, settings, source)})
        except SourceError as error:
            failed[path.name] = error
            LOG.error("%s", error)
    if failed:
        raise SourceError(f"{len(failed)} of {len(failed) + len(taken)} files of {given} could not be taken in "
                          f"({', '.join(failed)[:300]}); the others are in. Mend or remove them, then run it again")
    totals = {name: sum(one[name] for one in taken) for name in (*COUNTS, "bad_lines", "rejected") if name in taken[0]}
    return {"file": given, "source": source, "is_truncated": any(one["is_truncated"] for one in taken), **totals,
            "files": taken}


def ingest_local(
    spark: "SparkSession", path: Path, lake: "Lake", settings: Settings, source: str,
) -> dict[str, Any]:
    """Take in a file of this machine."""
    from shoplake.lake.data_keys import open_data_keys
    from shoplake.lake.sealed_files import keep_sealed
    from shoplake.lake.users import ingest_users
    from shoplake.sources import find_beside, holds_users, open_source
    from shoplake.streaming.files import ingest_file

    beside = find_beside(path, source)
    open_source(path, source, settings, beside=beside)  # refuse a file of another format before a copy is kept
    data_keys = open_data_keys(settings, lake)
    for file in beside:
        with keep_sealed(file, lake, source, data_keys):
            pass
    with keep_sealed(path, lake, source, data_keys) as kept:
        records = open_source(kept.path, source, settings, kept.kept_at_ms, beside)
        totals = dict.fromkeys(COUNTS, 0)
        if holds_users(source):
            totals |= ingest_users(records, source, kept.sha256, kept.kept_at_ms, lake, data_keys,
                                   settings.lake.lock_timeout)
            return describe_taken(records, source, kept.sha256, totals)
        for row in ingest_file(spark, records, source, kept.sha256, lake, settings):
            for name, column in COUNTS.items():
                totals[name] += row[column]
            LOG.info("%s chunk %d: %d records", path.name, row["batch_id"], row["bronze_count"])
        return describe_taken(records, source, kept.sha256, totals)


def describe_taken(records: "SourceReader", source: str, sha256: str, counts: dict[str, int]) -> dict[str, Any]:
    """Tell of a file that is in, and warn of what could not be read of it."""
    for warning in records.warnings():
        LOG.warning(warning)
    return {"sha256": sha256, "source": source, "bad_lines": records.bad_lines, "is_truncated": records.is_truncated,
            **counts}


def export(lake: "Lake", settings: Settings) -> dict[str, Any]:
    """Write daily_sales.parquet beside the lake, for tools that take a file."""
    from shoplake.contract.tables import DAILY_SALES
    from shoplake.lake.addresses import export_file
    from shoplake.lake.export import export_table

    path = export_file(settings)
    return {"file": str(path), "rows": export_table(lake, DAILY_SALES, path)}


def describe(report: dict[str, Any]) -> str:
    """Say in words what was done."""
    from shoplake.batch.job import WHOLE

    lines = []
    if report["ingested"]:
        file = report["ingested"]
        aside = (f"{file['rejected']:,} rejected, with their reasons in bronze.users" if "rejected" in file else
                 f"{file['duplicates']:,} duplicates, {file['quarantine']:,} quarantined")
        lines.append(f"{file['file']}: {file['records']:,} new records -> {file['silver']:,} silver, {aside}")
    lines += [f"{table}: {'replaced whole' if days == [WHOLE] else f'{len(days):,} days written'}"
              for table, days in report["built"].items()]
    if report["exported"]:
        lines.append(f"{report['exported']['file']}: {report['exported']['rows']:,} rows")
    elif not report["built"]:
        lines.append("Next: spark-submit spark/batch_processing.py")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
