"""Produce quarantined records again, after what was wrong with them is mended: raw key, value, headers, timestamp.

Each record once: its copy carries the header replay_of = origin/partition/offset, and a record whose coordinates stand
in such a header, in bronze or in what waits in the topic, is not sent again. A copy that is rejected in its turn is
sent only with --again. The quarantine is not changed; the stream judges the copies like any other record. Their
timestamps are those of the first sending, so that no verdict (late, from the future) comes of the waiting.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from shoplake.deliveries import Deliveries, open_sender
from shoplake.errors import EXIT_OK, ConfigError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings
from shoplake.topics import Topic, connect, look_up_topic

if TYPE_CHECKING:
    from shoplake.lake.replay import QuarantinedRecord

LOG = logging.getLogger("shoplake.replay")
LOCK = "replay"
SHOWN_BYTES = 1000  # of a record's value
DRAIN = "spark-submit spark/streaming_pipeline.py --drain"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reason", action="append", dest="reasons", metavar="RULE", default=[],
                        help="only records that failed this rule; may be given several times (default: all)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N records")
    parser.add_argument("--again", action="store_true", help="also copies that were replayed and rejected again")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    parser.add_argument("--show", type=positive, metavar="N", help="send nothing, and show the first N records: who "
                        "looks stands in ops.audit")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Replay; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: replay(arguments))


def replay(arguments: argparse.Namespace) -> int:
    """Find what was not sent yet, send it, and report; two replays at once are refused."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    import kafka

    from shoplake.contract.tables import SILVER_QUARANTINE
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.arrow import table_exists
    from shoplake.lake.data_keys import open_data_keys
    from shoplake.lake.ledger import ingested_until
    from shoplake.lake.locks import hold_lock
    from shoplake.lake.replay import open_quarantine

    check_reasons(arguments.reasons, settings)
    lake = locate_lake(settings)
    if not table_exists(lake, SILVER_QUARANTINE):
        print_result({"sent": 0}, f"Nothing was ingested yet in {lake.root}, so nothing is quarantined.",
                     arguments.json)
        return EXIT_OK
    asked = {"reasons": arguments.reasons, "limit": arguments.limit, "again": arguments.again}
    arguments.dry_run |= arguments.show is not None
    told: AbstractContextManager[dict[str, Any]] = nullcontext({})
    if arguments.show:
        told = audited(lake, settings, "access", SILVER_QUARANTINE.name, asked | {"shown": arguments.show})
    elif not arguments.dry_run:
        told = audited(lake, settings, "replay", settings.kafka.topic, asked)
    with told as details, hold_lock(lake, LOCK, timeout=0):
        topic = look_up_topic(kafka, settings)
        # The ledger first: what it does not hold yet is in the topic's tail, what it holds is in bronze.
        tail = list(read_marks(settings, topic, ingested_until(lake, topic.id)))
        with open_quarantine(lake, open_data_keys(settings, lake), tail, arguments.reasons, arguments.limit,
                             arguments.again) as quarantine:
            deliveries = Deliveries()
            if not arguments.dry_run and quarantine.waiting.to_send:
                with open_sender(kafka, settings, deliveries) as send_one:
                    for record in quarantine.read():
                        if not send_one(record):
                            break
            report = {"topic": topic.name, **asdict(quarantine.waiting), **deliveries.summary(),
                      "dry_run": arguments.dry_run,
                      "shown": [show(record) for record in islice(quarantine.read(), arguments.show or 0)]}
            details["acknowledged"] = report["acknowledged"]
    print_result(report, describe(report), arguments.json)
    deliveries.check()
    return EXIT_OK


def show(record: "QuarantinedRecord") -> dict[str, str | None]:
    """Give a record for a person to read; what is no text has signs in its place, and what is long is cut."""
    def as_text(content: bytes | None) -> str | None:
        return None if content is None else content[:SHOWN_BYTES].decode(errors="replace")

    return {"key": as_text(record.key), "value": as_text(record.value)}


def check_reasons(reasons: list[str], settings: Settings) -> None:
    """Refuse a name that no rule has."""
    from shoplake.quality.rules import CONFLICTING_DUPLICATE, event_rules

    known = [*(rule.name for rule in event_rules(settings.quality, settings.shop)), CONFLICTING_DUPLICATE]
    for reason in reasons:
        if reason not in known:
            raise ConfigError(f"--reason {reason}: no rule has this name; there are {', '.join(sorted(known))}")


def read_marks(settings: Settings, topic: Topic, until: dict[int, int]) -> Iterator[bytes]:
    """Read the topic from `until` to its end, and give the marks of the copies in it."""
    import kafka

    from shoplake.lake.replay import REPLAY_OF

    with closing(connect(kafka, kafka.KafkaConsumer, settings, enable_auto_commit=False,
                         auto_offset_reset="earliest")) as consumer:
        parts = {kafka.TopicPartition(topic.name, number): topic.ends[number] for number in topic.lag_behind(until)}
        consumer.assign(list(parts))
        for part in parts:
            consumer.seek(part, until.get(part.partition, 0))
        while any(consumer.position(part) < end for part, end in parts.items()):
            batches = consumer.poll(timeout_ms=1000 * settings.kafka.delivery_timeout)
            if not batches:
                raise SourceError(f"the broker at {settings.bootstrap_servers} stopped answering; nothing was sent. "
                                  "Look with: python kafka/broker.py status")
            for record in (record for batch in batches.values() for record in batch):
                yield from (value for name, value in record.headers if name == REPLAY_OF and value)


def describe(report: dict[str, Any]) -> str:
    """Write the report for a person."""
    lines = []
    if not report["to_send"]:
        lines.append("No quarantined record waits to be sent again.")
    elif report["dry_run"]:
        lines.append(f"{report['to_send']:,} records would be sent again to {report['topic']}:")
    else:
        lines.append(f"{report['acknowledged']:,} of {report['to_send']:,} records were sent again to "
                     f"{report['topic']}:")
    lines += [f"  {reason:<28}{count:>12,}" for reason, count in report["by_reason"].items()]
    lines += [f"  {one['key']!r}: {one['value']!r}" for one in report["shown"]]
    for name, why in (("replayed", "were sent before"), ("rejected_again", "are copies that were rejected again "
                      "(--again sends them too)"), ("empty", "have neither key nor value")):
        if report[name]:
            lines.append(f"Not sent: {report[name]:,} {why}")
    if report["acknowledged"]:
        lines.append(f"Next: {DRAIN}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
