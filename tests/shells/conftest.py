"""What the tests of Kafka's shells share."""

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest


@pytest.fixture
def topic(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a new topic of three partitions, and point the settings and a consumer group at it."""
    from kafka.admin import KafkaAdminClient, NewTopic

    name = f"test_{uuid4().hex}"
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.create_topics([NewTopic(name, 3, 1)], timeout_ms=30_000, wait_for_metadata=True)
        monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", broker)
        monkeypatch.setenv("SHOPLAKE_KAFKA__TOPIC", name)
        monkeypatch.setenv("SHOPLAKE_KAFKA__CONSUMER_GROUP", f"group_{name}")
        yield name
        admin.delete_topics([name])
