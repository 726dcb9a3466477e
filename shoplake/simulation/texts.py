"""Other ways to write an event: some mean the same, some are broken, each with the rules that must say so."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

from shoplake.contract.events import MAX_TEXT_LENGTH, encode_event
from shoplake.simulation.records import sent_fields

Json = dict[str, Any]


def _as_json(event: Mapping[str, Any]) -> Json:
    document: Json = json.loads(encode_event(sent_fields(event)))
    return document


def _dump(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _write_numbers(event: Mapping[str, Any]) -> bytes:
    document = _as_json(event)
    price = document["price"]
    # By text, because a price must not pass through a float.
    return _dump(document).replace(f'"price": "{price}"'.encode(), f'"price": {price}'.encode())


def _write_quantity_as_text(event: Mapping[str, Any]) -> bytes:
    return _dump({**_as_json(event), "quantity": str(event["quantity"])})


def _write_four_decimals(event: Mapping[str, Any]) -> bytes:
    return _dump({**_as_json(event), "price": f"{event['price']:.4f}"})


def _write_nanoseconds(event: Mapping[str, Any]) -> bytes:
    document = _as_json(event)
    return _dump({**document, "event_time": document["event_time"].replace("Z", "789Z")})


def _write_other_offset(event: Mapping[str, Any]) -> bytes:
    local = event["event_time"].astimezone(timezone(timedelta(hours=5, minutes=30)))
    return _dump({**_as_json(event), "event_time": local.isoformat(timespec="microseconds")})


def _write_backwards(event: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(reversed(_as_json(event).items())), ensure_ascii=True, indent=1).encode()


def _write_defaults(event: Mapping[str, Any]) -> bytes:
    defaults = {name: event[name] for name in ("currency", "is_guest", "schema_version")}
    return _dump({**_as_json(event), **defaults, "order_id": event["order_id"]})


# The same event, whatever the bytes: equal typed content, so an equal content_hash.
SAME_CONTENT: tuple[Callable[[Mapping[str, Any]], bytes], ...] = (
    _write_numbers, _write_quantity_as_text, _write_four_decimals, _write_nanoseconds, _write_other_offset,
    _write_backwards, _write_defaults,
)


@dataclass(frozen=True)
class Corruption:
    """One way to break a good v2 event's text, and the rules that it then fails."""

    name: str
    reasons: tuple[str, ...]
    damage: Callable[[Mapping[str, Any], str], bytes]

    def apply(self, event: Mapping[str, Any], shop_currency: str) -> bytes:
        """Give the broken bytes of a good v2 event."""
        return self.damage(event, shop_currency)


def _damage_bytes(name: str, change: Callable[[bytes], bytes]) -> Corruption:
    return Corruption(name, ("json_valid",), lambda event, _: change(encode_event(event)))


def _set_fields(name: str, reasons: tuple[str, ...], **fields: Any) -> Corruption:
    return Corruption(name, reasons, lambda event, _: _dump({**_as_json(event), **fields}))


def _remove_field(field: str, reason: str) -> Corruption:
    def damage(event: Mapping[str, Any], _: str) -> bytes:
        return _dump({name: value for name, value in _as_json(event).items() if name != field})

    return Corruption(f"no {field}", (reason,), damage)


def _drop_offset(event: Mapping[str, Any], _: str) -> bytes:
    document = _as_json(event)
    return _dump({**document, "event_time": document["event_time"].removesuffix("Z")})


def _change_currency(event: Mapping[str, Any], shop_currency: str) -> bytes:
    return _dump({**_as_json(event), "currency": "USD" if shop_currency == "EUR" else "EUR"})


CORRUPTIONS = (
    _damage_bytes("cut JSON", lambda value: value[:-9]),
    _damage_bytes("not UTF-8", lambda value: value.replace(b'"user_id":"', b'"user_id":"\xff', 1)),
    _damage_bytes("an array", lambda value: b"[" + value + b"]"),
    _damage_bytes("no JSON", lambda value: value.replace(b":", b"=")),
    _remove_field("event_time", "event_time_valid"),
    _remove_field("user_id", "user_id_present"),
    _remove_field("product_id", "product_id_present"),
    _remove_field("category", "category_present"),
    _remove_field("price", "price_valid"),
    _remove_field("quantity", "quantity_valid"),
    _remove_field("event_type", "event_type_known"),
    _set_fields("empty product_id", ("product_id_present",), product_id=""),
    _set_fields("empty event_id", ("event_id_present",), event_id=""),
    _set_fields("price in letters", ("price_valid",), price="abc"),
    _set_fields("five decimals", ("price_valid",), price="1.23456"),
    _set_fields("negative price", ("price_not_negative",), price="-1.50"),
    _set_fields("quantity 0", ("quantity_positive",), quantity=0),
    _set_fields("quantity -3", ("quantity_positive",), quantity=-3),
    _set_fields("quantity 1.5", ("quantity_valid",), quantity=1.5),
    _set_fields("too large", ("amount_bounded",), price="99999999999.99", quantity=1000),
    _set_fields("unknown type", ("event_type_known",), event_type="product_teleported"),
    _set_fields("version 3", ("schema_version_supported",), schema_version=3),
    _set_fields("is_guest maybe", ("is_guest_valid",), is_guest="maybe"),
    _set_fields("long brand", ("text_bounded",), brand="x" * (MAX_TEXT_LENGTH + 1)),
    _set_fields("a list of users", ("fields_scalar",), user_id=["U1", "U2"]),
    _set_fields("control character", ("text_clean",), brand="tab\there"),
    _set_fields("unset clock", ("event_time_not_ancient",), event_time="1970-01-01T00:00:00Z"),
    Corruption("no offset", ("event_time_valid",), _drop_offset),
    Corruption("foreign currency", ("currency_supported",), _change_currency),
    _set_fields("three at once", ("price_not_negative", "quantity_valid", "schema_version_supported"),
                price="-0.01", quantity="many", schema_version=9),
)
