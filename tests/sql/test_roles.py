"""Roles: what each sees of each served table, by plain Python and in DuckDB; and ways around."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from role_oracle import (
    HASH,
    HIDDEN,
    HIDDEN_TRIES,
    MASKED_TRIES,
    POLICY,
    ROWS,
    SALT,
    SECRET,
    SERVED,
    draw_rows,
    expected,
    guarded_rows,
    in_order,
    make_row,
    mask_of,
)

from shoplake.contract.tables import USERS_DIM
from shoplake.errors import ConfigError, ShoplakeError
from shoplake.governance.roles import find_role, load_roles
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import load_settings
from shoplake.warehouse import Warehouse, open_warehouse
from shoplake.warehouse.duckdb import DuckDBWarehouse


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, write_table: Callable[..., None]) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("roles")))
    for table in SERVED.values():
        write_table(lake, table, draw_rows(table))
    return lake


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
    # A hash joins as well as what it hides: from a visit to what was cancelled of it.
    keys = {"gold.sessions": ("session_key",), "gold.cancellations": ("event_id", "order_event_id")}
    assert all(mask_of(role, table, column) == "nullify" for name, columns in keys.items()
               for table in [SERVED[name]] for column in table.columns if column.name in columns)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, write_table: Callable[..., None]) -> Lake:
    """A lake with one person whom nobody but an admin may know, and one row that marketing may not see at all."""
    lake = Lake(str(tmp_path_factory.mktemp("guarded")))
    for table, rows in guarded_rows().items():
        write_table(lake, table, rows)
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
    "more values than fit": ("viewer: {classes: {personal: hash, secret: hash}, tables: {gold.customer_segments: "
                             f"{{rows: {{segment: [{', '.join(f'{number:020}x' for number in range(900))}]}}}}}}}}",
                             "10,000 characters"),
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
