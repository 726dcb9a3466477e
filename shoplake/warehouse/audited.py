"""A warehouse whose questions and publications go to ops.audit."""

import atexit
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from threading import Lock, Timer
from typing import Self

import pyarrow as pa

from shoplake.contract.tables import Table, View
from shoplake.errors import QueryRefusedError, ShoplakeError
from shoplake.governance.audit import audited, fail, record
from shoplake.governance.audit_lines import Act, keyed_digest
from shoplake.lake.addresses import Lake
from shoplake.lake.keys import purpose_key
from shoplake.settings import Settings
from shoplake.warehouse.googlesql import Value, read_query
from shoplake.warehouse.protocol import RELATIONS, Publication, Warehouse

LOG = logging.getLogger("shoplake.audit")
# A page asks many questions at once; a commit for each would make the log a hundred times as many files.
_FLUSH_SECONDS, _MOST = 5, 500


class AuditedWarehouse:
    """The same answers as the warehouse gives, to questions that are told of.

    A question's text goes to the log by its keyed digest, its values never. The first question is written before it is
    answered, and so is one that comes more than 5 s after those before it were written; the others are written
    together, within 5 s: so many a killed process may lose. Where they cannot be written no answer is given.
    """

    def __init__(self, warehouse: Warehouse, lake: Lake, settings: Settings, role: str, person: str = "") -> None:
        """Take a warehouse, which this one closes; `role` and `person` are told with each question."""
        self._warehouse = warehouse
        self._lake = lake
        self._settings = settings
        self._asker = {"role": role, **({"person": person} if person else {})}
        self._key = purpose_key(settings, "audit")
        self._acts: list[Act] = []
        self._flushed = float("-inf")
        self._lock = Lock()
        self._timer: Timer | None = None
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
            AuditError: the log is not as it was written.
        """
        act = Act("query", keyed_digest(sql, self._key), {**self._asker, "tables": _tables(sql, parameters or {})})
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
            is_due = time.monotonic() - self._flushed > _FLUSH_SECONDS or len(self._acts) >= _MOST
            if self._timer is None and not is_due:
                self._timer = Timer(_FLUSH_SECONDS, self._flush_quietly)
                self._timer.daemon = True
                self._timer.start()
        if is_due:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            acts, self._acts, timer, self._timer = self._acts, [], self._timer, None
        if timer is not None:
            timer.cancel()
        try:
            record(acts, self._lake, self._settings)  # outside of the lock: it may have to wait for another process
        except BaseException:
            with self._lock:
                self._acts = [*acts, *self._acts]
                self._flushed = float("-inf")
            raise
        self._flushed = time.monotonic()

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
