"""The rules that every event must pass.

A rule is an SQL expression that Spark and DuckDB read alike, over the typed candidate row that
`shoplake.streaming.parse` makes: the contract's fields (NULL where a text could not be typed), `exchange_rate` (NULL
for the shop's currency and for one without a rate), `is_json`, `is_scalar`, `is_text_clean` and `ingest_time`. As in a
CHECK constraint, a rule fails where its expression is FALSE; NULL passes, because a missing value has a rule of its
own. Where `is_json` is false only `json_valid` speaks.
"""

from dataclasses import dataclass
from typing import Literal

from shoplake.contract.events import EVENT_TYPES, FIRST_EVENT_TIME, MAX_TEXT_LENGTH, SCHEMA_VERSIONS
from shoplake.sections import QualitySettings, ShopSettings

OnFailure = Literal["mark", "quarantine", "fail"]

# The verdicts that no expression over one row can give.
CONFLICTING_DUPLICATE = "conflicting_duplicate"
JSON_VALID = "json_valid"
NOT_LATE = "not_late"
MAX_AMOUNT = 10**12


@dataclass(frozen=True)
class Rule:
    """One rule: `expression` is TRUE or NULL for a good row; `on_failure` says what becomes of a bad one."""

    name: str
    expression: str
    why: str
    on_failure: OnFailure = "quarantine"


def event_rules(quality: QualitySettings, shop: ShopSettings) -> tuple[Rule, ...]:
    """Give the rules in the order in which a person would ask them."""
    texts = ("user_id", "product_id", "category", "event_id", "order_id", "session_id", "brand", "source")
    bounded = " AND ".join(f"coalesce(length({name}) <= {MAX_TEXT_LENGTH}, TRUE)" for name in texts)
    return (
        Rule(JSON_VALID, "is_json", "the value is one JSON object in UTF-8"),
        Rule("event_time_valid", "event_time IS NOT NULL",
             "ISO 8601 with an offset; without one the moment is unknown"),
        Rule("event_time_not_future", f"event_time <= ingest_time + INTERVAL '{quality.future_tolerance}' MINUTE",
             "a clock far ahead would open days and windows that have not happened"),
        Rule("event_time_not_ancient", f"event_time >= CAST('{FIRST_EVENT_TIME}' AS TIMESTAMP)",
             "an unset clock (1970 or year 1), not a sale"),
        _present("user_id"), _present("product_id"), _present("category"),
        Rule("price_valid", "price IS NOT NULL",
             "a plain decimal with at most 4 decimals; rounding would change money"),
        Rule("price_not_negative", "price >= 0", "a unit price; returns are order_cancelled events"),
        Rule("quantity_valid", "quantity IS NOT NULL", "a whole number"),
        Rule("quantity_positive", "quantity > 0", "returns and stock adjustments are no orders"),
        Rule("amount_bounded", f"price * quantity <= {MAX_AMOUNT} AND (exchange_rate IS NULL OR "
             f"CAST(price * quantity AS DOUBLE) * CAST(exchange_rate AS DOUBLE) <= {MAX_AMOUNT})",
             "sums must never overflow DECIMAL(28,4)"),
        Rule("event_type_known", f"event_type IS NOT NULL AND event_type IN ({', '.join(map(repr, EVENT_TYPES))})",
             "an unknown type has no meaning in any measure"),
        Rule("event_id_present", "event_id <> ''", "an empty identity would merge unrelated events"),
        Rule("currency_supported", f"currency = '{shop.currency}' OR exchange_rate IS NOT NULL",
             "without an exchange rate of its day an amount cannot be added to others"),
        Rule("is_guest_valid", "is_guest IS NOT NULL", "true or false"),
        Rule("schema_version_supported",
             f"schema_version IS NOT NULL AND schema_version IN ({', '.join(map(str, SCHEMA_VERSIONS))})",
             "a breaking version must not be read as if it were known"),
        Rule("fields_scalar", "is_scalar",
             "a list or an object in the place of a value: a breaking change must not be read as text"),
        Rule("text_bounded", bounded, f"identifiers longer than {MAX_TEXT_LENGTH} characters are not identifiers"),
        Rule("text_clean", "is_text_clean", "control characters would make the canonical text ambiguous"),
        Rule(NOT_LATE, f"event_time >= ingest_time - INTERVAL '{quality.late_after}' MINUTE",
             "late rows are kept and marked, and restate windows and gold", on_failure="mark"),
    )


def _present(name: str) -> Rule:
    return Rule(f"{name}_present", f"{name} IS NOT NULL AND {name} <> ''", "without it the event belongs to nothing")
