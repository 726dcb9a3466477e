"""Numbers as people read them: money exact in the shop's currency, ages, and changes."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from shoplake.dashboards.blocks import Figure, Listing
from shoplake.warehouse.presentation import format_cell, rows_of

_SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}
_CENTS = Decimal("0.01")


def write_amount(amount: Decimal, currency: str) -> str:
    """Write money exactly: at least two decimals, more where there are more."""
    digits = amount.quantize(_CENTS) if amount == amount.quantize(_CENTS) else amount.normalize()
    sign = _SIGNS.get(currency)
    written = f"{abs(digits):,f}"
    return f"{'-' if amount < 0 else ''}{sign}{written}" if sign else f"{'-' if amount < 0 else ''}{written} {currency}"


def write_age(age: timedelta) -> str:
    """Write an age in its largest unit, whole and rounded down; a clock slightly ahead of ours is no age."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}s" if unit == "day" and count > 1 else f"{count} {unit}"
    return f"{seconds} s"


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
    columns = table.select(list(headings))
    numbers = frozenset(place for place, field in enumerate(columns.schema) if is_number(field.type))
    rows = tuple(
        tuple(_write_cell(column, value, currency) for column, value in zip(headings, row, strict=True))
        for row in rows_of(columns))
    shares = (list(headings).index(bar), _shares(table[bar].to_pylist())) if bar else None
    return Listing(title, tuple(headings.values()), rows, numbers, shares, is_folded)


def is_number(type_: pa.DataType) -> bool:
    """Tell whether a column holds numbers."""
    return bool(pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_floating(type_))


def _write_cell(column: str, value: Any, currency: str) -> str:
    if isinstance(value, Decimal) and "amount" in column:
        return write_amount(value, currency)
    return format_cell(column, value)


def _shares(values: list[Any]) -> tuple[float, ...]:
    largest = max((value for value in values if value is not None), default=0)
    return tuple(max(0.0, float(value / largest)) if value and largest > 0 else 0.0 for value in values)
