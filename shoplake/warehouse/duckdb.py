"""The embedded warehouse: DuckDB in memory in each process, with views over the lake's Delta tables.

A view is made anew for each query that reads it, so a long-lived reader sees a table as soon as it is built, no reader
blocks a writer, and a table that is not built yet is empty but typed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from threading import Timer
from typing import Self

import duckdb
import pyarrow as pa

from shoplake.contract.render import duckdb_columns
from shoplake.contract.tables import Table, View, find_table
from shoplake.errors import QueryRefusedError, WarehouseError
from shoplake.governance.roles import SEES_ALL, Role, write_role_query, write_text
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import changed_at, table_exists
from shoplake.lake.sql import connect_duckdb, select_nothing, select_table
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.googlesql import Query, Value, read_query
from shoplake.warehouse.protocol import RELATIONS, Publication, find_relation

LOG = logging.getLogger("shoplake.warehouse")
_BATCH_ROWS = 10_000
_SPILL_LIMIT = "20GB"  # of the disk; DuckDB's own is nine tenths of what is free
MAX_ANSWER_BYTES = 64_000_000  # of an answer with a limit: for a person, not for a program
_WHOLE = "whole_"  # before the name of a relation as it is, where a role sees another one; no question can name it


class DuckDBWarehouse:
    """A Warehouse over one lake on a local disk; nothing but the lake can be read, and nothing written."""

    def __init__(self, lake: Lake, query_timeout: float, role: Role = SEES_ALL, salt: str = "") -> None:
        """Open it.

        Args:
            query_timeout: seconds.
            role: what is seen of the tables; `salt` goes into its hashes.
        """
        self._role = role
        self._salt = salt
        self._lake = lake
        self._timeout = query_timeout
        self._connection = connect_duckdb(lake, spill_limit=_SPILL_LIMIT)
        for statement in (*MACROS, "CREATE SCHEMA gold", "CREATE SCHEMA silver", "CREATE SCHEMA ops",
                          *(f"CREATE SCHEMA {_WHOLE}{layer}" for layer in ("gold", "silver", "ops"))):
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self._connection.close()

    def query(self, sql: str, parameters: Mapping[str, Value] | None = None, limit: int | None = None) -> pa.Table:
        """See Warehouse.query."""
        query = read_query(sql, parameters or {}, RELATIONS)
        for scan in query.unfiltered:  # here it costs time only; where it costs money it is refused
            LOG.warning("%s", scan)
        text = write_duckdb(query)
        _check_statement(text)
        self._serve(query.tables)
        with self._guarded():
            reader = self._connection.execute(text, dict(query.parameters)).to_arrow_reader(_BATCH_ROWS)
            return _take(reader, limit)

    def explain(self, sql: str, parameters: Mapping[str, Value] | None = None) -> str:
        """See Warehouse.explain."""
        query = read_query(sql, parameters or {}, RELATIONS)
        lines = [f"-- {name} is {self._describe(name)}" for name in query.tables]
        lines += [f"-- ${name} is {value!s}" for name, value in query.parameters.items()]
        lines += [f"-- warning: {scan}" for scan in query.unfiltered]
        text = write_duckdb(query)
        _check_statement(text)
        return "\n".join([*lines, text])

    def publish(self, relations: Sequence[Table | View]) -> tuple[Publication, ...]:
        """Check that each view opens with the contract's columns and types; a view serves the newest rows by itself."""
        return tuple(self._check_served(relation) for relation in relations)

    def changed_at(self, names: Sequence[str]) -> dict[str, datetime | None]:
        """See Warehouse.changed_at."""
        return {name: self._newest_change(find_relation(name)) for name in names}

    def newest_day(self, name: str, column: str) -> date | None:
        """See Warehouse.newest_day."""
        self._serve([find_relation(name).name])
        with self._guarded():
            rows = self._connection.execute(f'SELECT max("{column}") FROM {name}').fetchall()  # noqa: S608 - a contract's
        newest: date | None = rows[0][0]
        return newest

    def _newest_change(self, relation: Table | View) -> datetime | None:
        changes = [changed_at(self._lake, table) for table in _tables_of(relation)]
        return max((change for change in changes if change), default=None)

    def _serve(self, names: Sequence[str]) -> None:
        for name in names:
            relation = find_relation(name)
            if isinstance(relation, View):
                for table in relation.reads:
                    self._create_view(table, select_table(self._connection, self._lake, find_table(table)))
                select = write_duckdb(_read_view(relation))
            else:
                select = select_table(self._connection, self._lake, relation)
            if self._role.sees_all(relation):
                self._create_view(name, select)
            else:
                self._create_view(f"{_WHOLE}{name}", select)
                self._create_view(name, self._write_shown(relation))

    def _write_shown(self, relation: Table | View) -> str:
        whole = f"{_WHOLE}{relation.name}"
        text = write_role_query(relation, self._role, whole, write_text(self._salt))
        shown = write_duckdb(read_query(text, {}, [replace(relation, name=whole)]))
        types = duckdb_columns(relation.columns)
        columns = ", ".join(f'CAST("{name}" AS {type_}) AS "{name}"' for name, type_ in types.items())
        return f"SELECT {columns} FROM ({shown})"  # noqa: S608 - of the contract and of configs/roles.yaml

    def _create_view(self, name: str, select: str) -> None:
        try:
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {select}")
        except duckdb.Error as error:
            raise WarehouseError(f"{name} in {self._lake.root} cannot be served: {_first_line(error)}") from error

    def _check_served(self, relation: Table | View) -> Publication:
        self._serve([relation.name])
        seen, promised = (self._columns(f"FROM {relation.name}"), self._columns(select_nothing(relation.columns)))
        if seen != promised:
            wrong = [f"{name} {type_}" for name, type_ in seen if (name, type_) not in promised]
            raise WarehouseError(
                f"{relation.name} in {self._lake.root} is not what the contract says: {', '.join(wrong)} "
                f"against {', '.join(f'{name} {type_}' for name, type_ in promised)}"
            )
        with self._guarded():
            rows = self._connection.execute(f"SELECT count(*) FROM {relation.name}").fetchall()  # noqa: S608 - a contract's
        is_built = self._is_built(relation)
        message = "the DuckDB views already serve it" if is_built else "not built yet: an empty view serves it"
        return Publication(relation.name, int(rows[0][0]), message)

    def _columns(self, select: str) -> list[tuple[str, str]]:
        return [(name, type_) for name, type_, *_ in self._connection.execute(f"DESCRIBE {select}").fetchall()]

    def _is_built(self, relation: Table | View) -> bool:
        return all(table_exists(self._lake, table) for table in _tables_of(relation))

    def _describe(self, name: str) -> str:
        relation = find_relation(name)
        if isinstance(relation, View):
            return f"a view over {', '.join(relation.reads)}"
        if not self._is_built(relation):
            return "not built yet: no rows"
        return self._lake.table(relation) if self._role.sees_all(relation) else "shown as the role may see it"

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        timer = Timer(self._timeout, self._connection.interrupt)
        timer.start()
        try:
            yield
        except duckdb.InterruptException as error:
            raise WarehouseError(
                f"the query was stopped after {self._timeout:g} s (warehouse.query_timeout); ask for fewer days"
            ) from error
        except (duckdb.Error, pa.ArrowException, ValueError, RuntimeError) as error:
            raise WarehouseError(f"the query failed: {_first_line(error)}") from error
        finally:
            timer.cancel()


def _tables_of(relation: Table | View) -> list[Table]:
    return [find_table(name) for name in relation.reads] if isinstance(relation, View) else [relation]


def _read_view(view: View) -> Query:
    return read_query(view.sql, {}, [find_table(name) for name in view.reads])


def _check_statement(text: str) -> None:
    """Let DuckDB itself say that the translation is one SELECT: a second lock on the same door."""
    try:
        kinds = [statement.type for statement in duckdb.extract_statements(text)]
    except (duckdb.Error, TypeError) as error:
        raise QueryRefusedError(f"DuckDB cannot read the translation: {_first_line(error)}. Ask for less at once."
                                ) from error
    if kinds != [duckdb.StatementType.SELECT]:
        raise QueryRefusedError(f"the translation is not a single SELECT but {[kind.name for kind in kinds]}")


def _take(reader: pa.RecordBatchReader, limit: int | None) -> pa.Table:
    batches, count, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        size += batch.nbytes
        if limit is not None and size > MAX_ANSWER_BYTES:
            raise WarehouseError(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; ask for fewer rows or columns")
        if limit is not None and count >= limit:
            break
    return pa.Table.from_batches(batches, schema=reader.schema).slice(0, limit)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
