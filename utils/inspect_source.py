"""Look at a file before anything is loaded: its format, the source that reads it, and the first problems.

The first records go through the source's reader and the rules of the platform, as they would when the file is taken in;
nothing is written and nothing is sent. Run it in the platform's own environment: the rules are asked in Spark.
"""

import argparse
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.sources import SourceRecord

RECORDS = 10_000
MOST_RECORDS = 1_000_000
# Problems that are shown, and of each so much of its record.
SHOWN, SHOWN_CHARACTERS = 10, 200


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV (also .gz, .zst, .zip) or Parquet")
    parser.add_argument("--source", help="the source that it should be of (default: the one whose columns it has)")
    parser.add_argument("--records", type=int, default=RECORDS, metavar="N",
                        help=f"judge the first N records (default: {RECORDS:,}; at most {MOST_RECORDS:,})")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if not 1 <= flags.records <= MOST_RECORDS:
        parser.error(f"argument --records: {flags.records}; allowed: 1 to {MOST_RECORDS}")
    return run_to_exit_code(lambda: inspect(flags))


def inspect(flags: argparse.Namespace) -> int:
    """Look at the file, judge its first records, and tell."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    from shoplake.sources import holds_users, list_sources, look_at, open_source

    seen = look_at(flags.file, settings, flags.source)
    if seen.source is None:
        raise SourceError(f"{flags.file} has the columns of no source: {', '.join(seen.columns)[:300]}. There are "
                          f"{', '.join(list_sources(settings))}. For a file of your own describe its columns under "
                          "sources.formats: docs/sources.md")
    reader = open_source(flags.file, seen.source, settings)
    records = list(islice(reader, flags.records))
    problems = judge_users(records) if holds_users(seen.source) else judge(records, settings)
    reasons = Counter(reason for problem in problems for reason in problem["reasons"])
    result = {
        "file": str(flags.file), "source": seen.source, "packing": seen.packing, "encoding": seen.encoding,
        "columns": seen.columns, "other_columns": seen.others, "records": len(records), "bad_lines": reader.bad_lines,
        "rejected": len(problems), "by_reason": dict(reasons.most_common()), "problems": problems[:SHOWN],
        "warnings": list(reader.warnings()),
    }
    print_result(result, describe(result), flags.json)
    return EXIT_OK


def judge_users(records: "list[SourceRecord]") -> list[dict[str, Any]]:
    """Give the users that would be rejected, as `judge` does."""
    from shoplake.lake.users import judge_users as judge_all

    rows = judge_all([record.value for record in records]).select(["offset", "reasons"]).to_pylist()
    return [describe_problem(row["offset"], row["reasons"], records[row["offset"]].value) for row in rows
            if row["reasons"]]


def judge(records: "list[SourceRecord]", settings: Settings) -> list[dict[str, Any]]:
    """Give the records that would go to quarantine, in the file's order, each with its reasons."""
    from pyspark.sql import SparkSession

    from shoplake.lake.addresses import locate_lake
    from shoplake.quality.rules import event_rules
    from shoplake.streaming.files import to_dataframe
    from shoplake.streaming.money import read_rates
    from shoplake.streaming.parse import parse_records
    from shoplake.streaming.validate import judge_events

    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-inspect").getOrCreate()
    try:
        rates = read_rates(locate_lake(settings), settings)
        parsed = parse_records(to_dataframe(spark, records), settings.shop, rates)
        judged = judge_events(parsed, event_rules(settings.quality, settings.shop))
        rejected = judged.filter("size(reasons) > 0").select("offset", "reasons", "value").orderBy("offset").collect()
    finally:
        if own_session:
            spark.stop()
    return [describe_problem(row["offset"], row["reasons"], row["value"]) for row in rejected]


def describe_problem(offset: int, reasons: list[str], value: bytes) -> dict[str, Any]:
    """Say of a record, counted from 1, why it would be rejected and how it begins."""
    return {"record": offset + 1, "reasons": reasons,
            "value": bytes(value[:SHOWN_CHARACTERS]).decode("utf-8", "replace")}


def describe(result: dict[str, Any]) -> str:
    """Say in words what the file is."""
    lines = [
        f"{result['file']}: source {result['source']}, {result['packing']}, {result['encoding']}",
        f"columns: {', '.join(result['columns'])}",
        *([f"of which travel along: {', '.join(result['other_columns'])}"] if result["other_columns"] else []),
        f"{result['records']:,} records read, {result['rejected']:,} of them would go to quarantine",
        *(f"  {count:>8,}  {reason}" for reason, count in result["by_reason"].items()),
        *(f"record {problem['record']:,}: {', '.join(problem['reasons'])}: {problem['value']}"
          for problem in result["problems"]), *result["warnings"],
        f"Next: spark-submit spark/batch_processing.py --historical-csv {result['file']} --source {result['source']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
