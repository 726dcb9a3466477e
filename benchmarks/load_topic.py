"""Fill a topic of the benchmark's broker with simulated history, or send simulated events now at a steady rate.

Runs in the peers' environment, because confluent-kafka sends five times as fast as the platform's own producer, whose
records these are: the same bytes, keys, timestamps and partitions. A topic is made of blocks of 30 days, each of
--events records; topics of one size of block begin with the same records. A topic that is full already is left alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Any

from shoplake.outcome import run_to_exit_code
from shoplake.settings import Settings, load_settings

FIRST_DAY = date(2026, 1, 1)
BLOCK_DAYS = 30
SEED = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="records of one block")
    parser.add_argument("--blocks", type=int, default=1, metavar="N", help="so many times 30 days")
    parser.add_argument("--rate", type=float, metavar="R", help="send --events records now, R a second")
    parser.add_argument("--in-memory", action="store_true",
                        help="simulate first, then send: the time told is that of sending alone")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: load(flags))


def load(flags: argparse.Namespace) -> int:
    """Make the topic, send what it lacks, and print what was sent as one JSON object."""
    from confluent_kafka import Producer

    settings = load_settings()
    missing = flags.rate or make_topic(flags) < flags.events * flags.blocks
    producer = Producer({
        "bootstrap.servers": flags.servers, "enable.idempotence": True, "acks": "all",
        "partitioner": "murmur2_random",  # Kafka's own, as kafka-python's
        "log_level": 2, "linger.ms": 20, "batch.size": 1 << 18, "queue.buffering.max.messages": 200_000,
    })
    simulate = simulate_now if flags.rate else simulate_blocks
    records = simulate(flags, settings) if missing else ()
    if flags.in_memory:
        records = list(records)
    started, used = time.monotonic(), time.process_time()
    sent = send(producer, flags, records)
    print(json.dumps({"topic": flags.topic, "sent": sent, "wall_seconds": time.monotonic() - started,
                      "cpu_seconds": time.process_time() - used}))
    return 0


def make_topic(flags: argparse.Namespace) -> int:
    """Make the topic as kafka/topics.yaml would, and give how many records it holds."""
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": flags.servers})
    if flags.topic not in admin.list_topics(timeout=20).topics:
        config = {"retention.ms": "-1", "message.timestamp.after.max.ms": "300000"}
        admin.create_topics([NewTopic(flags.topic, 3, 1, config=config)])[flags.topic].result(20)
        while not all(part.leader >= 0 for part in find_partitions(admin, flags.topic)):
            time.sleep(0.1)
        return 0
    consumer = Consumer({"bootstrap.servers": flags.servers, "group.id": "none"})
    ends = [consumer.get_watermark_offsets(TopicPartition(flags.topic, part), timeout=20) for part in range(3)]
    consumer.close()
    held = int(sum(end for _, end in ends))
    if not flags.rate and held not in (0, flags.events * flags.blocks):
        raise SystemExit(f"error: the topic {flags.topic} holds {held} records of another run; remove the benchmark's "
                         "data folder and start again")
    return held


def find_partitions(admin: Any, topic: str) -> list[Any]:
    """Give what the broker tells of each partition; one without a leader yet as long as it tells nothing."""
    partitions = admin.list_topics(topic, timeout=20).topics[topic].partitions
    return list(partitions.values()) or [argparse.Namespace(leader=-1)]


def simulate_blocks(flags: argparse.Namespace, settings: Settings) -> Iterable[Any]:
    """Give the blocks' records in their order."""
    from shoplake.simulation import simulate_history

    for block in range(flags.blocks):
        first = FIRST_DAY + timedelta(days=BLOCK_DAYS * block)
        yield from simulate_history(first, first + timedelta(days=BLOCK_DAYS - 1), flags.events, SEED, settings)


def simulate_now(flags: argparse.Namespace, settings: Settings) -> Iterable[Any]:
    """Give records of now, each made when its turn comes."""
    from shoplake.simulation import simulate_live

    records = iter(simulate_live(flags.events, SEED, settings, lambda: time.time_ns() // 1_000_000))
    started = time.monotonic()
    for number in range(0, flags.events, step := max(1, int(flags.rate / 20))):
        time.sleep(max(0.0, started + number / flags.rate - time.monotonic()))
        yield from islice(records, min(step, flags.events - number))


def send(producer: Any, flags: argparse.Namespace, records: Iterable[Any]) -> int:
    """Send the records and wait until the broker has them all."""
    failures: list[str] = []

    def note(error: Any, _: Any) -> None:
        if error is not None:
            failures.append(str(error))

    sent = 0
    for record in records:
        while True:
            try:
                producer.produce(flags.topic, record.value, record.key, timestamp=record.timestamp_ms, on_delivery=note)
                break
            except BufferError:
                producer.poll(0.05)
        sent += 1
        if sent % 1000 == 0 or flags.rate:
            producer.poll(0)
    left = producer.flush(120)
    if left or failures:
        raise SystemExit(f"error: {left} records were not acknowledged, {len(failures)} failed: {failures[:1]}")
    return sent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
