"""Answers as people and programs read them: cells, CSV, and the JSON form that run_analytics promises."""

import csv
import io
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from shoplake.warehouse.googlesql import Value

# At a text's start, or after what a spreadsheet of another country takes for the end of a cell; the wide signs of
# Chinese and Japanese keyboards count too.
_FORMULA = re.compile("(^|[;\t\r\n])(?=[=+\\-@＝＋－＠\t\r\n])")
FRACTIONS = ("growth", "share", "rate")  # words in the names of columns that are shown as per cent


def as_document(name: str, parameters: Mapping[str, Value], table: pa.Table) -> dict[str, Any]:
    """Give `{"query", "parameters", "columns", "rows"}`; decimals, dates and times become strings in print."""
    return {"query": name, "parameters": dict(parameters), "columns": table.column_names, "rows": rows_of(table)}


def rows_of(table: pa.Table) -> list[list[Any]]:
    """Give the rows as Python values."""
    return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def as_csv(table: pa.Table) -> str:
    """Write the table as CSV (RFC 4180, with a header); NULL is empty.

    A text that a spreadsheet would run as a formula gets an apostrophe before it, a column's name as well; numbers stay
    as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_csv_cell(name) for name in table.column_names])
    writer.writerows([_csv_cell(value) for value in row] for row in rows_of(table))
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        value = str(value)
    if isinstance(value, str):
        return _FORMULA.sub(r"\1'", value)
    return format(value, "f") if isinstance(value, Decimal) else value


def format_cell(column: str, value: Any) -> str:
    """Write one value for a person: two decimals for amounts, per cent for growth and shares, times to the second."""
    if value is None:
        return "–"
    if isinstance(value, Decimal) and any(word in column for word in FRACTIONS):
        return f"{value:+.1%}" if "growth" in column else f"{value:.1%}"
    if isinstance(value, (Decimal, float)):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)
