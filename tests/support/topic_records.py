"""What a topic holds, read by kafka-python's own consumer."""

from contextlib import closing
from typing import Any


def read_topic(broker: str, topic: str) -> list[Any]:
    """Read every record of a topic of three partitions."""
    from kafka import KafkaConsumer, TopicPartition

    with closing(KafkaConsumer(bootstrap_servers=broker)) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(3)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=1000).values():
                records += batch
    return records
