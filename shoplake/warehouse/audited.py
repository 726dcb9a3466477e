"""A warehouse whose questions and publications go to ops.audit."""

import atexit
import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from threading import Lock, Timer
from typing import Self

import pyarrow as pa

from shoplake.contract.tables import Table, View
from shoplake.errors import QueryRefusedError, ShoplakeError
from shoplake.governance.audit import audited, check_end, fail, keyed_digest, record
from shoplake.governance.audit_lines import Act
from shoplake.governance.keys import purpose_key
from shoplake.lake.addresses import Lake
from shoplake.settings import Settings
from shoplake.warehouse.googlesql import Value, read_query
from shoplake.warehouse.protocol import RELATIONS, Publication, Warehouse

LOG = logging.getLogger("shoplake.audit")
# A page asks many questions at once; a commit for each would make the log a hundred times as many files.
_FLUSH_SECONDS, _MOST = 5, 500


class AuditedWarehouse:
    """The same answers as the warehouse gives, to questions that are told of.

    A question's text goes to the log by its keyed digest, its values never. Questions are written together, within 5 s:
    so many a killed process may lose. Where they cannot be written the next one is refused.
    """

    def __init__(self, warehouse: Warehouse, lake: Lake, settings: Settings, role: str) -> None:
        """Take a warehouse, which this one closes.

        Raises:
            AuditError: the log is not as it was written.
        """
        check_end(lake, settings)
        self._warehouse = warehouse
        self._lake = lake
        self._settings = settings
        self._role = role
        self._key = purpose_key(settings, "audit")
        self._acts: list[Act] = []
        self._lock = Lock()
        self._timer: Timer | None = None
        self._is_refused = False
        atexit.register(self._flush_quietly)

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what is not written yet, and close the warehouse."""
        atexit.unregister(self._flush_quietly)
        try:
            self._flush()
        finally:
            self._warehouse.__exit__(*error)

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None, limit: int | None = None) -> pa.Table:
        """See Warehouse.query.

        Raises:
            AuditError: questions before this one could not be written.
        """
        if self._is_refused or len(self._acts) >= _MOST:
            self._flush()
        act = Act("query", keyed_digest(sql, self._key), {"role": self._role, "tables": _tables(sql, parameters or {})})
        try:
            answer = self._warehouse.query(sql, parameters, limit)
        except BaseException as error:
            self._keep(fail(act, error))
            raise
        act.details["rows"] = answer.num_rows
        self._keep(act)
        return answer

    def explain(self, sql: str, parameters: Mapping[str, Value] | None = None) -> str:
        """See Warehouse.explain."""
        return self._warehouse.explain(sql, parameters)

    def publish(self, relations: Sequence[Table | View]) -> tuple[Publication, ...]:
        """See Warehouse.publish.

        Raises:
            AuditError: the log is not as it was written.
        """
        names = ", ".join(relation.name for relation in relations)
        with audited(self._lake, self._settings, "publish", names):
            return self._warehouse.publish(relations)

    def changed_at(self, names: Sequence[str]) -> Mapping[str, datetime | None]:
        """See Warehouse.changed_at."""
        return self._warehouse.changed_at(names)

    def newest_day(self, name: str, column: str) -> date | None:
        """See DaySource.newest_day."""
        return self._warehouse.newest_day(name, column)

    def _keep(self, act: Act) -> None:
        with self._lock:
            self._acts.append(act)
            if self._timer is None:
                self._timer = Timer(_FLUSH_SECONDS, self._flush_quietly)
                self._timer.daemon = True
                self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                record(self._acts, self._lake, self._settings)
            except BaseException:
                self._is_refused = True
                raise
            self._acts, self._is_refused = [], False

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except (ShoplakeError, OSError) as error:
            LOG.error("%d questions are not in ops.audit: %s", len(self._acts), error)


def _tables(sql: str, parameters: Mapping[str, Value]) -> list[str]:
    try:
        return sorted(read_query(sql, parameters, RELATIONS).tables)
    except QueryRefusedError:  # nor will it be run
        return []
