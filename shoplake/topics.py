"""A topic as its broker knows it, and how far the lake is behind it."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from shoplake.errors import SourceError
from shoplake.settings import Settings


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


def look_up_topic(kafka: Any, settings: Settings) -> Topic:
    """Ask the broker for the id and the end offsets of the settings' topic, within kafka.delivery_timeout.

    Args:
        kafka: kafka-python's module of that name; the package itself knows no client.

    Raises:
        SourceError: no broker answers, or it has no such topic.
    """
    servers, name = settings.bootstrap_servers, settings.kafka.topic
    limit_ms = settings.kafka.delivery_timeout * 1000
    try:
        with closing(kafka.KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=limit_ms)) as admin, \
                closing(kafka.KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)) as consumer:
            known = {topic["name"]: topic for topic in admin.describe_topics()}
            if name not in known:
                visible = ", ".join(sorted(topic for topic in known if not topic.startswith("__"))) or "none"
                raise SourceError(f"the broker at {servers} has no topic {name!r} (kafka.topic); it has: {visible}. "
                                  "Topics are made by: python kafka/broker.py start")
            partitions = [kafka.TopicPartition(name, part["partition_index"]) for part in known[name]["partitions"]]
            ends = {part.partition: end for part, end in consumer.end_offsets(partitions).items()}
    except kafka.errors.KafkaError as error:
        raise SourceError(
            f"no Kafka broker answers at {servers} ({error}). Look with: python kafka/broker.py status") from error
    return Topic(name, str(known[name]["topic_id"]), ends)
