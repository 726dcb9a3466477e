"""Logging for the shells: one line a record, on stderr, so that stdout stays for results; no secret is written."""

import logging
import sys
import threading
import time
import traceback
from types import TracebackType

from shoplake.redaction import redact
from shoplake.settings import hide_secrets, own_secrets


class _RedactingFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime
        self._secrets = own_secrets()

    def format(self, record: logging.LogRecord) -> str:
        """Write the record with its traceback, if it has one, without secrets."""
        return redact(super().format(record), self._secrets)


def configure_logging(level: str = "INFO") -> None:
    """Send log records of `level` and above to stderr with UTC times; secrets in them, and in tracebacks, are hidden.

    Libraries (kafka-python, py4j) speak only from WARNING on: their INFO lines bury ours.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # The client logs every failed try as an error; what matters reaches the shell as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # It warns of statements that it cannot read, and those are refused in our own words.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    logging.getLogger("shoplake").setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _print_traceback
    threading.excepthook = lambda of: _print_traceback(of.exc_type, of.exc_value, of.exc_traceback)


def _print_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None,
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(hide_secrets(text))
