"""Count what the broker said to each record, and keep the unanswered ones within bounds."""

import threading

from shoplake.errors import SourceError

# Kafka-python buffers without a bound; we wait for the broker from here on.
MAX_IN_FLIGHT = 10_000


class Deliveries:
    """The account of one sending; the client's own thread calls `acknowledge` and `fail`.

    Attributes:
        sent: records handed to the client; each ends as acknowledged or as an error.
        first_error: the first delivery error in words.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.first_error: str | None = None
        self._room = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._lock = threading.Lock()

    @property
    def errors(self) -> int:
        """Records that were sent and not acknowledged; final when the client has flushed."""
        return self.sent - self.acknowledged

    def summary(self) -> dict[str, int]:
        """Give the counts for a report."""
        return {"sent": self.sent, "acknowledged": self.acknowledged, "errors": self.errors}

    def start(self, timeout: float) -> bool:
        """Count one more record as sent, as soon as there is room for it.

        Args:
            timeout: seconds to wait for room; False when there is none by then, and nothing is counted.
        """
        if not self._room.acquire(timeout=timeout):
            return False
        self.sent += 1
        return True

    def acknowledge(self, _: object = None) -> None:
        """Count a record that the broker has written."""
        with self._lock:
            self.acknowledged += 1
        self._room.release()

    def fail(self, error: BaseException) -> None:
        """Note a record that the broker has not written."""
        with self._lock:
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"
        self._room.release()

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
