"""What the stream tells Prometheus: each batch, and what waits in the topic; the alert rules name what exists."""

import re
import time

import pytest
import yaml
from prometheus_client import generate_latest

from shoplake.settings import PROJECT_ROOT
from shoplake.streaming.metrics import StreamMetrics

ROW = {"bronze_count": 11, "silver_count": 7, "duplicate_count": 2, "quarantine_count": 1, "erased_count": 1,
       "late_count": 3, "batch_seconds": 2.5,
       "rules": [{"rule": "price_valid", "passed": 9, "failed": 1}, {"rule": "not_late", "passed": 7, "failed": 3}]}


@pytest.fixture
def served() -> dict[str, float]:
    waiting = iter((20, 17))
    metrics = StreamMetrics(lambda: next(waiting))
    for _ in range(2):
        metrics.add_batch(ROW)
    assert b"shoplake_lag_records 20.0" in generate_latest(metrics.registry), "each scrape asks"
    assert metrics.totals == {"batches": 2, "records": 22, "silver": 14, "duplicates": 4, "quarantine": 2, "erased": 2}
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_batches_add_up_and_lag_is_asked_for(served: dict[str, float]) -> None:
    expected = {
        'shoplake_records_total{table="silver"}': 14, 'shoplake_records_total{table="duplicates"}': 4,
        'shoplake_records_total{table="quarantine"}': 2, 'shoplake_records_total{table="erased"}': 2,
        "shoplake_late_events_total": 6,
        'shoplake_rule_failures_total{rule="price_valid"}': 2, "shoplake_lag_records": 17,
        "shoplake_state_rows": 0, "shoplake_batch_seconds_count": 2, "shoplake_batch_seconds_sum": 5,
        'shoplake_batch_seconds_bucket{le="2.0"}': 0, 'shoplake_batch_seconds_bucket{le="5.0"}': 2,
    }
    assert {name: served[name] for name in expected} == expected
    assert served["shoplake_last_batch_timestamp_seconds"] > 0


def test_alerts_ask_for_metrics_that_are_served(served: dict[str, float]) -> None:
    document = yaml.safe_load((PROJECT_ROOT / "configs" / "alerts.yaml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    asked = {name for rule in rules for name in re.findall(r"\bshoplake_\w+", rule["expr"])}
    assert asked <= {name.split("{")[0] for name in served}
    assert all(rule["annotations"]["summary"] for rule in rules)
    runbook = (PROJECT_ROOT / "docs" / "runbook.md").read_text()
    assert all(rule["alert"] in runbook for rule in rules)
    assert all("for" in rule for rule in rules), "a moment is no alert"


def test_a_stream_that_has_just_begun_is_not_stuck() -> None:
    begun = StreamMetrics(lambda: 5).registry.get_sample_value("shoplake_last_batch_timestamp_seconds")
    assert begun is not None
    assert abs(time.time() - begun) < 60
