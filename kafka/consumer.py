"""Print the topic's events, one JSON line each, and then how far the consumer group lags behind each partition.

Goes on from the group's committed offsets (kafka.consumer_group), or from the beginning where there are none; commits
what it has printed; ends after --timeout seconds without an event. Spark keeps its own offsets: reading here takes
nothing away from the lake.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, load_settings
from shoplake.topics import connect

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

_POLL_RECORDS = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-messages", type=int, metavar="N", help="stop after N events (default: no limit)")
    parser.add_argument("--from-beginning", action="store_true", help="begin at the first event")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="S", help="end after S idle seconds (3)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the events in it, at the end")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Print the events and the lag."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    if flags.max_messages is not None and flags.max_messages < 1:
        raise ConfigError(f"--max-messages {flags.max_messages} is out of range; give 1 or more, or leave it out")
    if not 0 < flags.timeout <= 86_400:
        raise ConfigError(f"--timeout {flags.timeout:g} is out of range; give more than 0 and at most 86400 seconds")
    import kafka

    try:
        with closing(connect(
                kafka, kafka.KafkaConsumer, settings, group_id=settings.kafka.consumer_group, enable_auto_commit=False,
                auto_offset_reset="earliest", allow_auto_create_topics=False)) as consumer:
            partitions = assign_partitions(consumer, settings, flags.from_beginning)
            messages = []
            for message in read_messages(consumer, flags.max_messages, flags.timeout):
                if flags.json:
                    messages.append(message)
                else:
                    print(json.dumps(message, ensure_ascii=False))
            lag = measure_lag(consumer, partitions)
    except kafka.errors.KafkaError as error:
        raise SourceError(
            f"Kafka at {settings.bootstrap_servers} does not answer ({type(error).__name__}: {error}). "
            "Look at it with: python kafka/broker.py status"
        ) from error
    result = {"topic": settings.kafka.topic, "group": settings.kafka.consumer_group, "messages": messages, "lag": lag}
    text = "\n".join(f"partition {number}: lag {behind}" for number, behind in lag.items())
    print_result(result, f"{text}\nlag of group {settings.kafka.consumer_group}: {sum(lag.values())}", flags.json)
    return EXIT_OK


def assign_partitions(consumer: "KafkaConsumer", settings: Settings, from_beginning: bool) -> "list[TopicPartition]":
    """Take all partitions of the topic, without the seconds that joining a group costs a short look.

    Raises:
        SourceError: the topic does not exist.
    """
    from kafka import TopicPartition

    topics = sorted(consumer.topics())
    topic = settings.kafka.topic
    if topic not in topics:
        raise SourceError(
            f"the topic {topic!r} (kafka.topic) does not exist at {settings.bootstrap_servers}; there are "
            f"{', '.join(topics) or 'none'}. kafka/topics.yaml names those that python kafka/broker.py start makes"
        )
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    if from_beginning:
        consumer.seek_to_beginning(*partitions)
    return partitions


def read_messages(consumer: "KafkaConsumer", most: int | None, timeout: float) -> Iterator[dict[str, Any]]:
    """Give events until `most` are given or none came for `timeout` seconds; commit those that were taken from here."""
    from kafka import OffsetAndMetadata, TopicPartition

    taken = 0
    while most is None or taken < most:
        wanted = _POLL_RECORDS if most is None else min(_POLL_RECORDS, most - taken)
        batch = consumer.poll(timeout_ms=int(timeout * 1000), max_records=wanted)
        if not batch:
            return
        for record in (record for records in batch.values() for record in records):
            yield describe(record)
            taken += 1
        consumer.commit({
            TopicPartition(records[-1].topic, records[-1].partition): OffsetAndMetadata(records[-1].offset + 1, "", -1)
            for records in batch.values()
        })


def describe(record: Any) -> dict[str, Any]:
    """Give an event as a person reads it; bytes that are no UTF-8 stay visible as escapes."""
    return {
        "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp,
        "key": decode(record.key), "value": decode(record.value),
        **({"headers": {name: decode(value) for name, value in record.headers}} if record.headers else {}),
    }


def decode(content: bytes | None) -> str | None:
    """Read bytes as text."""
    return None if content is None else content.decode(errors="backslashreplace")


def measure_lag(consumer: "KafkaConsumer", partitions: "list[TopicPartition]") -> dict[int, int]:
    """Give, by partition, how many events lie after the group's position."""
    ends = consumer.end_offsets(partitions)
    return {partition.partition: ends[partition] - consumer.position(partition) for partition in partitions}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
