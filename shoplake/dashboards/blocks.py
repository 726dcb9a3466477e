"""What a page is made of. A page is data: the app and the HTML report show the same one, each in its own way."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Notice:
    """A state that the reader must know of, and the command that changes it."""

    level: Literal["info", "warning", "error"]
    text: str
    command: str = ""


@dataclass(frozen=True)
class Figure:
    """One number with its unit; `note` says what it is compared with, `trend` which way that went."""

    label: str
    value: str
    note: str = ""
    trend: Literal["up", "down", ""] = ""


@dataclass(frozen=True)
class Figures:
    """Numbers beside each other."""

    items: tuple[Figure, ...]


@dataclass(frozen=True)
class Graph:
    """A chart, in Vega-Lite, with a title that says the unit; `caption` says how to read it."""

    title: str
    spec: dict[str, Any]
    caption: str = ""


@dataclass(frozen=True)
class Listing:
    """A table of texts, written as they are shown.

    Attributes:
        headings: a heading for each column.
        rows: a text for each heading.
        numbers: the places of the columns that are aligned to the right.
        bar: the place of a number column with a bar behind its cells, and the share of the full width in each row.
        is_folded: only the title is seen until the reader opens it.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    bar: tuple[int, tuple[float, ...]] | None = None
    is_folded: bool = False


Block = Notice | Figures | Graph | Listing


@dataclass(frozen=True)
class Page:
    """A page: `origin` says where its data come from and of when they are."""

    title: str
    origin: str
    blocks: tuple[Block, ...]
