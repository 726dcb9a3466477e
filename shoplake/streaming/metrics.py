"""What a running stream tells Prometheus; the same figures of each batch stand in ops.ledger."""

import json
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_SECONDS = (1, 2, 5, 10, 20, 60, 120, 300)
_PLACES = {"silver": "silver_count", "duplicates": "duplicate_count", "quarantine": "quarantine_count"}


class StreamMetrics:
    """The stream's figures since it started: `totals` for its report, `registry` for Prometheus."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(("batches", "records", *_PLACES), 0)
        at = CollectorRegistry()
        self.registry = at
        self._records = Counter(
            "shoplake_records", "Records taken in, by the table that they went to", ["table"], registry=at)
        self._late = Counter("shoplake_late_events", "Events of silver that came late", registry=at)
        self._broken = Counter("shoplake_rule_failures", "Records that broke a rule, by rule", ["rule"], registry=at)
        self._seconds = Histogram(
            "shoplake_batch_seconds", "Seconds that a batch took", buckets=_BATCH_SECONDS, registry=at)
        self._last = Gauge("shoplake_last_batch_timestamp_seconds", "UNIX time of the newest ledger row", registry=at)
        self._lag = Gauge("shoplake_lag_records", "Records that wait in the topic", ["partition"], registry=at)
        self._state = Gauge("shoplake_state_rows", "Rows of stream state; this stream keeps none", registry=at)

    def add_batch(self, row: Mapping[str, Any], seconds: float) -> None:
        """Count a batch that has ended.

        Args:
            row: its row of ops.ledger.
        """
        self.totals["batches"] += 1
        self.totals["records"] += row["bronze_count"]
        for table, count in _PLACES.items():
            self.totals[table] += row[count]
            self._records.labels(table).inc(row[count])
        self._late.inc(row["late_count"])
        for rule in row["rules"]:
            self._broken.labels(rule["rule"]).inc(rule["failed"])
        self._seconds.observe(seconds)
        self._last.set_to_current_time()

    def set_progress(self, progress: Mapping[str, Any] | None) -> None:
        """Take over what Spark says of the query, of its newest trigger that has ended; None before its first batch."""
        if progress is None:
            return
        self._state.set(sum(operator["numRowsTotal"] for operator in progress["stateOperators"]))
        for source in progress["sources"]:
            ends = _read_offsets(source["endOffset"])
            for partition, latest in _read_offsets(source["latestOffset"]).items():
                if partition in ends:
                    self._lag.labels(partition).set(latest - ends[partition])


def _read_offsets(document: Any) -> dict[str, int]:
    """Read Spark's offsets of one topic, '{"events": {"0": 17}}'; none while it writes null or None."""
    topics = json.loads(document) if str(document).startswith("{") else {}
    return {partition: offset for topic in topics.values() for partition, offset in topic.items()}
