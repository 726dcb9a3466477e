"""Numbers as people read them: money exact in the shop's currency, ages, and changes."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from shoplake.dashboards.blocks import Figure, Listing
from shoplake.warehouse.presentation import FRACTIONS, format_cell

_SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}
_CENTS = Decimal("0.01")


def write_amount(amount: Decimal, currency: str, places: int | None = None) -> str:
    """Write money exactly: with `places` decimals, or with as many as it needs, 2 or all 4."""
    count = places_of([amount]) if places is None else places
    written, sign = f"{abs(amount):,.{count}f}", _SIGNS.get(currency)
    return f"{'-' if amount < 0 else ''}{sign or ''}{written}{'' if sign else ' ' + currency}"


def places_of(amounts: Iterable[Decimal | None]) -> int:
    """Give how many decimals show all of these exactly: 2, 4 (the most that money has), or 9 (that a NUMERIC has)."""
    digits = max((-int(amount.normalize().as_tuple().exponent) for amount in amounts if amount is not None), default=0)
    return next(places for places in (2, 4, 9) if digits <= places)


def write_age(age: timedelta) -> str:
    """Write an age in its largest unit, whole and rounded down; a clock slightly ahead of ours is no age."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}s" if unit == "day" and count > 1 else f"{count} {unit}"
    return f"{seconds} s"


def count_of(count: int, one: str, many: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def write_time(moment: datetime) -> str:
    """Write a moment in UTC, to the second; it must be in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def compare(label: str, value: str, now: Decimal | int, before: Decimal | int, than: str) -> Figure:
    """Make a figure with its relative change; without a base above 0 there is no change to tell."""
    if before <= 0:
        return Figure(label, value, f"nothing to compare with in {than}")
    change = Decimal(now - before) / Decimal(before)
    return Figure(label, value, f"{change:+.1%} on {than}", "up" if change > 0 else "down" if change < 0 else "")


def list_table(
    title: str, table: pa.Table, headings: dict[str, str], currency: str, bar: str = "", *, is_folded: bool = False,
) -> Listing:
    """Make a listing of the columns that `headings` names, in its order.

    Args:
        headings: column -> heading.
        bar: the column whose cells get a bar as long as their share of the largest value.
    """
    columns = [_write_column(name, table[name].to_pylist(), currency) for name in headings]
    numbers = frozenset(place for place, name in enumerate(headings) if is_number(table.schema.field(name).type))
    shares = (list(headings).index(bar), _shares(table[bar].to_pylist())) if bar else None
    return Listing(title, tuple(headings.values()), tuple(zip(*columns, strict=True)), numbers, shares, is_folded)


def is_number(type_: pa.DataType) -> bool:
    """Tell whether a column holds numbers."""
    return bool(pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_floating(type_))


def _write_column(name: str, values: list[Any], currency: str) -> list[str]:
    if not any(isinstance(value, Decimal) for value in values) or any(word in name for word in FRACTIONS):
        return [format_cell(name, value) for value in values]
    places, is_money = places_of(values), "amount" in name
    return [
        "–" if value is None else write_amount(value, currency, places) if is_money else f"{value:,.{places}f}"
        for value in values
    ]


def _shares(values: list[Any]) -> tuple[float, ...]:
    largest = max((value for value in values if value is not None), default=0)
    return tuple(max(0.0, float(value / largest)) if value and largest > 0 else 0.0 for value in values)
