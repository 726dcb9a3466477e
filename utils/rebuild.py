"""Rebuild silver, duplicates, quarantine, live windows and ledger from bronze. Run it with spark-submit:

  spark-submit utils/rebuild.py --from bronze

For changed rules, or after damage to any table but bronze. Each batch is taken in again under its own ids, in the order
in which they came, so that with unchanged rules every table comes out as it was; a batch that broke off gets its ledger
row. The new tables are built beside the lake, reconciled, and put in the place of the old rows, each in one commit: a
run that dies leaves the lake as it was, and the next one begins anew. It takes about as long as the batches took.

Refused while a stream or another writer runs. Gold is not changed: the report says the command that builds it again.
"""

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError, GateRefusedError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.lake.addresses import Lake
    from shoplake.lake.locks import HeldLock

LOG = logging.getLogger("shoplake.rebuild")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="layer", required=True, choices=["bronze"], help="what to rebuild from")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Rebuild; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: rebuild(arguments))


def rebuild(arguments: argparse.Namespace) -> int:
    """Rebuild under the locks of the stream and of the ingest, and report."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.contract.tables import BRONZE_EVENTS
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import table_exists
    from shoplake.lake.ledger import days_with_events
    from shoplake.lake.locks import INGEST, STREAM, hold_lock

    lake = locate_lake(settings)
    if not lake.is_local:
        raise ConfigError(f"{lake.root} is in a bucket, and a rebuild works on a local disk only. Read the topic and "
                          "the files into a new lake there: SHOPLAKE_LAKE__ROOT=gs://bucket/new spark-submit "
                          "spark/streaming_pipeline.py --drain")
    if not table_exists(lake, BRONZE_EVENTS):
        print_result({"batches": 0}, f"Nothing was ingested yet in {lake.root}, so there is nothing to rebuild.",
                     arguments.json)
        return EXIT_OK
    with (audited(lake, settings, "rebuild", "silver.events"), hold_lock(lake, STREAM, timeout=0),
          hold_lock(lake, INGEST, settings.lake.lock_timeout) as lock):
        days = days_with_events(lake)
        report = rebuild_tables(settings, lake, lock)
        days |= days_with_events(lake)
    report["next"] = (f"spark-submit spark/batch_processing.py --from {min(days)} --to {max(days)}" if days else None)
    print_result(report, describe(report), arguments.json)
    return EXIT_OK


def rebuild_tables(settings: Settings, lake: "Lake", lock: "HeldLock") -> dict[str, Any]:
    """Build every table beside the lake, check them, and replace the old rows; give what was there and what is."""
    from pyspark.sql import SparkSession

    from shoplake.contract.tables import BRONZE_EVENTS, INGEST_TABLES
    from shoplake.lake.delta import check_session, create_tables, session_options
    from shoplake.lake.rebuild import begin_scratch, check_space, clear_scratch, order_batches, replace_table

    own_session = SparkSession.getActiveSession() is None
    spark = SparkSession.builder.appName(f"{settings.spark.app_name}-rebuild").config(
        map={**session_options(settings)}).getOrCreate()
    try:
        check_session(spark)
        create_tables(lake, INGEST_TABLES, settings.shop)
        scratch = begin_scratch(lake)
        check_space(lake, INGEST_TABLES)
        batches = order_batches(lake)
        create_tables(scratch, INGEST_TABLES, settings.shop)
        ingest_all(spark, lake, scratch, batches, settings)
    finally:
        if own_session:
            spark.stop()
    before, after = count_rows(lake), count_rows(scratch)
    check_rebuilt(scratch, before[BRONZE_EVENTS.name], after[BRONZE_EVENTS.name])
    query_ids = {batch.query_id for batch in batches}
    # The ledger is the last of them: what has no row in it is not done.
    for table in INGEST_TABLES:
        if table is not BRONZE_EVENTS:
            replace_table(lake, table, scratch, query_ids, lock)
            LOG.info("%s: %d rows -> %d", table.name, before[table.name], after[table.name])
    clear_scratch(lake)
    return {"batches": len(batches), "finished": sum(not batch.is_done for batch in batches),
            "tables": {name: {"before": before[name], "after": after[name]} for name in before}}


def ingest_all(spark: Any, lake: "Lake", scratch: "Lake", batches: list[Any], settings: Settings) -> None:
    """Take each batch of bronze into the scratch lake as it was taken in first."""
    from shoplake.lake.data_keys import open_data_keys
    from shoplake.lake.rebuild import read_batch
    from shoplake.streaming.ingest import Batch, ingest_batch
    from shoplake.streaming.seal import unseal

    data_keys = open_data_keys(settings, lake)
    for number, batch in enumerate(batches, start=1):
        row = ingest_batch(unseal(read_batch(spark, lake, batch), data_keys),
                           Batch(batch.query_id, batch.batch_id, batch.origin, batch.topic), scratch, settings)
        LOG.info("batch %d of %d (%s/%d): %d records", number, len(batches), batch.query_id, batch.batch_id,
                 row["bronze_count"])


def count_rows(lake: "Lake") -> dict[str, int]:
    """Count each table's rows, from its log alone."""
    from shoplake.contract.tables import INGEST_TABLES
    from shoplake.lake.partitions import read_state

    states = {table.name: read_state(lake, table) for table in INGEST_TABLES}
    return {name: state.row_count if state else 0 for name, state in states.items()}


def check_rebuilt(scratch: "Lake", expected: int, found: int) -> None:
    """Refuse to put tables into the lake that do not hold all of bronze, each record in one place."""
    from shoplake.lake.reconcile import reconcile

    result = reconcile(scratch)
    if not result.is_balanced or expected != found:
        checks = ", ".join(residual.check for residual in result.residuals) or "records"
        raise GateRefusedError(f"the rebuilt tables in {scratch.root} hold {found:,} of {expected:,} records and do "
                               f"not balance ({checks}); the lake is as it was. Look with: python utils/reconcile.py")


def describe(report: dict[str, Any]) -> str:
    """Write the report for a person."""
    lines = [f"{report['batches']:,} batches were taken in again from bronze."]
    if report["finished"]:
        lines.append(f"{report['finished']:,} of them had broken off, and have their ledger row now.")
    lines += [f"  {name:<30}{rows['before']:>14,} rows -> {rows['after']:,}" for name, rows in report["tables"].items()]
    lines.append("Check with: python utils/reconcile.py")
    if report["next"]:
        lines.append(f"Then build gold again: {report['next']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
