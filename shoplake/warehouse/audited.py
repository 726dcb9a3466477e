"""A warehouse whose questions and publications go to ops.audit."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from hashlib import sha256
from typing import Self

import pyarrow as pa

from shoplake.contract.tables import TABLES, VIEWS, Table, View
from shoplake.governance.audit import FAILED, Act, check_log, record
from shoplake.lake.addresses import Lake
from shoplake.settings import Settings
from shoplake.warehouse.googlesql import Value
from shoplake.warehouse.protocol import Publication, Warehouse

# A page asks many questions: they are written together, so late that a killed process may lose those of a minute.
_FLUSH_SECONDS, _MOST = 60, 500


class AuditedWarehouse:
    """The same answers as the warehouse gives; a question's text goes to the log as its SHA-256, its values never."""

    def __init__(self, warehouse: Warehouse, lake: Lake, settings: Settings) -> None:
        """Take a warehouse, which this one closes."""
        self._warehouse = warehouse
        self._lake = lake
        self._settings = settings
        self._acts: list[Act] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what is not written yet, and close the warehouse."""
        try:
            self._flush()
        finally:
            self._warehouse.__exit__(*error)

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None, limit: int | None = None) -> pa.Table:
        """See Warehouse.query.

        Raises:
            AuditError: the log is not as it was written.
        """
        check_log(self._lake, self._settings)
        tables = [relation.name for relation in (*TABLES, *VIEWS) if relation.name in sql]
        with self._noted(Act("query", sha256(sql.encode()).hexdigest(), {"tables": tables})) as act:
            answer = self._warehouse.query(sql, parameters, limit)
            act.details["rows"] = answer.num_rows
        if len(self._acts) >= _MOST or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()
        return answer

    def explain(self, sql: str, parameters: Mapping[str, Value] | None = None) -> str:
        """See Warehouse.explain."""
        return self._warehouse.explain(sql, parameters)

    def publish(self, relations: Sequence[Table | View]) -> tuple[Publication, ...]:
        """See Warehouse.publish."""
        with self._noted(Act("publish", ", ".join(relation.name for relation in relations))):
            return self._warehouse.publish(relations)

    def changed_at(self, names: Sequence[str]) -> Mapping[str, datetime | None]:
        """See Warehouse.changed_at."""
        return self._warehouse.changed_at(names)

    def newest_day(self, name: str, column: str) -> date | None:
        """See DaySource.newest_day."""
        return self._warehouse.newest_day(name, column)

    @contextmanager
    def _noted(self, act: Act) -> Iterator[Act]:
        try:
            yield act
        except BaseException as error:
            act.outcome = FAILED
            act.details["error"] = type(error).__name__
            raise
        finally:
            self._acts.append(act)

    def _flush(self) -> None:
        acts, self._acts = self._acts, []
        self._flushed = time.monotonic()
        record(acts, self._lake, self._settings)
