"""The sources `online_retail` and `online_retail_2`: UCI Online Retail (Chen, Sain, Guo 2012) and Online Retail II.

One line is one invoice line. Identity is the SHA-256 of the source, the 8 raw cells and the n-th occurrence of these
cells in the file: a shop can scan the same line twice, and both are sales.

Online Retail II was two sheets of a year each, and the published CSV file has one after the other. Both hold the days
from 2010-12-01 to 2010-12-09, so the occurrences are counted anew where the dates go back: what the second sheet tells
again is the same event again, a duplicate.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any
from zoneinfo import ZoneInfo

from shoplake.contract.events import UNCATEGORISED, utc_text
from shoplake.sources.columns import Columns
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.records import SEPARATOR, ParsedRecord, make_record

SOURCE, SOURCE_2 = "online_retail", "online_retail_2"
# In the order of the cells' meaning, which is the same in both.
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
COLUMNS_2 = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
CURRENCY = "GBP"
# The shop that the file is from; the zone of another shop's settings does not move its invoices.
TIME_ZONE = ZoneInfo("Europe/London")

_DAY_MS = 86_400_000
# A product's code begins with five digits; POST, DOT, M, BANK CHARGES, gift_… and DCGS… are no products.
_PRODUCT = re.compile(r"\d{5}.*")
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2})")
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})")
_EVENT_TYPES = {"C": "order_cancelled", "A": "debt_adjusted"}


def _read_invoices(source: str, columns: tuple[str, ...], file: TextFile) -> Iterator[ParsedRecord]:
    """Give each invoice line as an event. Counting occurrences takes about 100 bytes of memory a line."""
    identify, place, newest = _Identities(source), Columns(file.header, columns), 0
    for line, raw in read_rows(file):
        if raw is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        cells = place.pick(raw)
        event_time, event_ms = _shop_time(cells[4].strip())
        if event_ms is not None:
            if source == SOURCE_2 and event_ms < newest - _DAY_MS:
                identify, newest = _Identities(source), 0
            newest = max(newest, event_ms)
        event = _invoice_event(cells, source) | {"event_time": event_time, "event_id": identify.next_id(cells)}
        place.add_others(event, raw)
        yield make_record(event, event_ms)


read_online_retail: Callable[[TextFile], Iterator[ParsedRecord]] = partial(_read_invoices, SOURCE, COLUMNS)
read_online_retail_2: Callable[[TextFile], Iterator[ParsedRecord]] = partial(_read_invoices, SOURCE_2, COLUMNS_2)


def is_product(stock_code: str) -> bool:
    """Tell whether a stock code stands for goods, not for postage, fees, samples or vouchers."""
    return _PRODUCT.fullmatch(stock_code) is not None


class _Identities:
    """Number the occurrences of equal lines; a 128-bit digest stands for a line."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._once: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}

    def next_id(self, cells: Sequence[str]) -> str:
        digest = hashlib.sha256(SEPARATOR.join((self._source, *cells)).encode())
        line = digest.digest()[:16]
        occurrence = 1
        if line in self._once:
            occurrence = self._repeats[line] = self._repeats.get(line, 1) + 1
        else:
            self._once.add(line)
        digest.update(f"{SEPARATOR}{occurrence}".encode())
        return digest.hexdigest()


def _invoice_event(cells: Sequence[str], source: str) -> dict[str, Any]:
    invoice, stock_code, _, quantity, _, price, customer, _ = (cell.strip() for cell in cells)
    kind = invoice[:1].upper()
    return {
        "event_time": None, "user_id": customer.removesuffix(".0") or f"guest-{invoice}",
        "product_id": stock_code.upper() or None, "category": UNCATEGORISED,
        "price": price or None, "quantity": (_absolute(quantity) if kind == "C" else quantity) or None,
        "event_type": _EVENT_TYPES.get(kind, "order_created"), "event_id": None, "order_id": invoice or None,
        "currency": CURRENCY, "is_guest": not customer, "source": source, "schema_version": 2,
    }


def _absolute(quantity: str) -> str:
    return quantity.removeprefix("-")


@lru_cache(maxsize=4096)
def _shop_time(text: str) -> tuple[str, int | None]:
    """Read a local time; in the hour that summer time repeats, or skips, the first reading (fold=0) is taken."""
    local = _parse_date(text)
    if local is None:
        return text, None  # sent as it is: the rule event_time_valid rejects it
    moment = local.replace(tzinfo=TIME_ZONE).astimezone(UTC)
    return utc_text(moment), int(moment.timestamp()) * 1000


def _parse_date(text: str) -> datetime | None:
    try:
        if match := _ISO_DATE.fullmatch(text):
            return datetime(*map(int, match.groups()))  # type: ignore[arg-type]
        if match := _US_DATE.fullmatch(text):
            month, day, year, hour, minute = map(int, match.groups())
            return datetime(year, month, day, hour, minute)
    except ValueError:
        return None
    return None
