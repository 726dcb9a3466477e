"""A topic as its broker knows it, and how far the lake is behind it; the Kafka clients are given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shoplake.errors import SourceError


@dataclass(frozen=True)
class Topic:
    """The topic as the broker knows it now; `ends` is each partition's next offset."""

    name: str
    id: str
    ends: dict[int, int]

    def lag_behind(self, until: dict[int, int]) -> dict[int, int]:
        """Give by partition how many records lie from `until` on, for the partitions that have any.

        Args:
            until: each partition's first offset that was not taken in; a partition that is missing has none taken in.
        """
        return {part: end - until.get(part, 0) for part, end in self.ends.items() if until.get(part, 0) < end}


def describe_topic(admin: Any, consumer: Any, partition_of: Callable[[str, int], Any], name: str) -> Topic:
    """Ask the broker for the topic's id and end offsets.

    Args:
        admin: a KafkaAdminClient; `consumer` is a KafkaConsumer, and `partition_of` its class TopicPartition.

    Raises:
        SourceError: the broker has no such topic; the message names those that it has.
    """
    known = {topic["name"]: topic for topic in admin.describe_topics()}
    if name not in known:
        visible = ", ".join(sorted(topic for topic in known if not topic.startswith("__"))) or "none"
        raise SourceError(f"the broker has no topic {name!r} (kafka.topic); it has: {visible}. "
                          "Topics are made by: python kafka/broker.py start")
    partitions = [partition_of(name, part["partition_index"]) for part in known[name]["partitions"]]
    ends = {part.partition: end for part, end in consumer.end_offsets(partitions).items()}
    return Topic(name, str(known[name]["topic_id"]), ends)
