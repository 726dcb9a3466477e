"""The planted reasons, against the rules themselves: DuckDB judges what the bytes say, typed by the contract."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from shoplake.contract.events import EXCHANGE_RATE_TYPE, FIELDS
from shoplake.quality.rules import event_rules
from shoplake.settings import Settings, load_settings
from shoplake.simulation import Kind, SimulatedRecord, simulate_history
from shoplake.simulation.texts import CORRUPTIONS

TYPES = {"TIMESTAMP": "TIMESTAMPTZ", "STRING": "VARCHAR", "DECIMAL(18,4)": "DECIMAL(18,4)", "INT": "INT",
         "BOOLEAN": "BOOLEAN"}
FORMS = {
    "TIMESTAMP": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    "DECIMAL(18,4)": r"-?\d{1,14}(\.\d{1,4})?", "INT": r"-?\d{1,9}", "BOOLEAN": "true|false", "STRING": r"(?s).*",
}
DEFAULTS = {"currency": "GBP", "is_guest": "false", "schema_version": "1", "event_id": "derived"}


def read_texts(value: bytes) -> dict[str, str] | None:
    """Read each field as the text that stands in the JSON; None if that is no JSON object."""
    try:
        document = json.loads(value.decode(), parse_float=str, parse_int=str)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(document, dict):
        return None
    return {name: str(item).lower() if isinstance(item, bool) else item for name, item in document.items()
            if item is not None}


def judge(record: SimulatedRecord, settings: Settings, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Give the names of the quarantining rules that the record fails."""
    texts = read_texts(record.value)
    if texts is None:
        return ("json_valid",)
    is_scalar = not any(isinstance(text, list) for text in texts.values())
    texts = {name: json.dumps(text) if isinstance(text, list) else text for name, text in texts.items()}
    typed: dict[str, Any] = {}
    for field in FIELDS:
        text = texts.get(field.name, DEFAULTS.get(field.name))
        typed[field.name] = text if text is not None and re.fullmatch(FORMS[field.type], text) else None
    if typed["event_time"]:
        typed["event_time"] = re.sub(r"(\.\d{6})\d+", r"\1", typed["event_time"])
    columns = [f"CAST(${field.name} AS {TYPES[field.type]}) AS {field.name}" for field in FIELDS]
    is_clean = not any(re.search(r"[\x00-\x1f\x7f]", text) for text in texts.values())
    sent = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=record.timestamp_ms)
    columns += ["TRUE AS is_json", "$is_scalar AS is_scalar", "$is_clean AS is_text_clean",
                "$sent::TIMESTAMPTZ AS ingest_time", f"CAST(NULL AS {EXCHANGE_RATE_TYPE}) AS exchange_rate"]
    candidate = f"SELECT {', '.join(columns)}"
    rules = [rule for rule in event_rules(settings.quality, settings.shop) if rule.on_failure == "quarantine"]
    verdicts = connection.execute(
        f"SELECT {', '.join(f'({rule.expression}) IS FALSE' for rule in rules)} FROM ({candidate})",
        {**typed, "is_scalar": is_scalar, "is_clean": is_clean, "sent": sent}).fetchone()
    assert verdicts
    return tuple(sorted(rule.name for rule, is_broken in zip(rules, verdicts, strict=True) if is_broken))


@pytest.fixture(scope="module")
def settings() -> Settings:
    base = load_settings("local")
    return base.model_copy(update={"simulation": base.simulation.model_copy(update={
        "products": 30, "corrupt_share": 0.4, "future_share": 0.05, "duplicate_share": 0.05})})


@pytest.fixture(scope="module")
def records(settings: Settings) -> list[SimulatedRecord]:
    return list(simulate_history(date(2026, 3, 1), date(2026, 3, 5), 900, 2, settings))


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def test_every_record_fails_exactly_the_rules_that_it_was_planted_to_fail(
    records: list[SimulatedRecord], settings: Settings, connection: duckdb.DuckDBPyConnection,
) -> None:
    for record in records:
        planted = tuple(reason for reason in record.reasons if reason != "conflicting_duplicate")
        assert judge(record, settings, connection) == planted, record


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_each_corruption(
    corruption: Any, records: list[SimulatedRecord], settings: Settings, connection: duckdb.DuckDBPyConnection,
) -> None:
    good = next(record for record in records if record.kind is Kind.NORMAL and record.event["schema_version"] == 2)
    value = corruption.apply(good.event, settings.shop.currency)
    broken = SimulatedRecord(**{name: getattr(good, name) for name in SimulatedRecord.__slots__} | {"value": value})
    assert judge(broken, settings, connection) == tuple(sorted(corruption.reasons))
