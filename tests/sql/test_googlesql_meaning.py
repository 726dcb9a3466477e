"""What the embedded warehouse answers is what Google's own engine answers: values and types, construct by construct."""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot

from shoplake.contract.columns import Column
from shoplake.contract.render import duckdb_ddl
from shoplake.contract.tables import Table
from shoplake.errors import QueryRefusedError
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.googlesql import ALLOWED, DIALECT, read_query

GoogleSql = Callable[..., tuple[list[str], list[str], list[tuple[Any, ...]]]]
SAMPLE = Table("gold.t", "Values at the edges", "id", ("id",), (
    Column("id", "BIGINT", ""), *(Column(name, type_, "", nullable=True) for name, type_ in (
        ("n", "BIGINT"), ("k", "BIGINT"), ("x", "DECIMAL(28,4)"), ("y", "DECIMAL(28,4)"), ("f", "DOUBLE"),
        ("g", "DOUBLE"), ("s", "STRING"), ("d", "DATE"), ("e", "DATE"), ("ts", "TIMESTAMP"), ("b", "BOOLEAN"),
    )),
))
PARAMETERS = {"three": 3, "day": date(2024, 2, 29), "amount": Decimal("1.25"), "name": "a"}
# An INT64 whose values are literals or the contract's INT may arrive narrower.
KINDS = {"int64": "INT64", "int32": "INT64", "double": "FLOAT64", "string": "STRING", "date32[day]": "DATE",
         "bool": "BOOL", "timestamp[us, tz=UTC]": "TIMESTAMP"}


def _rows() -> list[tuple[Any, ...]]:
    """120 rows with NULLs, negative amounts, leap days, halves, and divisors whose quotients end in exact halves."""
    draw = random.Random(20261121)

    def maybe(value: Any) -> Any:
        return None if draw.random() < 0.12 else value

    def money(size: int) -> Decimal:
        return Decimal(draw.randrange(-size, size)).scaleb(-4)

    def day() -> date:
        return draw.choice([date(2024, 2, 29), date(2023, 12, 31), date(2023, 12, 20) + timedelta(draw.randrange(900))])

    return [(
        number, maybe(draw.randrange(-9, 10)), maybe(draw.choice([1, 2, 3, -7, 200])), maybe(money(10**7)),
        maybe(draw.choice([Decimal(200), Decimal("0.0003"), Decimal(-3), abs(money(10**6)) + 1])),
        maybe(draw.choice([0.5, 1.5, -2.5, draw.uniform(-100, 100)])), maybe(draw.uniform(1, 2)),
        maybe(draw.choice(["a", "B", "äß", "", "ab%", "a_b", "Zz", "=1+1"])), maybe(day()), maybe(day()),
        maybe(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw.randrange(10**13))),
        maybe(draw.random() < 0.5),
    ) for number in range(120)]


ROWS = _rows()


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        for statement in ("SET TimeZone = 'UTC'", "CREATE SCHEMA gold", *MACROS, duckdb_ddl(SAMPLE)):
            opened.execute(statement)
        marks = ", ".join("?" * len(SAMPLE.columns))
        opened.executemany(f"INSERT INTO gold.t VALUES ({marks})", ROWS)
        yield opened


def _used(sql: str) -> dict[str, Any]:
    return {name: value for name, value in PARAMETERS.items() if f"@{name}" in sql}


def _plain(value: Any) -> Any:
    return value.normalize() + 0 if isinstance(value, Decimal) else value


def _ask_duckdb(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any],
) -> tuple[list[str], list[tuple[Any, ...]]]:
    query = read_query(sql, parameters, [SAMPLE])
    table = connection.execute(write_duckdb(query), dict(query.parameters)).to_arrow_table()
    kinds = ["NUMERIC" if pa.types.is_decimal(field.type) else KINDS[str(field.type)] for field in table.schema]
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return kinds, [tuple(_plain(value) for value in row) for row in rows]


def _assert_equal(
    google_sql: GoogleSql, connection: duckdb.DuckDBPyConnection, sql: str, is_ordered: bool = True,
) -> None:
    parameters = _used(sql)
    _, kinds, expected = google_sql(sql, parameters, {"gold.t": (SAMPLE.columns, ROWS)})
    expected = [tuple(_plain(value) for value in row) for row in expected]
    seen_kinds, seen = _ask_duckdb(connection, sql, parameters)
    assert seen_kinds == kinds
    if not is_ordered:
        expected, seen = sorted(expected, key=repr), sorted(seen, key=repr)
    assert seen == expected


EXPRESSIONS = {
    "integers": ["n / k", "n / 2", "n + k * 2 - 1", "n + 1.5", "-n", "ABS(n)", "DIV(n, k)", "MOD(n, k)", "FLOOR(n)"],
    "numeric": ["x * y", "x * n", "x + y", "x - n", "x / 3", "x / y", "(x + y) / 2", "x / 3 * 7", "x - y / 3", "ABS(x)",
                "CEIL(x)", "FLOOR(x)", "-x", "x * @amount", "x > @amount", "x = 1", "x / (n + 20.5)", "x * (n / 2)"],
    "numeric and literals": ["x * 1.5", "x + 1.5", "-1.5 * x", "x > 1.5", "COALESCE(x, 0.5)", "IF(n > 0, 1.5, x)",
                             "CASE WHEN n > 0 THEN (1.5 + 1) WHEN n < -3 THEN x END", "COALESCE(n * 1.5, 1.5)"],
    "literals beside a condition": [
        "IF(x > 0, 0.1, 0.2) + IF(x > 0, 0.2, 0.1)", "IF(x > 0, 1.5, 2)", "CASE WHEN x > 1 THEN 0.5 ELSE 0.25 END",
        "CASE x WHEN 1.5 THEN 0.1 ELSE 0.2 END", "COALESCE(IF(x > 1, 0.1, 0.2), 0.3)", "1.5 + IF(x > 1, 1, 2)",
        "CASE WHEN x > 1 THEN 0.5 WHEN n > 0 THEN x ELSE -0.25 END", "IF(n > 0, 0.1, IF(n < 0, 0.2, x))",
        "LAG(x, 1, 0.5) OVER (ORDER BY id)", "x BETWEEN 0.1 AND 1.5", "x IN (1.5, 2)", "GREATEST(x, 1.5)",
        "NULLIF(1.5, x)", "IF(x > 1, CAST(0.5 AS NUMERIC), 0.25)"],
    "literals with a sign or an exponent": [
        "x * (1.5)", "x - -1.5", "x * -(1.5)", "1.5 - 1.5 * x", "f * -1.5", "IF(n > 0, -1.5, x)", "x * 1e2", "n * 1e2",
        "x + 1.5 * 2", "x * IF(n > 0, 1.5, 2)", "IF(x > 1, 0.1, 0.2) * x"],
    "numeric beside float": ["x + f", "(x + f) / 3", "IF(n > 0, x, f) / 3", "x * f / 3", "COALESCE(f, x, 0.5)",
                             "SAFE_DIVIDE(x + f, 3)", "@amount + f", "COALESCE(x, n * 1.5)", "GREATEST(x, f, 1.5)"],
    "float": ["f * 1.5", "x * f", "f > 1.5", "f / 3", "f / g", "CEIL(f)", "FLOOR(f)", "IF(n > 0, 1.5, n)", "f + n"],
    "roots": ["SQRT(CAST(ABS(x) AS FLOAT64))", "SQRT(ABS(f))", "SQRT(g * g)", "SQRT(CAST(n * n AS FLOAT64))",
              "SQRT(SAFE_DIVIDE(ABS(f), g - g))"],
    "safe division": ["SAFE_DIVIDE(n, k - 1)", "SAFE_DIVIDE(x, n)", "SAFE_DIVIDE(f, n)", "SAFE_DIVIDE(x, y - 200)"],
    "rounding": ["ROUND(x, 2)", "ROUND(x / y, 6)", "ROUND(x, 0)", "ROUND(x)", "ROUND(x, 6)", "ROUND(x / 200, 7)",
                 "ROUND(100 * x / SUM(x) OVER (), 2)"],
    "conversion": ["CAST(n AS NUMERIC)", "CAST(n AS FLOAT64)", "CAST(x AS FLOAT64)", "CAST(1.5 AS NUMERIC)",
                   "CAST('1.25' AS NUMERIC)", "CAST(n AS STRING)", "CAST(d AS STRING)", "CAST(b AS STRING)",
                   "CAST(b AS INT64)", "CAST(n AS BOOL)", "CAST(ts AS DATE)", "SAFE_CAST(n AS NUMERIC)"],
    "days": ["DATE_ADD(d, INTERVAL 1 DAY)", "DATE_ADD(d, INTERVAL n DAY)", "DATE_ADD(d, INTERVAL @three DAY)",
             "DATE_SUB(d, INTERVAL 7 DAY)", "DATE_SUB(d, INTERVAL n WEEK)", "DATE_ADD(d, INTERVAL 1 MONTH)",
             "DATE_ADD(d, INTERVAL -1 QUARTER)", "DATE_SUB(d, INTERVAL 1 YEAR)",
             "DATE_SUB(d, INTERVAL (DATE_DIFF(d, e, DAY) + 1) DAY)", "d BETWEEN @day AND DATE '2025-01-01'", "d = @day",
             "d >= '2024-06-01'", "GREATEST(d, e)", "DATE(ts)",
             "IF(@name = 'month', DATE_TRUNC(d, MONTH), DATE_TRUNC(d, WEEK(MONDAY)))",
             "IF(@name = 'a', DATE_TRUNC(d, MONTH), DATE_TRUNC(d, WEEK(MONDAY)))", "DIV(DATE_DIFF(@day, d, DAY), 7)",
             "DATE_SUB(d, INTERVAL (7 * @three) DAY)", "CURRENT_DATE() > DATE_ADD(d, INTERVAL 1 MONTH)"],
    "between days": ["DATE_DIFF(d, e, DAY)", "DATE_DIFF(d, e, WEEK)", "DATE_DIFF(d, e, WEEK(MONDAY))",
                     "DATE_DIFF(d, e, ISOWEEK)", "DATE_DIFF(d, e, MONTH)", "DATE_DIFF(d, e, QUARTER)",
                     "DATE_DIFF(d, e, YEAR)"],
    "periods": ["DATE_TRUNC(d, DAY)", "DATE_TRUNC(d, WEEK)", "DATE_TRUNC(d, WEEK(MONDAY))", "DATE_TRUNC(d, ISOWEEK)",
                "DATE_TRUNC(d, MONTH)", "DATE_TRUNC(d, QUARTER)", "DATE_TRUNC(d, YEAR)"],
    "parts": ["EXTRACT(DAYOFWEEK FROM d)", "EXTRACT(DAYOFYEAR FROM d)", "EXTRACT(ISOWEEK FROM d)",
              "EXTRACT(YEAR FROM d)", "EXTRACT(ISOYEAR FROM d)", "EXTRACT(DAY FROM d)", "EXTRACT(MONTH FROM d)",
              "EXTRACT(QUARTER FROM d)",
              "EXTRACT(HOUR FROM ts)", "EXTRACT(MINUTE FROM ts)", "EXTRACT(DAYOFWEEK FROM ts)"],
    "times": ["TIMESTAMP_TRUNC(ts, DAY)", "TIMESTAMP_TRUNC(ts, HOUR)", "TIMESTAMP_TRUNC(ts, MINUTE)",
              "TIMESTAMP_TRUNC(ts, SECOND)", "ts >= TIMESTAMP '2024-02-01 00:00:00+00'",
              "ts >= TIMESTAMP '2024-02-01 12:00:00'"],
    "conditions": ["IF(n > 0, x, NULL)", "CASE n WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'more' END", "COALESCE(x, 0)",
                   "COALESCE(n, k, 0)", "IFNULL(s, 'none')", "NULLIF(n, 1)", "GREATEST(n, k)", "LEAST(x, y)",
                   "n IN (1, 2, NULL)", "n NOT IN (1, 2)", "n BETWEEN -2 AND 2", "b AND n > 0", "b OR NOT b",
                   "b IS TRUE", "n IS NULL", "n IS NOT DISTINCT FROM k", "n IS DISTINCT FROM k"],
    "texts": ["CONCAT(s, '-', s)", "CONCAT('id', CAST(n AS STRING))", "s || 'x'", "LENGTH(s)", "STARTS_WITH(s, 'a')",
              "ENDS_WITH(s, 'b')", "s LIKE 'a%'", "s LIKE 'a_b'", "s NOT LIKE '%b%'", "s IN ('a', 'B')", "s = @name",
              "RIGHT(s, 1)", "RIGHT(s, 4)", "TO_HEX(SHA256(s))", "TO_HEX(SHA256('salt' || s))"],
    "windows": ["AVG(x) OVER (ORDER BY id ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)",
                "SUM(n) OVER (PARTITION BY k ORDER BY id)", "COUNTIF(n > 0) OVER (ORDER BY id)",
                "LAG(x) OVER (PARTITION BY k ORDER BY id)", "LEAD(d, 2) OVER (ORDER BY id)",
                "FIRST_VALUE(n) OVER (PARTITION BY k ORDER BY id)", "ROW_NUMBER() OVER (ORDER BY x DESC, id)",
                "LAST_VALUE(n) OVER (PARTITION BY k ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
                "RANK() OVER (ORDER BY n)", "DENSE_RANK() OVER (ORDER BY n DESC)", "NTILE(4) OVER (ORDER BY id)",
                "PERCENT_RANK() OVER (ORDER BY n)", "CUME_DIST() OVER (ORDER BY n)",
                "SUM(x) OVER (ORDER BY id) / SUM(x) OVER ()",
                "SUM(y) OVER (ORDER BY y DESC)", "SUM(n) OVER (ORDER BY k)", "COUNT(*) OVER (ORDER BY d)",  # ties
                "SUM(x) OVER (PARTITION BY y)", "AVG(x) OVER (PARTITION BY y)",
                "AVG(CAST(n AS NUMERIC)) OVER (ORDER BY id ROWS BETWEEN 27 PRECEDING AND CURRENT ROW)"],
}


@pytest.mark.parametrize("group", EXPRESSIONS)
def test_an_expression_has_googles_value_and_type(
    google_sql: GoogleSql, connection: duckdb.DuckDBPyConnection, group: str,
) -> None:
    columns = ", ".join(f"{expression} AS v{number}" for number, expression in enumerate(EXPRESSIONS[group]))
    condition = " WHERE n + 20.5 <> 0" if group == "numeric" else ""
    _assert_equal(google_sql, connection, f"SELECT id, {columns} FROM gold.t{condition} ORDER BY id")


AGGREGATES = ("SUM(n) AS a, SUM(x) AS b, AVG(x) AS c, AVG(n) AS d, COUNT(*) AS e, COUNT(n) AS f, "
              "COUNT(DISTINCT s) AS g, COUNTIF(n > 0) AS h, MIN(d) AS i, MAX(x) AS j, SUM(x * n) AS k, "
              "SUM(IF(n > 0, x, 0)) AS l, AVG(DISTINCT x) AS m, SUM(DISTINCT n) AS o, LOGICAL_AND(b) AS p, "
              "LOGICAL_OR(b) AS q, SUM(IF(x > 1, 0.5, 0.25)) AS r, MAX(IF(x > 1, 0.1, 0.2)) AS s, MIN(x + f) AS t")
ORDERED = [
    f"SELECT {AGGREGATES} FROM gold.t",
    f"SELECT {AGGREGATES} FROM gold.t WHERE id < 0",
    "SELECT k, SUM(n) AS v FROM gold.t GROUP BY k HAVING COUNT(*) > 5 ORDER BY 2 DESC, 1",
    "SELECT n, id FROM gold.t ORDER BY n, id", "SELECT n, id FROM gold.t ORDER BY n DESC, id",
    "SELECT s, id FROM gold.t ORDER BY s, id",
    "SELECT id, n FROM gold.t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY id DESC) <= @three ORDER BY id",
    "SELECT id FROM gold.t ORDER BY id LIMIT @three", "SELECT id FROM gold.t ORDER BY id LIMIT 5 OFFSET 2",
    "WITH a AS (SELECT d, SUM(x) AS v FROM gold.t GROUP BY d) SELECT l.d, l.v, r.v AS before, "
    "ROUND((l.v - r.v) / NULLIF(r.v, 0), 6) AS g FROM a AS l LEFT JOIN a AS r ON r.d = DATE_SUB(l.d, INTERVAL 7 DAY) "
    "ORDER BY l.d",
    "SELECT day, COUNT(t.id) AS v FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2024-02-20', DATE '2024-03-10')) AS day "
    "LEFT JOIN gold.t AS t ON t.d = day GROUP BY day ORDER BY day",
    "SELECT day FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2024-02-20', @day, INTERVAL 1 WEEK)) AS day ORDER BY day",
    "SELECT day FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2023-11-30', @day, INTERVAL 1 MONTH)) AS day ORDER BY day",
    "SELECT day FROM UNNEST(GENERATE_DATE_ARRAY(@day, DATE '2023-11-30')) AS day ORDER BY day",
    "SELECT k, COUNT(DISTINCT n) AS u, COUNT(DISTINCT d) AS v, COUNT(DISTINCT x) AS w FROM gold.t GROUP BY k "
    "ORDER BY k",
    "SELECT p.id FROM gold.t AS p WHERE n > (SELECT AVG(n) FROM gold.t) AND EXISTS "
    "(SELECT 1 FROM gold.t AS o WHERE o.k = p.k AND o.id <> p.id) ORDER BY id",
    "SELECT id FROM gold.t WHERE id IN (SELECT k FROM gold.t) ORDER BY id",
    "SELECT a.id, b.id AS o FROM gold.t AS a JOIN gold.t AS b USING (id) ORDER BY a.id",
    "SELECT * EXCEPT (s, f) FROM gold.t ORDER BY id", "SELECT * REPLACE (n + 1 AS n) FROM gold.t ORDER BY id",
    "SELECT id, SUM(x) OVER w AS v FROM gold.t WINDOW w AS (PARTITION BY k ORDER BY id) ORDER BY id",
]
UNORDERED = [
    "SELECT DISTINCT k FROM gold.t", "SELECT k, b, SUM(n) AS v FROM gold.t GROUP BY ALL",
    "SELECT id FROM gold.t WHERE n IN UNNEST([1, 2, 3])",
    "SELECT n FROM gold.t UNION DISTINCT SELECT k FROM gold.t",
    "SELECT x FROM gold.t UNION ALL SELECT n FROM gold.t", "SELECT n FROM gold.t EXCEPT DISTINCT SELECT k FROM gold.t",
    "SELECT n FROM gold.t INTERSECT DISTINCT SELECT k FROM gold.t", "SELECT v FROM UNNEST([1, 2, 3]) AS v",
    "SELECT n AS v FROM gold.t UNION ALL SELECT CAST(1.5 AS NUMERIC) UNION ALL SELECT x FROM gold.t",
    "SELECT v / 3 AS v FROM (SELECT x AS v FROM gold.t UNION ALL SELECT f FROM gold.t)",
    "SELECT t.id, u.id AS v FROM gold.t AS t, gold.t AS u WHERE t.id = u.id + 1",
]


@pytest.mark.parametrize("sql", ORDERED)
def test_a_query_has_googles_rows_in_googles_order(
    google_sql: GoogleSql, connection: duckdb.DuckDBPyConnection, sql: str,
) -> None:
    _assert_equal(google_sql, connection, sql)


@pytest.mark.parametrize("sql", UNORDERED)
def test_a_query_has_googles_rows(google_sql: GoogleSql, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    _assert_equal(google_sql, connection, sql, is_ordered=False)


@pytest.mark.parametrize("expression", ["n / 0", "x / (y - y)", "DIV(n, 0)", "MOD(n, 0)", "f / 0"])
def test_a_division_by_zero_is_an_error_as_in_bigquery(
    google_sql: GoogleSql, connection: duckdb.DuckDBPyConnection, expression: str,
) -> None:
    sql = f"SELECT {expression} AS v FROM gold.t"
    with pytest.raises(Exception, match=r"(?i)division by zero"):
        google_sql(sql, {}, {"gold.t": (SAMPLE.columns, ROWS)})
    with pytest.raises(duckdb.Error, match="division by zero"):
        _ask_duckdb(connection, sql, {})


@pytest.mark.parametrize(("sql", "instead"), [
    ("SELECT n AS v FROM gold.t UNION ALL SELECT 1.5 UNION ALL SELECT x FROM gold.t", "CAST(1.5 AS NUMERIC)"),
    ("SELECT n AS v FROM gold.t UNION ALL (SELECT 1.5 AS v UNION ALL SELECT x FROM gold.t)", "CAST(1.5 AS NUMERIC)"),
    ("SELECT x AS v FROM gold.t INTERSECT DISTINCT SELECT -0.5", "CAST(-0.5 AS NUMERIC)"),
    ("SELECT SAFE_DIVIDE(x, 1.5) AS v FROM gold.t", "CAST(1.5 AS NUMERIC)"),
    ("SELECT ANY_VALUE(s) AS v FROM gold.t", "write MAX"), ("SELECT CAST(x AS NUMERIC(9, 2)) AS v FROM gold.t", "size"),
])
def test_what_cannot_be_decided_is_refused_with_the_way_out(sql: str, instead: str) -> None:
    with pytest.raises(QueryRefusedError, match=re.escape(instead)):
        write_duckdb(read_query(sql, {}, [SAMPLE]))


def test_every_construct_that_is_allowed_is_proven() -> None:
    """By a case of this file, or by a query of sql/, which test_differential_proof.py compares."""
    cases = [f"SELECT {expression} AS v FROM gold.t" for group in EXPRESSIONS.values() for expression in group]
    queries = [file.read_text() for file in (PROJECT_ROOT / "sql").rglob("*.sql")]
    trees = [sqlglot.parse_one(sql, dialect=DIALECT) for sql in (*cases, *ORDERED, *UNORDERED, *queries)]
    proven = {type(node) for tree in trees for node in tree.walk()}
    assert [construct.__name__ for construct in ALLOWED - proven] == []
