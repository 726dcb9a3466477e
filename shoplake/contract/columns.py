"""What a column is, for events and for tables alike."""

from dataclasses import dataclass
from typing import Literal

AMOUNT = "DECIMAL(28,4)"
RATE = "DECIMAL(28,6)"

Privacy = Literal["public", "internal", "personal", "secret"]


@dataclass(frozen=True)
class Column:
    """One column of an event or a table.

    `type` is written in Spark's type language (DECIMAL(28,4), ARRAY<STRING>, …); render.py gives the other dialects.
    `nullable` is False where a writer guarantees a value.
    """

    name: str
    type: str
    description: str
    nullable: bool = False
    privacy: Privacy = "internal"


PRODUCT_ID = Column("product_id", "STRING", "The product", privacy="public")
EVENT_DATE = Column("event_date", "DATE", "The shop's day", privacy="public")
