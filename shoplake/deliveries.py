"""Send records and count what the broker said to each, with the unanswered ones within bounds."""

import csv
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from shoplake.errors import SourceError
from shoplake.settings import Settings
from shoplake.topics import connect

# Kafka-python buffers without a bound; we wait for the broker from here on.
MAX_IN_FLIGHT = 10_000


class Outgoing(Protocol):
    """A record of a simulation, of a file or of the quarantine; it may have an `event_id` and `headers` too."""

    @property
    def key(self) -> bytes | None:
        """What decides the partition."""

    @property
    def value(self) -> bytes | None:
        """The payload."""

    @property
    def timestamp_ms(self) -> int:
        """The record's timestamp, in milliseconds since 1970."""


class Place(Protocol):
    """Where the broker has written a record."""

    partition: int
    offset: int


@contextmanager
def open_acks(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file for `Deliveries`' acknowledged records, which are in it as soon as they are acknowledged."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # By line: what a killed sender was told before stands in the file.
    file = path.open("w", encoding="utf-8", newline="", buffering=1)
    try:
        yield file
    finally:
        with suppress(OSError):  # what could not be written was counted as an error at once
            file.close()


class Deliveries:
    """The account of one sending; the client's own thread calls `acknowledge_record` and `fail`.

    Args:
        acks: gets a CSV line for each acknowledged record: partition, offset, and its event_id or else its value's
            SHA-256. The offset is -1 where the broker said only that a record sent again is there already.

    Attributes:
        sent: records handed to the client; each ends as acknowledged or as an error.
        first_error: the first delivery error in words.
    """

    def __init__(self, acks: TextIO | None = None) -> None:
        self._acks = None if acks is None else csv.writer(acks, lineterminator="\n")
        self.sent = 0
        self.acknowledged = 0
        self.first_error: str | None = None
        self._answered = 0
        self._changed = threading.Condition()

    @property
    def errors(self) -> int:
        """Records that were sent and not acknowledged; final after `finish`."""
        return self.sent - self.acknowledged

    def summary(self) -> dict[str, int]:
        """Give the counts for a report."""
        return {"sent": self.sent, "acknowledged": self.acknowledged, "errors": self.errors}

    def start(self, timeout: float) -> bool:
        """Count one more record as sent, as soon as there is room for it.

        Args:
            timeout: seconds to wait for room; False when there is none by then, and nothing is counted.
        """
        with self._changed:
            has_room = self._changed.wait_for(lambda: self.sent - self._answered < MAX_IN_FLIGHT, timeout)
            self.sent += has_room
            return has_room

    def finish(self, timeout: float) -> bool:
        """Wait until every record sent is answered; False when some are not after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._answered == self.sent, timeout)

    def acknowledge_record(self, record: Outgoing, place: Place) -> None:
        """Count a record that the broker has written, and write it down; what cannot be written down is an error."""
        try:
            if self._acks:
                identity = getattr(record, "event_id", None) or hashlib.sha256(record.value or b"").hexdigest()
                self._acks.writerow((place.partition, place.offset, identity))
        except (OSError, ValueError) as error:  # a ValueError: an answer after the end
            self.fail(error)
        else:
            with self._changed:
                self.acknowledged += 1
                self._note_answer()

    def fail(self, error: BaseException) -> None:
        """Note a record that the broker has not written."""
        with self._changed:
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"
            self._note_answer()

    def _note_answer(self) -> None:
        self._answered += 1
        self._changed.notify_all()

    def check(self) -> None:
        """Refuse to call the sending a success while a record is unacknowledged.

        Raises:
            SourceError: naming the counts and the first error.
        """
        if self.errors:
            raise SourceError(
                f"{self.errors} of {self.sent} records sent were not delivered ({self.acknowledged} acknowledged); "
                f"first: {self.first_error or 'no answer in time'}. "
                "Look at the broker with: python kafka/broker.py status"
            )


@contextmanager
def open_sender(kafka: Any, settings: Settings, deliveries: Deliveries) -> Iterator[Callable[[Outgoing], bool]]:
    """Open an idempotent producer to the settings' topic that waits for all replicas; give what sends one record.

    The function gives False when there is no sense in going on. After the block every record is answered, or counted as
    an error after kafka.delivery_timeout.

    Args:
        kafka: kafka-python's module of that name.

    Raises:
        SourceError: no broker answers.
    """
    limit = settings.kafka.delivery_timeout
    producer = connect(
        kafka, kafka.KafkaProducer, settings, acks="all", enable_idempotence=True, allow_auto_create_topics=False,
        delivery_timeout_ms=1000 * limit, max_block_ms=1000 * limit, linger_ms=20, batch_size=1 << 17)

    def send(record: Outgoing) -> bool:
        if deliveries.first_error or not deliveries.start(limit):
            return False
        try:
            future = producer.send(settings.kafka.topic, record.value, record.key, getattr(record, "headers", []),
                                   timestamp_ms=record.timestamp_ms)
        except kafka.errors.KafkaError as error:
            deliveries.fail(error)
            return False
        future.add_callback(deliveries.acknowledge_record, record).add_errback(deliveries.fail)
        return True

    try:
        yield send
    finally:
        # Not flush(): it gives up on a batch that the client has split.
        if not deliveries.finish(limit + 1):
            producer._sender.force_close()  # else close() leaves its thread and complains at exit
        with suppress(kafka.errors.KafkaError):
            producer.close(timeout=5)
