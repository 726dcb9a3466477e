"""What a running stream tells Prometheus; the same figures of each batch stand in ops.ledger."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_SECONDS = (1, 2, 5, 10, 20, 60, 120, 300)
_PLACES = {"silver": "silver_count", "duplicates": "duplicate_count", "quarantine": "quarantine_count",
           "erased": "erased_count"}


class StreamMetrics:
    """The stream's figures since it started: `totals` for its report, `registry` for Prometheus.

    Args:
        count_waiting: counts the records that wait in the topic; asked at each scrape, in a thread of its own.
    """

    def __init__(self, count_waiting: Callable[[], float]) -> None:
        self.totals = dict.fromkeys(("batches", "records", *_PLACES), 0)
        at = CollectorRegistry()
        self.registry = at
        self._records = Counter(
            "shoplake_records", "Records taken in, by the table that they went to", ["table"], registry=at)
        self._late = Counter("shoplake_late_events", "Events of silver that came late", registry=at)
        self._broken = Counter("shoplake_rule_failures", "Records that broke a rule, by rule", ["rule"], registry=at)
        self._seconds = Histogram(
            "shoplake_batch_seconds", "Seconds that a batch took", buckets=_BATCH_SECONDS, registry=at)
        self._last = Gauge("shoplake_last_batch_timestamp_seconds",
                           "UNIX time of the newest ledger row; before the first one that of the start", registry=at)
        self._last.set_to_current_time()
        Gauge("shoplake_lag_records", "Records that wait in the topic; NaN where the broker does not say",
              registry=at).set_function(count_waiting)
        Gauge("shoplake_state_rows", "Rows of stream state; this stream keeps none", registry=at).set(0)

    def add_batch(self, row: Mapping[str, Any]) -> None:
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
        self._seconds.observe(row["batch_seconds"])
        self._last.set_to_current_time()
