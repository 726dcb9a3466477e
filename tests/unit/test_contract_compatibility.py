"""What senders and readers were promised of an event stays: only additive changes of the contract pass."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from shoplake.contract.events import EVENT_TYPES, FIELDS, SCHEMA_VERSIONS, Field

# What was published; a release adds lines, and never takes one away or changes it.
PROMISED_FIELDS = {
    # name: (type, since, whether every record must bring it or a default stands for it)
    "event_time": ("TIMESTAMP", 1, True), "user_id": ("STRING", 1, True), "product_id": ("STRING", 1, True),
    "category": ("STRING", 1, True), "price": ("DECIMAL(18,4)", 1, True), "quantity": ("INT", 1, True),
    "event_type": ("STRING", 1, True),
    "event_id": ("STRING", 2, True), "order_id": ("STRING", 2, False), "session_id": ("STRING", 2, False),
    "brand": ("STRING", 2, False), "currency": ("STRING", 2, True), "is_guest": ("BOOLEAN", 2, True),
    "source": ("STRING", 2, False), "schema_version": ("INT", 2, True),
}
PROMISED_EVENT_TYPES = {"product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled"}
PROMISED_VERSIONS = {1, 2}


def find_breaks(fields: Sequence[Field], event_types: Iterable[str], versions: Iterable[int]) -> list[str]:
    """Name each promise that the contract would break."""
    by_name = {field.name: field for field in fields}
    breaks = [f"event_type {name} is gone" for name in sorted(PROMISED_EVENT_TYPES - set(event_types))]
    breaks += [f"version {version} is gone" for version in sorted(PROMISED_VERSIONS - set(versions))]
    for name, promised in PROMISED_FIELDS.items():
        field = by_name.get(name)
        if field is None:
            breaks.append(f"{name} is gone, or has another name")
        elif (field.type, field.since, field.required) != promised:
            breaks.append(f"{name} is {field.type}, since {field.since}, required: {field.required}; was {promised}")
    for field in fields:
        if field.name not in PROMISED_FIELDS and (field.required or field.since <= max(PROMISED_VERSIONS)):
            breaks.append(f"{field.name} is new: optional, and of a version of its own")
    if [field.name for field in fields[:len(PROMISED_FIELDS)]] != list(PROMISED_FIELDS):
        # The identity of a v1 event and the content_hash are texts of the fields in this order.
        breaks.append("the order of the fields changed; new ones come last")
    return breaks


def test_the_contract_keeps_its_promises() -> None:
    assert find_breaks(FIELDS, EVENT_TYPES, SCHEMA_VERSIONS) == []


def test_an_additive_change_passes() -> None:
    more = (*FIELDS, Field("campaign", "STRING", 3, False, "Where the shopper came from"))
    assert find_breaks(more, (*EVENT_TYPES, "order_returned"), (*SCHEMA_VERSIONS, 3)) == []


def changed(which: str, **changes: object) -> tuple[Field, ...]:
    return tuple(replace(field, **changes) if field.name == which else field for field in FIELDS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("fields", "event_types", "versions"), [
    pytest.param(FIELDS[:-1], EVENT_TYPES, SCHEMA_VERSIONS, id="a field gone"),
    pytest.param(changed("user_id", name="customer_id"), EVENT_TYPES, SCHEMA_VERSIONS, id="renamed"),
    pytest.param(changed("price", type="DOUBLE"), EVENT_TYPES, SCHEMA_VERSIONS, id="money as a float"),
    pytest.param(changed("price", type="DECIMAL(18,2)"), EVENT_TYPES, SCHEMA_VERSIONS, id="fewer decimals"),
    pytest.param(changed("quantity", type="STRING"), EVENT_TYPES, SCHEMA_VERSIONS, id="another type"),
    pytest.param(changed("brand", required=True), EVENT_TYPES, SCHEMA_VERSIONS, id="required from now on"),
    pytest.param(changed("event_id", required=False), EVENT_TYPES, SCHEMA_VERSIONS, id="readers find NULL"),
    pytest.param((*FIELDS, Field("shop", "STRING", 3, True, "Which")), EVENT_TYPES, SCHEMA_VERSIONS,
                 id="a new field required"),
    pytest.param((*FIELDS, Field("shop", "STRING", 2, False, "Which")), EVENT_TYPES, SCHEMA_VERSIONS,
                 id="a new field of an old version"),
    pytest.param((FIELDS[1], FIELDS[0], *FIELDS[2:]), EVENT_TYPES, SCHEMA_VERSIONS, id="another order"),
    pytest.param(FIELDS, EVENT_TYPES[1:], SCHEMA_VERSIONS, id="an event type gone"),
    pytest.param(FIELDS, EVENT_TYPES, SCHEMA_VERSIONS[1:], id="version 1 refused"),
])
def test_a_breaking_change_is_refused(
    fields: Sequence[Field], event_types: Iterable[str], versions: Iterable[int],
) -> None:
    assert find_breaks(fields, event_types, versions) != []
