"""Send shop events to the topic: simulated ones, or a real file's.

  python kafka/producer.py --events 1000 --delay 0.1                               simulate now
  python kafka/producer.py --events 50000 --from 2026-08-01 --to 2026-10-31        simulate the past
  python kafka/producer.py --replay data.csv --source online_retail                replay a file
  python kafka/producer.py --events 50000 --from D --to D --to-file data.csv       simulate into a file, no broker

--truth writes the right answers beside simulated events: every lake table that they must give, and the demand behind
them. --promotions writes when what was offered cheaper, and will be in the week after --to: ml/train.py reads it.
"""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from shoplake.deliveries import Deliveries, open_acks, open_sender
from shoplake.errors import EXIT_OK, ConfigError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import EXIT_INTERRUPTED, print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings
from shoplake.topics import connect

if TYPE_CHECKING:
    from kafka import KafkaConsumer

    from shoplake.simulation import SimulatedRecord, Truth
    from shoplake.sources import SourceReader, SourceRecord

LOG = logging.getLogger("shoplake.producer")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--events", type=positive, metavar="N", help="simulate so many records, planted faults included")
    what.add_argument("--replay", type=Path, metavar="FILE", help="send a file's records")
    parser.add_argument("--source", default="events", help="format of --replay: events (default), online_retail")
    parser.add_argument("--limit", type=positive, metavar="N", help="replay only the first N records")
    parser.add_argument("--from", dest="first", type=day, metavar="DAY", help="first shop day to simulate")
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="last shop day to simulate, before today")
    parser.add_argument("--seed", type=int, help="decides what shoppers do (default: drawn, and told at the end)")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write the right answers of the simulation as JSON")
    parser.add_argument("--promotions", type=Path, metavar="FILE", help="write the history's promotions as CSV")
    parser.add_argument("--to-file", type=Path, metavar="FILE", help="write .csv[.gz] or .parquet instead of sending")
    parser.add_argument("--acks", type=Path, metavar="FILE", help="write each acknowledged record as CSV: partition, "
                        "offset, and its event_id or (--replay) its value's SHA-256")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="seconds between records")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def day(text: str) -> date:
    """Read a day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write YYYY-MM-DD") from None


def run(flags: argparse.Namespace) -> int:
    """Send or write what the flags ask for."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    check_flags(flags, settings)
    if flags.replay:
        from shoplake.sources import holds_users, open_source

        if holds_users(flags.source):
            raise ConfigError(f"the source {flags.source} holds users, and only events go through Kafka. Run: "
                              f"spark-submit spark/batch_processing.py --historical-csv {flags.replay} "
                              f"--source {flags.source}")
        reader = open_source(flags.replay, flags.source, settings)
        return send(islice(reader, flags.limit), flags, settings, reader=reader)

    from shoplake.simulation import Truth, build_shop, simulate_file, simulate_history, simulate_live, write_promotions

    for path in filter(None, (flags.to_file, flags.truth, flags.promotions)):
        path.parent.mkdir(parents=True, exist_ok=True)
    flags.seed = time.time_ns() % 2**32 if flags.seed is None else flags.seed
    days = (flags.first, flags.last)
    asked = {"seed": flags.seed, "events": flags.events, "from": flags.first, "to": flags.last}
    shop = build_shop(settings.simulation)
    truth = Truth(asked | settings.shop.model_dump(include={"time_zone", "currency"}), shop) if flags.truth else None
    if flags.to_file:
        records = simulate_file(flags.to_file, *days, flags.events, flags.seed, settings)
    elif flags.first:
        records = simulate_history(*days, flags.events, flags.seed, settings)
    else:
        records = simulate_live(flags.events, flags.seed, settings, now_ms)
    if flags.promotions:
        write_promotions(flags.promotions, shop, *days)
    return write_file(records, flags, truth) if flags.to_file else send(records, flags, settings, truth)


def now_ms() -> int:
    """Give the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def check_flags(flags: argparse.Namespace, settings: Settings) -> None:
    """Refuse flags that contradict one another, before anything is opened."""
    today = datetime.now(ZoneInfo(settings.shop.time_zone)).date()
    simulation = {"--from": flags.first, "--to": flags.last, "--seed": flags.seed, "--truth": flags.truth,
                  "--to-file": flags.to_file, "--promotions": flags.promotions}
    given = [name for name, value in simulation.items() if value is not None]
    problems = [
        (flags.replay and given, f"{', '.join(given)} belong to a simulation; leave them out, or give --events"),
        (flags.acks and flags.to_file, "--acks is what a broker acknowledged; --to-file sends to none"),
        (flags.limit and not flags.replay, "--limit belongs to --replay; --events N simulates exactly N records"),
        ((flags.first is None) != (flags.last is None), "--from and --to go together; give both days, or none for now"),
        (flags.last and flags.last >= today,
         f"--to {flags.last} is not over yet: in {settings.shop.time_zone} it is {today}; give a day before it"),
        (flags.to_file and not flags.first, "--to-file writes history: give --from and --to"),
        (flags.promotions and not flags.first, "--promotions are those of a history: give --from and --to"),
        (flags.seed is not None and flags.seed < 0, f"--seed {flags.seed} is negative; give 0 or more"),
        (not 0 <= flags.delay <= 3600, f"--delay {flags.delay:g} is out of range; give 0 to 3600 seconds"),
    ]
    for is_wrong, message in problems:
        if is_wrong:
            raise ConfigError(message)


def write_file(records: "Iterable[SimulatedRecord]", flags: argparse.Namespace, truth: "Truth | None") -> int:
    """Write a simulated history to --to-file."""
    for record in show_progress(records, flags.events):
        if truth:
            truth.add(record)
    if truth:
        truth.write(flags.truth)
    result = {"file": flags.to_file, "records": flags.events, "seed": flags.seed, "truth": flags.truth}
    print_result(result, f"wrote {flags.events} records to {flags.to_file} (seed {flags.seed})", flags.json)
    return EXIT_OK


def send(
    records: "Iterable[SimulatedRecord] | Iterable[SourceRecord]", flags: argparse.Namespace, settings: Settings,
    truth: "Truth | None" = None, reader: "SourceReader | None" = None,
) -> int:
    """Send the records, wait for the broker's word on each, and report; Ctrl-C ends it between two records."""
    import kafka

    observe = connect(kafka, kafka.KafkaConsumer, settings, allow_auto_create_topics=False)
    with closing(observe) as observer, open_acks(flags.acks) as acks, stop_on_signals() as stop:
        deliveries = Deliveries(acks)
        check_topic(observer, settings)
        with open_sender(kafka, settings, deliveries) as send_one:
            for record in show_progress(records, flags.events or flags.limit):
                if stop.is_set() or not send_one(record):
                    break
                if truth:
                    truth.add(cast("SimulatedRecord", record))
                if flags.delay:
                    stop.wait(flags.delay)
        result = {**deliveries.summary(), "interrupted": stop.is_set(), "seed": flags.seed,
                  "bad_lines": reader.bad_lines if reader else 0, "truth": None if deliveries.errors else flags.truth,
                  "end_offsets": find_end_offsets(observer, settings.kafka.topic)}
    for warning in reader.warnings() if reader else ():
        LOG.warning(warning)
    if truth and not deliveries.errors:
        truth.write(flags.truth)
    print_result(result, "\n".join(f"{name:>12}: {value}" for name, value in result.items()), flags.json)
    deliveries.check()
    return EXIT_INTERRUPTED if result["interrupted"] else EXIT_OK


def check_topic(observer: "KafkaConsumer", settings: Settings) -> None:
    """Refuse a topic that does not exist; sending must not create it with the broker's defaults."""
    topic, topics = settings.kafka.topic, sorted(observer.topics())
    if topic not in topics:
        raise SourceError(f"the topic {topic!r} (kafka.topic) does not exist at {settings.bootstrap_servers}; there "
                          f"are {', '.join(topics) or 'none'}. See kafka/topics.yaml and kafka/broker.py")


def find_end_offsets(observer: "KafkaConsumer", topic: str) -> dict[int, int] | None:
    """Give the topic's end offsets by partition; None when the broker does not answer any more."""
    from kafka import TopicPartition
    from kafka.errors import KafkaError

    with suppress(KafkaError):
        ends = observer.end_offsets([TopicPartition(topic, number) for number in observer.partitions_for_topic(topic)])
        return {partition.partition: ends[partition] for partition in sorted(ends)}
    return None


def show_progress(records: Iterable[Any], total: int | None) -> Iterable[Any]:
    """Show a bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(records, total=total, unit=" records", unit_scale=True, file=sys.stderr, disable=None)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Let Ctrl-C and TERM end the sending between two records, so that all that was sent is accounted for."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
