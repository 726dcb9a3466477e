"""Roles: what each sees of each served table, by plain Python, in DuckDB and in Google's engine; and ways around."""

import json
import logging
import math
import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from shoplake.contract.columns import Column
from shoplake.contract.tables import CUSTOMER_METRICS, CUSTOMER_SEGMENTS, TABLES, USERS_DIM, Table
from shoplake.errors import ConfigError, ShoplakeError
from shoplake.governance.roles import find_role, load_roles, write_role_query
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse import Warehouse, open_warehouse
from shoplake.warehouse.duckdb import DuckDBWarehouse

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


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, write_table: Callable[..., None]) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("roles")))
    for table in SERVED.values():
        write_table(lake, table, draw_rows(table))
    return lake


def mask_of(role: str, table: Table, column: Column) -> Any:
    own = POLICY[role].get("tables", {}).get(table.name, {}).get("columns", {})
    return own.get(column.name, POLICY[role]["classes"].get(column.privacy, "clear"))


def shown(value: Any, mask: Any) -> Any:
    """Mask one value, as the file's own words say."""
    if value is None or mask == "nullify":
        return None
    if mask == "clear":
        return value
    if mask == "last_four" and len(value) >= 12:
        return "XXXXX" + value[-4:]
    if mask in ("hash", "last_four"):
        return sha256(f"{SALT}{value}".encode()).hexdigest()
    size = mask["bucket"]
    if isinstance(value, Decimal):
        return (value / size).to_integral_value(ROUND_FLOOR) * size
    return math.floor(value / size) * size if isinstance(value, float) else value // size * size


def expected(role: str, table: Table) -> list[tuple[Any, ...]]:
    wanted = POLICY[role].get("tables", {}).get(table.name, {}).get("rows", {})
    return [tuple(shown(row[column.name], mask_of(role, table, column)) for column in table.columns)
            for row in draw_rows(table) if all(row[name] in values for name, values in wanted.items())]


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


def test_the_policy_hides_something_from_each_role_but_one() -> None:
    assert set(POLICY) == {"admin", "analyst", "marketing", "viewer"}
    masks = {str(mask_of(role, table, column)).split(":")[0] for role in POLICY for table in SERVED.values()
             for column in table.columns}
    assert masks == {"clear", "nullify", "hash", "last_four", "{'bucket'"}
    for role in POLICY:
        assert any(len(expected(role, table)) < ROWS for table in SERVED.values()) is (role == "marketing")


@pytest.mark.parametrize("role", POLICY)
def test_a_role_sees_the_rows_and_columns_that_the_policy_says(role: str, lake: Lake) -> None:
    seen_by = find_role(role)
    with DuckDBWarehouse(lake, 60, seen_by, SALT) as warehouse, DuckDBWarehouse(lake, 60) as whole:
        for name, table in SERVED.items():
            where = f" WHERE {table.partition_by} >= '2000-01-01'" if table.partition_by else ""
            seen = warehouse.query(f"SELECT * FROM {name}{where}")
            raw = whole.query(f"SELECT * FROM {name}{where}")
            assert seen.schema.equals(raw.schema), name
            # What has no literal in Python stays as the whole warehouse gives it.
            assert in_order([tuple(row.values()) for row in seen.to_pylist()]) == in_order(expected(role, table)), name


@pytest.mark.parametrize("role", [role for role in POLICY if role != "admin"])
def test_googles_engine_shows_the_same(role: str, google_sql: Callable[..., Any]) -> None:
    seen_by = find_role(role)
    tables = [table for table in SERVED.values() if not seen_by.sees_all(table)]
    assert tables
    for table in tables:
        source = f"whole_{table.name}"
        rows = [tuple(row.values()) for row in draw_rows(table)]
        text = write_role_query(table, seen_by, source, SALT)
        names, _, seen = google_sql(text, {}, {source: (table.columns, rows)})
        assert names == list(table.column_names)
        assert in_order(seen) == in_order(expected(role, table)), table.name


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


@pytest.mark.parametrize("role", ["marketing", "viewer"])
def test_what_is_masked_is_masked_in_the_tables_that_it_could_be_computed_from(role: str) -> None:
    def is_clear(table: str, column: str) -> bool:
        (found,) = [one for one in SERVED[table].columns if one.name == column]
        return bool(mask_of(role, SERVED[table], found) == "clear")

    measures = ("gross_amount", "cancelled_amount", "net_amount", "average_order_amount", "predicted_amount_90d")
    assert not any(is_clear("gold.customer_metrics", column) for column in measures)
    assert not is_clear("gold.customer_metrics", "expected_purchase_amount")  # a factor of the predicted amount
    for table in ("gold.customer_daily_sales", "gold.sessions"):
        names = set(SERVED[table].column_names) & {"gross_amount", "cancelled_amount", "net_amount", "units"}
        assert not any(is_clear(table, column) for column in names)


def make_row(table: Table, **given: Any) -> dict[str, Any]:
    draw = random.Random(table.name)
    return {column.name: draw_value(draw, column, 0) for column in table.columns} | given


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, write_table: Callable[..., None]) -> Lake:
    """A lake with one person whom nobody but an admin may know, and one row that marketing may not see at all."""
    lake = Lake(str(tmp_path_factory.mktemp("guarded")))
    write_table(lake, CUSTOMER_SEGMENTS, [make_row(CUSTOMER_SEGMENTS, user_id=SECRET, as_of_date=DAY, segment="loyal")])
    write_table(lake, CUSTOMER_METRICS, [make_row(
        CUSTOMER_METRICS, user_id=SECRET, as_of_date=DAY, net_amount=Decimal("1234.5678"), gross_amount=Decimal(2000))])
    write_table(lake, USERS_DIM, [
        make_row(USERS_DIM, user_id=SECRET, country="Kent", country_code="GB", gender=SECRET, title=SECRET,
                 source="c2c", follower_count=1),
        make_row(USERS_DIM, user_id=HIDDEN, country=HIDDEN, country_code="ZZ", gender=HIDDEN, title=HIDDEN,
                 source="c2c", follower_count=0)])
    return lake


def ask(warehouse: DuckDBWarehouse, sql: str) -> str:
    """Give all that a person gets to see: rows, plan or message."""
    said = []
    for way in (warehouse.query, warehouse.explain):
        try:
            answer = way(sql)
            said.append(json.dumps(answer.to_pylist(), default=str) if isinstance(answer, pa.Table) else answer)
        except ShoplakeError as error:
            said.append(str(error))
    return "\n".join(said)


@pytest.mark.parametrize(("role", "tries", "wanted"), [
    ("analyst", MASKED_TRIES, SECRET), ("viewer", MASKED_TRIES, SECRET), ("marketing", MASKED_TRIES, SECRET),
    ("marketing", HIDDEN_TRIES, HIDDEN)], ids=lambda value: value if isinstance(value, str) else "")
def test_no_way_shows_what_is_masked_or_hidden(
    role: str, tries: tuple[str, ...], wanted: str, guarded: Lake, caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with DuckDBWarehouse(guarded, 60, find_role(role), SALT) as warehouse:
        for sql in tries:
            text = sql.replace("{root}", guarded.root)
            caplog.clear()
            rows = json.dumps([list(row.values()) for row in _rows_of(warehouse, text)], default=str)
            assert wanted not in rows, sql
            assert SALT not in rows + ask(warehouse, text), sql
            assert "found" not in rows, sql
            if wanted not in text:  # else a message may repeat what was typed
                assert wanted not in ask(warehouse, text) + caplog.text, sql
            if "ZZ" in text:
                assert not re.search("division by zero|verflow|square root|out of range", ask(warehouse, text)), (
                    f"{sql}: a hidden row was looked at")


def test_there_are_fifty_tries_and_they_find_what_is_not_hidden(guarded: Lake) -> None:
    assert len({*MASKED_TRIES, *HIDDEN_TRIES}) >= 50
    with DuckDBWarehouse(guarded, 60) as warehouse:
        found = {sql: json.dumps([list(row.values()) for row in _rows_of(warehouse, sql)], default=str)
                 for sql in (*MASKED_TRIES, *HIDDEN_TRIES)}
        failed = [sql for sql in HIDDEN_TRIES
                  if re.search("division by zero|verflow|square root|out of range", ask(warehouse, sql))]
    assert sum(SECRET in rows or HIDDEN in rows or "found" in rows for rows in found.values()) > 30
    assert len(failed) == 4


@pytest.mark.parametrize(("role", "amounts"), [
    ("analyst", ("1234.5678", "2000.0000")), ("marketing", ("1200.0000", "2000.0000")), ("viewer", (None, None))])
def test_amounts_are_as_coarse_as_the_role_may_see_them(
    role: str, amounts: tuple[str | None, ...], guarded: Lake,
) -> None:
    where = "FROM gold.customer_metrics WHERE as_of_date = '2026-03-01'"
    with DuckDBWarehouse(guarded, 60, find_role(role), SALT) as warehouse:
        rows = warehouse.query(f"SELECT net_amount, gross_amount {where}").to_pylist()
        assert [tuple(row.values()) for row in rows] == [tuple(amount and Decimal(amount) for amount in amounts)]
        exact = warehouse.query(f"SELECT COUNT(*) AS n {where} AND net_amount = CAST('1234.5678' AS NUMERIC)")
        assert exact["n"].to_pylist() == [int(role == "analyst")]


def _rows_of(warehouse: DuckDBWarehouse, sql: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = warehouse.query(sql).to_pylist()
    except ShoplakeError:
        return []
    return rows


@pytest.fixture
def opened(data_dir: Path, write_table: Callable[..., None]) -> Callable[[str], Warehouse]:
    write_table(locate_lake(load_settings()), USERS_DIM, [make_row(USERS_DIM, user_id=SECRET, source="c2c")])
    return lambda role: open_warehouse(load_settings(), role)


def test_the_role_of_the_settings_holds_where_none_is_named(
    opened: Callable[[str], Warehouse], monkeypatch: pytest.MonkeyPatch,
) -> None:
    def users(role: str) -> list[str | None]:
        with opened(role) as warehouse:
            return list(warehouse.query("SELECT user_id FROM silver.users_dim")["user_id"].to_pylist())

    assert users("") == users("admin") == [SECRET]
    assert users("viewer") == [None]
    (hashed,) = users("analyst")
    assert hashed not in (None, HASH, SECRET)
    assert users("analyst") == [hashed], "the hash is the same in the next process, so that answers can be joined"
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE", "viewer")
    assert users("") == [None]
    with pytest.raises(ConfigError, match="no role 'boss'"):
        opened("boss")


MISTAKES: Mapping[str, tuple[str, str]] = {
    "no admin": ("analyst: {classes: {personal: hash, secret: hash}}", "no role admin"),
    "an admin who sees less": ("admin: {classes: {personal: hash}}", "admin sees everything"),
    "a class that is not told": ("viewer: {classes: {personal: hash}}", "secret columns"),
    "no such class": ("viewer: {classes: {personl: hash, secret: hash}}", "personl"),
    "no such mask": ("viewer: {classes: {personal: hush, secret: hash}}", "hush"),
    "no such table": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.x: {}}}",
                      "gold.x is not served"),
    "no such column": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                       "{columns: {usr: hash}}}}", "usr is no column"),
    "no such column of rows": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                               "{rows: {usr: [a]}}}}", "usr is no column"),
    "rows by a number": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                         "{rows: {segment_count: ['1']}}}}", "STRING columns only"),
    "no rows": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                "{rows: {segment: []}}}}", "segment"),
    "a hashed number": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                        "{columns: {segment_count: hash}}}}", "hash is for STRING"),
    "a bucket of texts": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                          "{columns: {segment: {bucket: 10}}}}}", "a bucket is for numbers"),
    "a table twice": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                      "{columns: {segment: nullify}}, gold.customer_segments: {}}}", "stands there twice"),
    "a bucket of nothing": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                            "{columns: {segment_count: {bucket: 0}}}}}", "bucket"),
    "a hidden partition": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                           "{columns: {as_of_date: nullify}}}}", "partitioned by"),
    "what a view is made of": ("viewer: {classes: {personal: hash, secret: hash}, tables: "
                               "{silver.product_revenue_5min: {columns: {product_id: hash}}}}", "a view is made of it"),
    "no YAML": ("{", "no valid YAML"), "a list": ("[a]", "dictionary"), "nothing": ("", "dictionary"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_policy_that_cannot_be_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    text, message = MISTAKES[kind]
    has_admin = kind in ("no admin", "an admin who sees less", "no YAML", "a list", "nothing")
    (tmp_path / "roles.yaml").write_text(text if has_admin else f"admin: {{classes: {{}}}}\n{text}")
    with pytest.raises(ConfigError, match=r"roles\.yaml") as raised:
        load_roles(tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value) or "YAML" in str(raised.value)
