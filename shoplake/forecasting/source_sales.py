"""A history straight from a raw file through its source's reader, for a backtest that needs no lake."""

import json
from collections import defaultdict
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from shoplake.errors import ForecastError
from shoplake.forecasting.inputs import MAX_UNITS, Sales, hash_file
from shoplake.settings import Settings
from shoplake.sources import open_source
from shoplake.sources.registry import is_product

_UNUSABLE = (KeyError, TypeError, ValueError, InvalidOperation)


def read_source_sales(file: Path, source: str, settings: Settings) -> Sales:
    """Sum a raw file's orders of goods by shop day and product; a line that stands twice counts twice.

    Counted are orders with a quantity and a price above 0 in the shop's currency. Other lines, those that cannot be
    read, and codes that are no goods are left out.

    Raises:
        SourceError: a file that is missing, unreadable or of another format.
        ForecastError: no order of goods in it.
    """
    zone = ZoneInfo(settings.shop.time_zone)
    units: dict[tuple[date, str], int] = defaultdict(int)
    amounts: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    orders: dict[tuple[date, str], int] = defaultdict(int)
    categories: dict[tuple[date, str], str] = {}
    for record in open_source(file, source, settings):
        try:
            sale = _read_sale(json.loads(record.value), zone, settings.shop.currency)
        except _UNUSABLE:
            continue
        if sale is None or not is_product(source, sale[0][1]):
            continue
        key, category, quantity, price = sale
        units[key] += quantity
        amounts[key] += quantity * price
        orders[key] += 1
        categories[key] = category
    if not units:
        raise ForecastError(f"{file} holds no order of goods with a quantity and a price above 0 in "
                            f"{settings.shop.currency} (shop.currency); amounts in other currencies are not converted "
                            "here. Take the file into the lake, and forecast gold")
    rows = pd.DataFrame({
        "event_date": pd.to_datetime([day for day, _ in units]), "product_id": [product for _, product in units],
        "category": list(categories.values()), "units": list(units.values()),
        "gross_amount": [float(amount) for amount in amounts.values()], "order_count": list(orders.values()),
    })
    return Sales(rows, file.name, hash_file(file))


def _read_sale(
    event: dict[str, Any], zone: ZoneInfo, currency: str,
) -> tuple[tuple[date, str], str, int, Decimal] | None:
    quantity, price = int(event["quantity"]), Decimal(str(event["price"]))
    is_order = event["event_type"] == "order_created" and event.get("currency", currency) == currency
    if not is_order or not 0 < quantity <= MAX_UNITS or not (price.is_finite() and price > 0):
        return None
    day = datetime.fromisoformat(event["event_time"]).astimezone(zone).date()
    return (day, str(event["product_id"])), str(event["category"]), quantity, price
