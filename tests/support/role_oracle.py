"""What each role sees of each served table, by plain Python, from the words of configs/roles.yaml; and ways around."""

import math
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from hashlib import sha256
from typing import Any

import yaml

from shoplake.contract.columns import Column
from shoplake.contract.tables import CUSTOMER_METRICS, CUSTOMER_SEGMENTS, TABLES, USERS_DIM, Table
from shoplake.settings import PROJECT_ROOT

POLICY = yaml.safe_load((PROJECT_ROOT / "configs" / "roles.yaml").read_text())
SERVED = {table.name: table for table in TABLES if table.served}
SALT = "a-pinch-of-salt"
DAY = date(2026, 3, 1)
ROWS = 40
CHOICES = {"segment": ["champions", "loyal", "at_risk", "lost", "'; --"],
           "country_code": ["GB", "FR", "gb", "ZZ"]}


def draw_value(draw: random.Random, column: Column, number: int) -> Any:
    """Give a value of the column's type; every tenth that may be NULL is."""
    if column.nullable and draw.random() < 0.1:
        return None
    kind = column.type.split("(")[0]
    if kind == "STRING":
        return draw.choice(CHOICES.get(column.name, ["", "abcd", "x" * 11, f"{column.name}-{number:08}", "äöü-ß€"]))
    if kind == "DECIMAL":
        return Decimal(draw.randrange(-10**8, 10**8)).scaleb(-4)
    values: dict[str, Callable[[], Any]] = {
        "DATE": lambda: DAY + timedelta(draw.randrange(3)), "BOOLEAN": lambda: draw.random() < 0.5,
        "INT": lambda: draw.randrange(-500, 500), "BIGINT": lambda: draw.randrange(-10**6, 10**6),
        "DOUBLE": lambda: draw.choice([0.0, -0.5, 99.999, 100.0, draw.uniform(-1e5, 1e5)]),
        "TIMESTAMP": lambda: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(10**5)),
        "ARRAY<STRING>": lambda: ["a"], "ARRAY<DATE>": lambda: [DAY]}
    return values.get(kind, list)()


def draw_rows(table: Table) -> list[dict[str, Any]]:
    draw = random.Random(table.name)
    return [{column.name: draw_value(draw, column, number) for column in table.columns} for number in range(ROWS)]


def mask_of(role: str, table: Table, column: Column) -> Any:
    own = POLICY[role].get("tables", {}).get(table.name, {}).get("columns", {})
    return own.get(column.name, POLICY[role]["classes"].get(column.privacy, "clear"))


def shown(value: Any, mask: Any, salt: str = SALT) -> Any:
    """Mask one value, as the file's own words say."""
    if value is None or mask == "nullify":
        return None
    if mask == "clear":
        return value
    if mask == "last_four" and len(value) >= 12:
        return "XXXXX" + value[-4:]
    if mask in ("hash", "last_four"):
        return sha256(f"{salt}{value}".encode()).hexdigest()
    size = mask["bucket"]
    if isinstance(value, Decimal):
        return (value / size).to_integral_value(ROUND_FLOOR) * size
    return math.floor(value / size) * size if isinstance(value, float) else value // size * size


def expected(role: str, table: Table, salt: str = SALT) -> list[tuple[Any, ...]]:
    wanted = POLICY[role].get("tables", {}).get(table.name, {}).get("rows", {})
    return [tuple(shown(row[column.name], mask_of(role, table, column), salt) for column in table.columns)
            for row in draw_rows(table) if all(row[name] in values for name, values in wanted.items())]


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


SECRET, HIDDEN = "secret-7301", "hidden-9157"
HASH = sha256(SECRET.encode()).hexdigest()
# What a person may try to see SECRET, which only an admin sees as it is. `found` in an answer tells that it is there.
MASKED_TRIES = (
    "SELECT user_id FROM gold.customer_segments WHERE as_of_date = '2026-03-01'",
    "SELECT * FROM gold.customer_segments WHERE as_of_date = '2026-03-01'",
    "SELECT MAX(user_id) AS a, MIN(user_id) AS b FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    f"SELECT COUNT(*) AS found FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' AND user_id = '{SECRET}'",
    f"SELECT 'found' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' AND user_id = '{SECRET}'",
    "SELECT 'found' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' AND user_id LIKE 'secret%'",
    "SELECT 'found' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' "
    "AND STARTS_WITH(user_id, 'secret')",
    f"SELECT 'found' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' AND user_id = '{HASH}'",
    f"SELECT 'found' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' "
    f"AND user_id = TO_HEX(SHA256('{SECRET}'))",
    "SELECT CAST(user_id AS INT64) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT CAST(user_id AS DATE) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT CAST(user_id AS STRING) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT TO_HEX(SHA256(user_id)) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT user_id || '' AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT CONCAT(user_id, user_id) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT COALESCE(user_id, segment) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT IF(user_id > 'm', 'found-' || user_id, 'no') AS a FROM gold.customer_segments "
    "WHERE as_of_date >= '2000-01-01'",
    "SELECT RIGHT(user_id, 30) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT user_id, COUNT(*) AS n FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' GROUP BY user_id",
    "SELECT DISTINCT user_id FROM gold.customer_segments WHERE as_of_date >= '2000-01-01' ORDER BY user_id",
    "SELECT FIRST_VALUE(user_id) OVER (ORDER BY user_id DESC) AS a FROM gold.customer_segments "
    "WHERE as_of_date >= '2000-01-01'",
    "SELECT LAG(user_id) OVER (ORDER BY as_of_date) AS a FROM gold.customer_segments WHERE as_of_date >= '2000-01-01'",
    "SELECT a.user_id FROM gold.customer_segments AS a JOIN silver.users_dim AS b ON a.user_id = b.user_id "
    "WHERE a.as_of_date >= '2000-01-01'",
    "SELECT b.user_id FROM silver.users_dim AS b LEFT JOIN gold.customer_segments AS a ON a.user_id = b.user_id "
    "AND a.as_of_date >= '2000-01-01'",
    f"SELECT 'found' AS a FROM silver.users_dim AS b JOIN (SELECT '{SECRET}' AS user_id) AS a "
    "ON a.user_id = b.user_id",
    "SELECT s.user_id FROM (SELECT user_id FROM gold.customer_segments WHERE as_of_date >= '2000-01-01') AS s",
    "WITH s AS (SELECT user_id FROM gold.customer_segments WHERE as_of_date >= '2000-01-01') SELECT user_id FROM s",
    "WITH customer_segments AS (SELECT user_id FROM silver.users_dim) SELECT user_id FROM customer_segments",
    "SELECT user_id FROM silver.users_dim UNION ALL SELECT user_id FROM gold.customer_segments "
    "WHERE as_of_date >= '2000-01-01'",
    "SELECT user_id FROM silver.users_dim EXCEPT DISTINCT SELECT 'x' AS user_id",
    f"SELECT '{SECRET}' AS found INTERSECT DISTINCT SELECT user_id FROM silver.users_dim",
    f"SELECT 'found' AS a WHERE '{SECRET}' IN (SELECT user_id FROM silver.users_dim)",
    f"SELECT 'found' AS a WHERE EXISTS (SELECT 1 AS one FROM silver.users_dim AS u WHERE u.user_id = '{SECRET}')",
    "SELECT gender, title FROM silver.users_dim",
    "SELECT 'found' AS a FROM silver.users_dim WHERE gender IS NOT NULL",
    "SELECT COUNT(gender) AS n, COUNT(DISTINCT title) AS m FROM silver.users_dim",
    # tables as they are, and other doors
    "SELECT user_id FROM whole_silver.users_dim",
    "SELECT user_id FROM `whole_gold.customer_segments`",
    "SELECT value FROM silver.events",
    "SELECT * FROM INFORMATION_SCHEMA.VIEWS",
    "SELECT sql FROM duckdb_views()",
    "SELECT * FROM delta_scan('{root}/silver/users_dim')",
    "SELECT * FROM read_parquet('{root}/silver/users_dim/*.parquet')",
    "EXPLAIN SELECT user_id FROM silver.users_dim",
    "SELECT user_id FROM silver.users_dim AS OF VERSION 0",
    "SELECT TO_HEX(SHA512(user_id)) AS a FROM silver.users_dim",
    # an engine's own tables, under the name of a WITH query that cannot be seen there
    "SELECT v.sql FROM silver.users_dim AS u, sqlite_master AS v "
    "WHERE EXISTS (WITH sqlite_master AS (SELECT 1 AS one) SELECT one FROM sqlite_master)",
    "SELECT sql FROM sqlite_master UNION ALL (WITH sqlite_master AS (SELECT 'x' AS sql) SELECT sql FROM sqlite_master)",
    "SELECT v.sql FROM duckdb_views AS v "
    "WHERE 1 IN (WITH duckdb_views AS (SELECT 1 AS one) SELECT one FROM duckdb_views)",
    "SELECT s.sql FROM (SELECT v.sql FROM duckdb_views AS v) AS s JOIN (WITH duckdb_views AS (SELECT 1 AS one) "
    "SELECT one FROM duckdb_views) AS t ON TRUE",
)
# And to see the row of HIDDEN, which marketing does not see at all.
HIDDEN_TRIES = (
    f"SELECT (SELECT MAX(u.country) FROM silver.users_dim AS u WHERE u.country = '{HIDDEN}') AS a",
    f"SELECT 'found' AS a FROM silver.users_dim WHERE country = '{HIDDEN}'",
    "SELECT MAX(country) AS a FROM silver.users_dim WHERE country_code = 'ZZ'",
    "SELECT country FROM silver.users_dim WHERE country_code NOT IN ('GB', 'FR') OR country_code IS NULL",
    "SELECT country FROM silver.users_dim WHERE TRUE OR country_code = 'ZZ'",
    "SELECT country FROM silver.users_dim WHERE CAST(country AS DATE) IS NOT NULL",
    "SELECT 1 AS a FROM silver.users_dim WHERE 1 / IF(country_code = 'ZZ', 0, 1) > 0",
    "SELECT SUM(CAST(country AS INT64)) AS a FROM silver.users_dim WHERE country_code = 'ZZ'",
    "SELECT MOD(follower_count, IF(country_code = 'ZZ', 0, 1)) AS a FROM silver.users_dim",
    "SELECT user_id FROM whole_silver.users_dim WHERE country_code = 'ZZ'",
    "SELECT 1 AS a FROM silver.users_dim "
    "WHERE IF(country_code = 'ZZ', 9223372036854775807, follower_count) * (follower_count + 2) > 0",
    "SELECT 1 AS a FROM silver.users_dim WHERE SQRT(IF(country_code = 'ZZ', -1.0, 1.0)) > 0",
    "SELECT MAX(follower_count) - MIN(follower_count) AS a, COUNT(*) AS n FROM silver.users_dim HAVING n > 1",
)


def make_row(table: Table, **given: Any) -> dict[str, Any]:
    draw = random.Random(table.name)
    return {column.name: draw_value(draw, column, 0) for column in table.columns} | given


def guarded_rows() -> dict[Table, list[dict[str, Any]]]:
    """Give one person whom nobody but an admin may know, and one row that marketing may not see at all."""
    return {
        CUSTOMER_SEGMENTS: [make_row(CUSTOMER_SEGMENTS, user_id=SECRET, as_of_date=DAY, segment="loyal")],
        CUSTOMER_METRICS: [make_row(CUSTOMER_METRICS, user_id=SECRET, as_of_date=DAY,
                                    net_amount=Decimal("1234.5678"), gross_amount=Decimal(2000))],
        USERS_DIM: [
            make_row(USERS_DIM, user_id=SECRET, country="Kent", country_code="GB", gender=SECRET, title=SECRET,
                     source="c2c", follower_count=1),
            make_row(USERS_DIM, user_id=HIDDEN, country=HIDDEN, country_code="ZZ", gender=HIDDEN, title=HIDDEN,
                     source="c2c", follower_count=0)]}
