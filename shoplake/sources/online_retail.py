"""The source `online_retail`: UCI Online Retail (Chen, Sain, Guo 2012), the `data.csv` of many tutorials.

One line is one invoice line. Identity is the SHA-256 of the source, the 8 raw cells and the n-th occurrence of these
cells in the file: a shop can scan the same line twice, and both are sales.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from shoplake.contract.events import encode_event, utc_text
from shoplake.errors import SourceError
from shoplake.sources.lines import TextFile, read_lines, split_cells
from shoplake.sources.records import ParsedRecord

SOURCE = "online_retail"
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
CATEGORY = "uncategorised"
CURRENCY = "GBP"
# The shop that the file is from; the zone of another shop's settings does not move its invoices.
TIME_ZONE = ZoneInfo("Europe/London")

_SEPARATOR = "\x1f"
# A product's code begins with five digits; POST, DOT, M, BANK CHARGES, gift_… and DCGS… are no products.
_PRODUCT = re.compile(r"\d{5}.*")
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2})")
_US_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})")
_EVENT_TYPES = {"C": "order_cancelled", "A": "debt_adjusted"}


def check_columns(path: Path, columns: tuple[str, ...]) -> None:
    """Refuse a file whose header is not that of Online Retail.

    Raises:
        SourceError: naming both headers.
    """
    if columns != COLUMNS:
        raise SourceError(
            f"{path} is no Online Retail file: its header is {', '.join(columns)[:300]}; expected "
            f"{', '.join(COLUMNS)}. For a file of another format name its --source"
        )


def read_online_retail(file: TextFile) -> Iterator[ParsedRecord]:
    """Give each invoice line as an event. Counting occurrences takes about 100 bytes of memory a line."""
    identify = _Identities()
    for line in read_lines(file):
        cells = split_cells(line, file.encoding)
        if cells is None or len(cells) != len(COLUMNS):
            yield ParsedRecord(None, line, None, is_bad=True)
        else:
            yield _invoice_record(cells, identify.next_id(cells))


def is_product(stock_code: str) -> bool:
    """Tell whether a stock code stands for goods, not for postage, fees, samples or vouchers."""
    return _PRODUCT.fullmatch(stock_code) is not None


class _Identities:
    """Number the occurrences of equal lines; a 128-bit digest stands for a line."""

    def __init__(self) -> None:
        self._once: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}

    def next_id(self, cells: Sequence[str]) -> str:
        digest = hashlib.sha256(_SEPARATOR.join((SOURCE, *cells)).encode())
        line = digest.digest()[:16]
        occurrence = 1
        if line in self._once:
            occurrence = self._repeats[line] = self._repeats.get(line, 1) + 1
        else:
            self._once.add(line)
        digest.update(f"{_SEPARATOR}{occurrence}".encode())
        return digest.hexdigest()


def _invoice_record(cells: Sequence[str], event_id: str) -> ParsedRecord:
    invoice, stock_code, _, quantity, invoice_date, price, customer, _ = (cell.strip() for cell in cells)
    kind = invoice[:1].upper()
    event_time, event_ms = _shop_time(invoice_date)
    user_id = customer.removesuffix(".0") or f"guest-{invoice}"
    event = {
        "event_time": event_time, "user_id": user_id, "product_id": stock_code.upper() or None, "category": CATEGORY,
        "price": price or None, "quantity": (_absolute(quantity) if kind == "C" else quantity) or None,
        "event_type": _EVENT_TYPES.get(kind, "order_created"), "event_id": event_id, "order_id": invoice or None,
        "currency": CURRENCY, "is_guest": not customer, "source": SOURCE, "schema_version": 2,
    }
    return ParsedRecord(user_id.encode(), encode_event(event), event_ms)


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
