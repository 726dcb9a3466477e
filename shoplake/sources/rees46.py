"""The source `rees46`: clicks in a multi-category store, months of CSV files (REES46 Marketing Platform, 2019-2020).

One line is one event of one unit. The money's currency is not told: it is the shop's. A line that stands there twice
is the same click told twice, so identity is the SHA-256 of the source and the line's cells.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from shoplake.contract.events import UNCATEGORISED, utc_text
from shoplake.sources.columns import Columns
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.records import ParsedRecord, identify, make_record

SOURCE = "rees46"
COLUMNS = ("event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
           "user_session")
_EVENT_TYPES = {"view": "product_viewed", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart",
                "purchase": "order_created"}
_TIME = re.compile(r"(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) UTC")


def read_rees46(file: TextFile) -> Iterator[ParsedRecord]:
    """Give each line as an event; an unknown type goes on as it is, for the rule event_type_known."""
    columns = Columns(file.header, COLUMNS)
    for line, raw in read_rows(file):
        if raw is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        event, event_ms = _event(columns.pick(raw))
        columns.add_others(event, raw)
        yield make_record(event, event_ms)


def _event(cells: Sequence[str]) -> tuple[dict[str, Any], int | None]:
    moment, kind, product, _, category, brand, price, user, session = cells
    event_time, event_ms = _read_time(moment)
    return {
        "event_time": event_time, "user_id": user or None, "product_id": product or None,
        "category": category or UNCATEGORISED, "price": price or None, "quantity": "1",
        "event_type": _EVENT_TYPES.get(kind, kind), "event_id": identify(SOURCE, cells), "session_id": session or None,
        "brand": brand or None, "source": SOURCE, "schema_version": 2,
    }, event_ms


@lru_cache(maxsize=4096)
def _read_time(text: str) -> tuple[str, int | None]:
    match = _TIME.fullmatch(text)
    try:
        moment = datetime(*map(int, match.groups()), tzinfo=UTC) if match else None  # type: ignore[arg-type,misc]
    except ValueError:
        moment = None
    if moment is None:
        return text, None  # sent as it is: the rule event_time_valid rejects it
    return utc_text(moment), int(moment.timestamp()) * 1000
