"""Rows of a database's table, in the order of its cursor column."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from shoplake.errors import ConfigError, SourceError
from shoplake.fetching.definitions import DatabaseSource, read_variable

PAGE_ROWS = 5_000
_CONNECT_SECONDS = 15


def read_pages(
    source: DatabaseSource, bookmark: str | None, environment: Mapping[str, str],
) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Give rows from the bookmark less the overlap on, page by page, each with the bookmark after it.

    One statement reads them all, from a cursor of the server: a row that changes meanwhile is as it was.

    Args:
        environment: holds the database's address.

    Raises:
        ConfigError: the address is no database's, or the table or a column is not there.
        SourceError: the database does not answer, or breaks off.
    """
    engine = _connect(source, environment)
    try:
        with engine.connect() as connection:
            table = _reflect(source, connection)
            column = table.c[source.cursor]
            statement = sa.select(*(table.c[name] for name in _columns(source))).order_by(column)
            if bookmark is not None:
                statement = statement.where(column >= _before(column, bookmark, source.overlap))
            rows = connection.execution_options(stream_results=True, yield_per=PAGE_ROWS).execute(statement)
            for page in rows.mappings().partitions(PAGE_ROWS):
                found = [_localize(dict(row), source) for row in page]
                yield found, _as_text(page[-1][source.cursor], source)
    except sa.exc.DBAPIError as error:
        raise SourceError(f"the database of {source.url_env} failed: {type(error.orig).__name__}: "
                          f"{str(error.orig).splitlines()[0] if str(error.orig) else ''}. What was read so far is "
                          "kept; run the command again") from error
    finally:
        engine.dispose()


def _connect(source: DatabaseSource, environment: Mapping[str, str]) -> sa.Engine:
    address = read_variable(source.url_env, environment)
    try:
        # The parameter's name is PostgreSQL's and MySQL's; SQLite has no such thing.
        is_file = sa.make_url(address).get_backend_name() == "sqlite"
        return sa.create_engine(address, connect_args={} if is_file else {"connect_timeout": _CONNECT_SECONDS})
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        # The address may hold a password: it is not shown.
        raise ConfigError(f"{source.url_env} is no address of a database that can be reached from here "
                          f"({type(error).__name__}); docs/sources.md tells its form") from error


def _columns(source: DatabaseSource) -> list[str]:
    return list(dict.fromkeys([source.cursor, *source.fields.values()]))


def _reflect(source: DatabaseSource, connection: sa.Connection) -> sa.Table:
    schema, _, name = source.table.rpartition(".")
    try:
        table = sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection)
    except sa.exc.NoSuchTableError as error:
        raise ConfigError(f"the database of {source.url_env} has no table {source.table}") from error
    if missing := [column for column in _columns(source) if column not in table.c]:
        raise ConfigError(f"the table {source.table} lacks {', '.join(missing)}; it has "
                          f"{', '.join(column.name for column in table.c)}")
    return table


def _before(column: sa.Column[Any], bookmark: str, overlap: int) -> Any:
    """Give where to begin: the bookmark less the overlap, as a value of the column's type."""
    if issubclass(column.type.python_type, datetime):
        moment = datetime.fromisoformat(bookmark)
        is_aware = getattr(column.type, "timezone", False)
        return (moment if is_aware else moment.replace(tzinfo=None)) - timedelta(seconds=overlap)
    if issubclass(column.type.python_type, int):
        return int(bookmark) - overlap
    raise ConfigError(f"the cursor column {column.name} is neither a time nor a whole number")


def _as_text(value: Any, source: DatabaseSource) -> str:
    if value is None:
        raise SourceError(f"the cursor column {source.cursor} of {source.table} holds a NULL; such a row would never "
                          "be read again. Name a column that is always filled")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _localize(row: dict[str, Any], source: DatabaseSource) -> dict[str, Any]:
    """Give times without a zone the source's."""
    zone = ZoneInfo(source.time_zone)
    return {name: value.replace(tzinfo=zone) if isinstance(value, datetime) and value.tzinfo is None else value
            for name, value in row.items()}
