"""What a plain translation gets silently wrong: a rule that gives Google's answer, or a ban whose way out gives it.

One test for each construct that the design names, on the rows of a table with NULLs, leap days and ties.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
import sqlglot

from shoplake.contract.columns import Column
from shoplake.contract.render import duckdb_ddl
from shoplake.contract.tables import Table
from shoplake.errors import QueryRefusedError
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.googlesql import read_query

GoogleSql = Callable[..., tuple[list[str], list[str], list[tuple[Any, ...]]]]
SAMPLE = Table("gold.t", "", "id", ("id",), (
    Column("id", "BIGINT", ""), *(Column(name, type_, "", nullable=True) for name, type_ in (
        ("n", "BIGINT"), ("s", "STRING"), ("x", "DECIMAL(28,4)"), ("d", "DATE"), ("ts", "TIMESTAMP"),
        ("later", "TIMESTAMP"),
    )),
))


def _moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


ROWS: list[tuple[Any, ...]] = [
    (1, 1, "a", Decimal("0.0001"), date(2024, 2, 29), _moment(2024, 2, 29, 23, 30), _moment(2024, 3, 1, 0, 30)),
    (2, 2, "b", Decimal("0.0002"), date(2026, 3, 29), _moment(2026, 3, 29, 1), _moment(2026, 3, 30, 0, 59)),
    (3, 2, "a", Decimal("-200.5"), date(2026, 10, 25), _moment(2026, 10, 25), _moment(2026, 10, 27)),
    (4, None, None, None, None, None, None),
    (5, 1, "a", Decimal("1"), date(2025, 12, 28), _moment(2025, 12, 28, 12), _moment(2025, 12, 27, 11)),
    (6, 3, "c", Decimal("0.0001"), date(2021, 1, 3), _moment(2021, 1, 3), _moment(2021, 1, 3)),
]
# Construct -> what a query asks with it.
RULES = {
    "EXTRACT(DAYOFWEEK)": "SELECT id, EXTRACT(DAYOFWEEK FROM d) AS v FROM gold.t ORDER BY id",
    "DATE_TRUNC": "SELECT id, DATE_TRUNC(d, MONTH) AS v, DATE_TRUNC(d, WEEK) AS w FROM gold.t ORDER BY id",
    "DATE_SUB": "SELECT id, DATE_SUB(d, INTERVAL 1 YEAR) AS v, DATE_ADD(d, INTERVAL n MONTH) AS w FROM gold.t "
                "ORDER BY id",
    "AVG(NUMERIC)": "SELECT AVG(x) AS v, AVG(x / 3) AS w FROM gold.t",
}
# Construct -> what a query would ask with it, the way out that the message names, and a query that takes it.
BANS = {
    "UNNEST WITH OFFSET": (
        "SELECT v, place FROM UNNEST(['b', 'a', 'c']) AS v WITH OFFSET AS place ORDER BY v",
        "ROW_NUMBER() OVER (ORDER BY",
        "SELECT v, ROW_NUMBER() OVER (ORDER BY IF(v = 'b', 0, IF(v = 'a', 1, 2))) - 1 AS place "
        "FROM UNNEST(['b', 'a', 'c']) AS v ORDER BY v"),
    "TIMESTAMP_DIFF(DAY)": (
        "SELECT id, TIMESTAMP_DIFF(TIMESTAMP_TRUNC(later, DAY), TIMESTAMP_TRUNC(ts, DAY), DAY) AS v FROM gold.t "
        "ORDER BY id", "write DATE_DIFF(DATE(…), DATE(…), DAY)",
        "SELECT id, DATE_DIFF(DATE(later), DATE(ts), DAY) AS v FROM gold.t ORDER BY id"),
    "FORMAT": (
        "SELECT id, FORMAT('%d', n) AS v FROM gold.t ORDER BY id", "CAST it AS STRING",
        "SELECT id, CAST(n AS STRING) AS v FROM gold.t ORDER BY id"),
    "PIVOT": (
        "SELECT * FROM (SELECT s, n, x FROM gold.t) PIVOT(SUM(x) AS x FOR n IN (1, 2)) ORDER BY s",
        "write one SUM(IF(…)) for each column",
        "SELECT s, SUM(IF(n = 1, x, NULL)) AS x_1, SUM(IF(n = 2, x, NULL)) AS x_2 FROM gold.t GROUP BY s ORDER BY s"),
    "APPROX_TOP_COUNT": (
        "SELECT v.value AS s, v.count AS c FROM (SELECT APPROX_TOP_COUNT(s, 1) AS top FROM gold.t), UNNEST(top) AS v",
        "write GROUP BY with ORDER BY COUNT(*) DESC LIMIT n",
        "SELECT s, COUNT(*) AS c FROM gold.t GROUP BY s ORDER BY COUNT(*) DESC LIMIT 1"),
    "TIMESTAMP_MILLIS": (
        "SELECT id FROM gold.t WHERE ts >= TIMESTAMP_MILLIS(1767225600000) ORDER BY id", "compare with TIMESTAMP '",
        "SELECT id FROM gold.t WHERE ts >= TIMESTAMP '2026-01-01 00:00:00+00' ORDER BY id"),
}

# Google's reference engine has no such function, so its answer is counted by hand.
NOT_IN_THE_ENGINE = {"APPROX_TOP_COUNT": [("a", 3)]}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        for statement in ("SET TimeZone = 'UTC'", "CREATE SCHEMA gold", *MACROS, duckdb_ddl(SAMPLE)):
            opened.execute(statement)
        opened.executemany(f"INSERT INTO gold.t VALUES ({', '.join('?' * len(SAMPLE.columns))})", ROWS)
        yield opened


@pytest.fixture
def ask_google(google_sql: GoogleSql) -> Callable[[str], list[tuple[Any, ...]]]:
    return lambda sql: google_sql(sql, {}, {"gold.t": (SAMPLE.columns, ROWS)})[2]


def _ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(write_duckdb(read_query(sql, {}, [SAMPLE]))).fetchall()


def _typed(rows: list[tuple[Any, ...]]) -> list[list[tuple[str, Any]]]:
    """Give the values with their types, so that a DATE is no TIMESTAMP at midnight."""
    return [[(type(value).__name__, value) for value in row] for row in rows]


@pytest.mark.parametrize("construct", RULES)
def test_a_rule_gives_googles_answer_where_the_plain_translation_does_not(
    connection: duckdb.DuckDBPyConnection, ask_google: Callable[[str], list[tuple[Any, ...]]], construct: str,
) -> None:
    sql = RULES[construct]
    expected = _typed(ask_google(sql))
    assert _typed(_ask(connection, sql)) == expected
    plain = sqlglot.transpile(sql, read="bigquery", write="duckdb")[0]
    assert _typed(connection.execute(plain).fetchall()) != expected, "the rule is no longer needed"


@pytest.mark.parametrize("construct", BANS)
def test_a_ban_names_a_way_out_that_gives_googles_answer(
    connection: duckdb.DuckDBPyConnection, ask_google: Callable[[str], list[tuple[Any, ...]]], construct: str,
) -> None:
    banned, named, instead = BANS[construct]
    with pytest.raises(QueryRefusedError, match="is not among the constructs") as caught:
        read_query(banned, {}, [SAMPLE])
    assert named in str(caught.value)
    expected = NOT_IN_THE_ENGINE[construct] if construct in NOT_IN_THE_ENGINE else ask_google(banned)
    assert _ask(connection, instead) == expected
