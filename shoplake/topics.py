"""A topic as its broker knows it, and how far the lake is behind it."""

from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from shoplake.broker_security import client_security
from shoplake.errors import SourceError
from shoplake.settings import Settings

_SHORT_SECONDS = 3  # Prometheus gives a scrape ten


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


def connect(
    kafka: Any, client: type, settings: Settings, *, timeout: float | None = None, address: str = "", **options: Any,
) -> Any:
    """Make one of kafka-python's clients, connected within kafka.delivery_timeout, or `timeout` seconds.

    Args:
        kafka: kafka-python's module of that name; the package itself knows no client.
        client: KafkaConsumer, KafkaProducer or KafkaAdminClient of it.
        address: of a broker that the settings do not name yet.

    Raises:
        ConfigError: the broker wants a login, and user or password is missing.
        SourceError: no broker answers, or it refuses the login.
    """
    limit = timeout or settings.kafka.delivery_timeout
    try:
        return client(
            bootstrap_servers=(address or settings.bootstrap_servers).split(","),
            bootstrap_timeout_ms=int(1000 * limit), request_timeout_ms=int(500 * limit), **client_security(settings),
            **options)
    except kafka.errors.SaslAuthenticationFailedError as error:
        raise SourceError(f"the broker at {settings.bootstrap_servers} refuses the login (kafka.sasl_username, "
                          "kafka.sasl_secret)") from error
    except kafka.errors.KafkaError as error:
        raise _no_answer(settings, limit, error) from error


def look_up_topic(kafka: Any, settings: Settings, timeout: float | None = None) -> Topic:
    """Ask the broker for the id and the end offsets of the settings' topic; time-outs as in `connect`.

    Args:
        kafka: kafka-python's module of that name.

    Raises:
        SourceError: no broker answers, or it has no such topic.
    """
    servers, name = settings.bootstrap_servers, settings.kafka.topic
    try:
        with closing(connect(kafka, kafka.KafkaAdminClient, settings, timeout=timeout)) as admin, closing(
                connect(kafka, kafka.KafkaConsumer, settings, timeout=timeout, enable_auto_commit=False)) as consumer:
            known = {topic["name"]: topic for topic in admin.describe_topics()}
            if name not in known:
                visible = ", ".join(sorted(topic for topic in known if not topic.startswith("__"))) or "none"
                raise SourceError(f"the broker at {servers} has no topic {name!r} (kafka.topic); it has: {visible}. "
                                  "Topics are made by: python kafka/broker.py start")
            partitions = [kafka.TopicPartition(name, part["partition_index"]) for part in known[name]["partitions"]]
            ends = {part.partition: end for part, end in consumer.end_offsets(partitions).items()}
    except kafka.errors.KafkaError as error:
        raise _no_answer(settings, timeout or settings.kafka.delivery_timeout, error) from error
    return Topic(name, str(known[name]["topic_id"]), ends)


def have_leaders(admin: Any, names: Collection[str]) -> bool:
    """Tell whether the broker serves every partition of the topics: one that has just started may not yet.

    Args:
        admin: kafka-python's KafkaAdminClient.
    """
    parts = [topic["partitions"] for topic in admin.describe_topics(list(names))]
    return len(parts) == len(names) and all(of_topic and all(part["leader_id"] >= 0 for part in of_topic)
                                            for of_topic in parts)


def find_topic(kafka: Any, settings: Settings) -> Topic | None:
    """Look at the topic as `look_up_topic` does, but not for long; None where that fails, for who can do without."""
    with suppress(Exception):  # whatever it is: no batch and no scrape may fail for a figure
        return look_up_topic(kafka, settings, timeout=_SHORT_SECONDS)
    return None


def _no_answer(settings: Settings, limit: float, error: Exception) -> SourceError:
    has_tls = settings.kafka.security_protocol != "PLAINTEXT"
    why = ", or its certificate is not trusted (kafka.ca_file), or it refuses the login" if has_tls else ""
    return SourceError(
        f"no Kafka broker answers at {settings.bootstrap_servers} within {limit:g} s "
        f"(kafka.delivery_timeout): {type(error).__name__}{why}. Look at it with: python kafka/broker.py status")
