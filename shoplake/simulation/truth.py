"""The right answers: every lake table that a run must give, from what was planted and nothing else.

The sums are made here in plain Python over the typed events, on their own: no rule is asked, no JSON is read, no SQL of
the pipeline is used.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

from shoplake.contract.events import utc_text
from shoplake.errors import SourceError
from shoplake.simulation.demand import tabulate_demand
from shoplake.simulation.records import Kind, SimulatedRecord, to_microseconds, utc_moment
from shoplake.simulation.shop import Shop
from shoplake.simulation.shoppers import BOT
from shoplake.simulation.true_visits import find_visits, tabulate_funnel, tabulate_sessions

_WINDOWS = {
    "silver.product_revenue_5min": (300_000_000, "product_id"),
    "silver.category_revenue_1h": (3_600_000_000, "category"),
}


@dataclass
class _Sales:
    order_count: int = 0
    units: int = 0
    gross: Decimal = Decimal(0)
    cancelled_units: int = 0
    cancelled: Decimal = Decimal(0)
    view_count: int = 0
    cart_count: int = 0

    @property
    def net(self) -> Decimal:
        return self.gross - self.cancelled

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        amount = event["price"] * event["quantity"]
        match event["event_type"]:
            case "order_created":
                self.order_count += 1
                self.units += event["quantity"]
                self.gross += amount
            case "order_cancelled":
                self.cancelled_units += event["quantity"]
                self.cancelled += amount
            case "product_viewed":
                self.view_count += 1
            case "add_to_cart":
                self.cart_count += 1

    def measures(self) -> list[Any]:
        """order_count, units, gross, cancelled_units, cancelled, net."""
        return [self.order_count, self.units, money(self.gross), self.cancelled_units, money(self.cancelled),
                money(self.net)]


class Truth:
    """Collect the right answers while the records pass.

    Args:
        parameters: what the run was asked for; stands in the document.
        shop: adds the demand that was behind the draws.
    """

    def __init__(self, parameters: Mapping[str, Any], shop: Shop | None = None) -> None:
        self._parameters = dict(parameters)
        self._shop = shop
        self._bronze: list[str] = []
        self._accepted: list[SimulatedRecord] = []
        self._duplicates: list[list[str]] = []
        self._quarantine: list[tuple[str, list[str]]] = []

    def add(self, record: SimulatedRecord) -> None:
        """Note one record that was sent."""
        sha256 = hashlib.sha256(record.value).hexdigest()
        self._bronze.append(sha256)
        if record.reasons:
            self._quarantine.append((sha256, sorted(record.reasons)))
        elif record.kind is Kind.DUPLICATE:
            self._duplicates.append([record.event_date.isoformat(), record.event_id])
        else:
            self._accepted.append(record)

    def document(self) -> dict[str, Any]:
        """Give the right answers: for each table its rows as lists, in no promised order.

        Money is text with four decimals, times are UTC with six, growth has six decimals. Two are no tables: "bots",
        the users that were programs, and "demand", what was to be expected before chance had its say
        (`demand.tabulate_demand`), where nobody but shoppers came.
        """
        dates_by_id = Counter(record.event_id for record in self._accepted)
        visits = list(find_visits(self._accepted))
        return {
            "parameters": self._parameters,
            "rows": {"bronze.events": len(self._bronze), "silver.events": len(self._accepted),
                     "silver.duplicates": len(self._duplicates), "silver.quarantine": len(self._quarantine)},
            "late_count": sum(record.is_late for record in self._accepted),
            "quarantine_by_reason": dict(Counter(reason for _, reasons in self._quarantine for reason in reasons)),
            "reused_event_ids": sum(count > 1 for count in dates_by_id.values()),
            "bronze.events": self._bronze,
            "silver.events": [_silver_row(record) for record in self._accepted],
            "silver.duplicates": self._duplicates,
            "silver.quarantine": [list(row) for row in self._quarantine],
            "gold.daily_sales": self._daily_sales(),
            "gold.category_revenue": self._category_revenue(),
            "gold.daily_sales_summary": self._daily_sales_summary(),
            "gold.customer_daily_sales": self._customer_daily_sales(),
            "gold.sessions": tabulate_sessions(visits),
            "gold.conversion_funnel": tabulate_funnel(visits),
            "bots": sorted({user for record in self._accepted if (user := record.event["user_id"]).startswith(BOT)}),
            **{name: self._window(*window) for name, window in _WINDOWS.items()},
            "demand": tabulate_demand(self._shop, Counter(record.event_date for record in self._accepted))
            if self._shop else [],
        }

    def write(self, path: Path) -> None:
        """Write the document as JSON.

        Raises:
            SourceError: the file cannot be written.
        """
        try:
            path.write_text(json.dumps(self.document(), ensure_ascii=False, default=str), encoding="utf-8")
        except OSError as error:
            raise SourceError(f"cannot write the right answers to {path}: {error.strerror or error}") from error

    def _daily_sales(self) -> list[list[Any]]:
        sales: defaultdict[tuple[date, str], _Sales] = defaultdict(_Sales)
        last: dict[tuple[date, str], SimulatedRecord] = {}
        for record in self._accepted:
            key = record.event_date, record.event["product_id"]
            sales[key].add(record.event)
            last[key] = max(last.get(key, record), record, key=lambda one: (one.event["event_time"], one.event_id))
        return [[key[0].isoformat(), key[1], last[key].event["category"], *of_day.measures(), of_day.view_count,
                 of_day.cart_count, last[key].event["brand"], money(last[key].event["price"])]
                for key, of_day in sales.items()]

    def _category_revenue(self) -> list[list[Any]]:
        sales: defaultdict[tuple[date, str], _Sales] = defaultdict(_Sales)
        for record in self._accepted:
            sales[record.event_date, record.event["category"]].add(record.event)
        rows = []
        for (day, category), of_day in sales.items():
            before = sales.get((day - timedelta(days=7), category))
            base = None if before is None else before.net
            rows.append([day.isoformat(), category, *of_day.measures(), None if base is None else money(base),
                         growth(of_day.net, base)])
        return rows

    def _daily_sales_summary(self) -> list[list[Any]]:
        sales: defaultdict[date, _Sales] = defaultdict(_Sales)
        users, orders, late, hours = (defaultdict[date, list[Any]](list) for _ in range(4))
        for record in self._accepted:
            sales[record.event_date].add(record.event)
            users[record.event_date].append(record.event["user_id"])
            late[record.event_date].append(record.is_late)
            orders[record.event_date] += _orders_of(record)
            hours[record.event_date] += [record.shop_hour] * len(_orders_of(record))
        return [[day.isoformat(), len(set(orders[day])), *of_day.measures(), of_day.view_count, of_day.cart_count,
                 len(users[day]), sum(late[day]), len(set(users[day])), len({user for user, *_ in orders[day]}),
                 _mean_amount(of_day.gross, len(set(orders[day]))),
                 min(hours[day], key=lambda hour: (-hours[day].count(hour), hour), default=None)]
                for day, of_day in sales.items()]

    def _customer_daily_sales(self) -> list[list[Any]]:
        sales: defaultdict[tuple[date, str], _Sales] = defaultdict(_Sales)
        orders, guests = (defaultdict[tuple[date, str], list[Any]](list) for _ in range(2))
        for record in self._accepted:
            if record.event["event_type"] in ("order_created", "order_cancelled"):
                key = record.event_date, record.event["user_id"]
                sales[key].add(record.event)
                guests[key].append(record.event["is_guest"])
                orders[key] += _orders_of(record)
        return [[key[0].isoformat(), key[1], all(guests[key]), len(set(orders[key])), *of_day.measures()]
                for key, of_day in sales.items()]

    def _window(self, length_us: int, group: str) -> list[list[Any]]:
        sales: defaultdict[tuple[int, str], _Sales] = defaultdict(_Sales)
        for record in self._accepted:
            if record.event["event_type"] in ("order_created", "order_cancelled"):
                start = to_microseconds(record.event["event_time"]) // length_us * length_us
                sales[start, record.event[group]].add(record.event)
        return [[utc_text(utc_moment(start)), name, *of_window.measures()]
                for (start, name), of_window in sales.items()]


def _orders_of(record: SimulatedRecord) -> list[tuple[Any, ...]]:
    """Give the order that the record is a line of, if it is one: by its order_id, else by its moment."""
    event = record.event
    if event["event_type"] != "order_created":
        return []
    return [(event["user_id"], event["order_id"], event["event_time"] if event["order_id"] is None else None)]


def _mean_amount(amount: Decimal, count: int) -> str | None:
    with localcontext(prec=60, rounding=ROUND_HALF_UP):
        return money((amount / count).quantize(Decimal("1e-4"))) if count else None


def _silver_row(record: SimulatedRecord) -> list[Any]:
    event = record.event
    return [record.event_date.isoformat(), record.event_id, event["event_type"], event["product_id"], event["category"],
            money(event["price"]), event["quantity"], record.is_late, utc_text(event["event_time"]), event["user_id"]]


def money(amount: Decimal) -> str:
    """Write an amount with four decimals; it never has more."""
    return f"{amount:.4f}"


def growth(amount: Decimal, base: Decimal | None) -> str | None:
    """Give (amount - base) / base with six decimals, as NUMERIC has it; None unless the base is above 0.

    A NUMERIC quotient has nine decimals, so it is rounded twice: to nine and then to six, halves away from zero.
    """
    if base is None or base <= 0:
        return None
    with localcontext(prec=60, rounding=ROUND_HALF_UP):
        quotient = ((amount - base) / base).quantize(Decimal("1e-9"))
        return f"{quotient.quantize(Decimal('1e-6')) + 0:f}"  # no -0.000000
