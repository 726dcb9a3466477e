"""Asking the dashboard's named questions, and asking again only when a table behind the answer has changed."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import cast

import pyarrow as pa

from shoplake.settings import PROJECT_ROOT, Settings
from shoplake.warehouse import Warehouse
from shoplake.warehouse.googlesql import Value
from shoplake.warehouse.named_queries import NamedQuery, load_queries, resolve_parameters
from shoplake.warehouse.protocol import RELATIONS

_FOLDERS = (PROJECT_ROOT / "sql", PROJECT_ROOT / "sql" / "dashboard")
_MAX_ANSWERS = 200
MAX_ROWS = 5_000


@dataclass(frozen=True)
class Answer:
    """A query's rows and the values of its parameters."""

    rows: pa.Table
    parameters: Mapping[str, Value]

    def day(self, name: str) -> date:
        """Give the value of a DATE parameter."""
        return cast(date, self.parameters[name])


class Board:
    """What the pages ask. Sessions may share one: it asks one question at a time.

    An answer is kept until one of the tables that its query names has a newer version, so asking every few seconds is
    cheap while nothing happens, and never shows an older state than the warehouse has. At most 5,000 rows an answer.
    """

    def __init__(self, warehouse: Warehouse, settings: Settings, folders: tuple[Path, ...] = _FOLDERS) -> None:
        """Read the queries of the folders; the caller closes the warehouse."""
        self.settings = settings
        self._warehouse = warehouse
        self._queries = {name: query for folder in folders for name, query in load_queries(folder).items()}
        self._answers: OrderedDict[tuple[str, ...], tuple[Mapping[str, datetime | None], Answer]] = OrderedDict()
        self._lock = Lock()

    @property
    def currency(self) -> str:
        """The shop's currency."""
        return self.settings.shop.currency

    def changed_at(self, relation: str) -> datetime | None:
        """Give when a served table or view last changed, UTC; None if it was not built yet."""
        with self._lock:
            return self._warehouse.changed_at([relation])[relation]

    def ask(self, name: str, /, **given: str) -> Answer:
        """Answer a query of sql/ or sql/dashboard/; parameters that are not given take their defaults.

        Raises:
            ConfigError: a parameter that the query does not have, or a value that is none of its type.
            WarehouseError: the query failed.
        """
        query = self._queries[name]
        key = (name, *(f"{parameter}={value}" for parameter, value in sorted(given.items())))
        with self._lock:
            # Looked up before the query runs: a write in between is asked for again next time.
            changes = self._warehouse.changed_at([table.name for table in RELATIONS if table.name in query.sql])
            known = self._answers.get(key)
            if known is None or known[0] != changes:
                known = self._answers[key] = changes, self._answer(query, given)
            self._answers.move_to_end(key)
            while len(self._answers) > _MAX_ANSWERS:
                self._answers.popitem(last=False)
            return known[1]

    def _answer(self, query: NamedQuery, given: Mapping[str, str]) -> Answer:
        values = resolve_parameters(query, given, self._warehouse)
        return Answer(self._warehouse.query(query.sql, values, MAX_ROWS), values)
