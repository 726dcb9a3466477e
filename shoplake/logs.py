"""Logging for the shells: one line a record, on stderr, so that stdout stays for results."""

import logging
import sys


def configure_logging(level: str = "INFO") -> None:
    """Send log records of `level` and above to stderr with UTC times.

    Libraries (kafka-python, py4j) speak only from WARNING on: their INFO lines bury ours.
    """
    logging.Formatter.converter = __import__("time").gmtime
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, force=True,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ",
    )
    # The client logs every failed try as an error; what matters reaches the shell as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # It warns of statements that it cannot read, and those are refused in our own words.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    logging.getLogger("shoplake").setLevel(level)
