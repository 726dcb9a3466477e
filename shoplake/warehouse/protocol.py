"""What every warehouse answers, whether DuckDB on the lake or BigQuery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, Self

import pyarrow as pa

from shoplake.contract.tables import TABLES, VIEWS, Table, View
from shoplake.errors import ContractError
from shoplake.warehouse.googlesql import Value

RELATIONS: tuple[Table | View, ...] = (*(table for table in TABLES if table.served), *VIEWS)


def find_relation(name: str) -> Table | View:
    """Look a served table or view up by its name.

    Raises:
        ContractError: nothing of that name is served.
    """
    for relation in RELATIONS:
        if relation.name == name:
            return relation
    raise ContractError(f"{name!r} is not served; served are {', '.join(relation.name for relation in RELATIONS)}")


@dataclass(frozen=True)
class Publication:
    """A table that readers can query: how many rows they see, and how it came there."""

    table: str
    row_count: int
    message: str


class DaySource(Protocol):
    """What the defaults of queries' parameters ask."""

    def newest_day(self, name: str, column: str) -> date | None:
        """Give the newest value of a date column of a served table or view; None where there is no row.

        Raises:
            ContractError: a name that is not served.
        """


class Warehouse(DaySource, Protocol):
    """A read-only place to ask GoogleSQL questions of the served tables, and the door through which they are served."""

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None, limit: int | None = None) -> pa.Table:
        """Run one SELECT and give at most `limit` rows.

        Raises:
            QueryRefusedError: the text is not a single SELECT over the served tables.
            WarehouseError: the query failed or took longer than warehouse.query_timeout.
        """

    def explain(self, sql: str, parameters: Mapping[str, Value] | None = None) -> str:
        """Give the text that would run, with the names of tables resolved; runs nothing."""

    def publish(self, relations: Sequence[Table | View]) -> tuple[Publication, ...]:
        """Serve the newest rows of `relations` to readers; again for unchanged rows changes nothing.

        Raises:
            WarehouseError: a table is not what the contract says.
        """

    def changed_at(self, names: Sequence[str]) -> Mapping[str, datetime | None]:
        """Give when each of these served tables and views last changed, UTC; None where nothing was built yet.

        Costs a few milliseconds a table and reads no row, so a reader can ask it before asking a query again.

        Raises:
            ContractError: a name that is not served.
        """

    def __enter__(self) -> Self:
        """Keep it open for a block."""

    def __exit__(self, *error: object) -> None:
        """Free what it holds."""
