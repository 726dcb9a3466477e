"""Check that the stream keeps up: how many records wait in the topic, and whether batches still come.

Exit code 0: everything in the topic is in the lake, or a batch comes while we look; 1: records have waited for
spark.max_batch_age seconds without a batch. The age of the last batch decides nothing: an event after a quiet night is
no alarm, and a file's batches are not the stream's.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ShoplakeError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings
from shoplake.topics import Topic, look_up_topic

if TYPE_CHECKING:
    from shoplake.lake.addresses import Lake

POLL_SECONDS = 1.0


def main(argv: list[str] | None = None) -> int:
    """Check the stream; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: check(load_settings(arguments.profile), arguments.json))


def check(settings: Settings, as_json: bool) -> int:
    """Measure, print, and fail where records wait and no batch comes."""
    configure_logging(settings.log_level)
    import kafka

    from shoplake.lake.addresses import locate_lake

    lake = locate_lake(settings)
    topic = look_up_topic(kafka, settings)
    is_healthy = keeps_up(lake, topic, settings.spark.max_batch_age)
    report = {**describe(lake, topic), "is_healthy": is_healthy}
    print_result(report, render(report), as_json)
    if not is_healthy:
        raise ShoplakeError(
            f"{report['total_lag']:,} records of {topic.name} have waited for {settings.spark.max_batch_age} s "
            f"(spark.max_batch_age) without a batch; driver: {report['driver'] or 'none runs'}. "
            "Look at the DAG spark_streaming, or read them now: spark-submit spark/streaming_pipeline.py --drain")
    return EXIT_OK


def keeps_up(lake: "Lake", topic: Topic, max_age: float) -> bool:
    """Say whether the lake holds the whole topic, or takes in more of it within `max_age` seconds."""
    from shoplake.lake.ledger import ingested_until

    until = ingested_until(lake, topic.id)
    if not topic.lag_behind(until):
        return True
    deadline = time.monotonic() + max_age
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        if ingested_until(lake, topic.id) != until:
            return True
    return False


def batch_age(lake: "Lake") -> float | None:
    """Give the seconds since the ledger's last row, a file's too; None when it has none."""
    from shoplake.contract.tables import LEDGER
    from shoplake.lake.arrow import changed_at
    from shoplake.lake.ledger import count_rows

    changed = changed_at(lake, LEDGER) if count_rows(lake)["batches"] else None
    return None if changed is None else (datetime.now(UTC) - changed).total_seconds()


def describe(lake: "Lake", topic: Topic) -> dict[str, Any]:
    """Give the figures: lag by partition, the last batch's age in seconds, and the stream's driver if one runs here."""
    from shoplake.lake.ledger import ingested_until
    from shoplake.lake.locks import STREAM, find_holder

    until, age = ingested_until(lake, topic.id), batch_age(lake)
    lag = {part: end - until.get(part, 0) for part, end in sorted(topic.ends.items())}
    return {"topic": topic.name, "origin": topic.id, "lag": lag, "total_lag": sum(lag.values()),
            "last_batch_age": None if age is None else round(age, 1), "driver": find_holder(lake, STREAM)}


def render(report: dict[str, Any]) -> str:
    """Write the figures for a person."""
    age = "no batch yet" if report["last_batch_age"] is None else f"last batch {report['last_batch_age']:,.0f} s ago"
    lag = ", ".join(f"partition {part}: {behind:,}" for part, behind in report["lag"].items())
    return (f"{report['topic']}: {report['total_lag']:,} records wait ({lag}); {age}; "
            f"driver: {report['driver'] or 'none runs'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
