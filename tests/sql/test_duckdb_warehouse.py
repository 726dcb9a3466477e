"""The embedded warehouse: contract types, tables that appear, locked doors, limits."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shoplake.contract.tables import DAILY_SALES, LEDGER, PRODUCT_REVENUE_5MIN, SILVER_QUARANTINE, TABLES, VIEWS, Table
from shoplake.errors import EXIT_USAGE, ConfigError, WarehouseError
from shoplake.lake.addresses import Lake
from shoplake.lake.sql import connect_duckdb, select_nothing
from shoplake.settings import load_settings
from shoplake.warehouse import open_warehouse
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.protocol import RELATIONS

WriteTable = Callable[[Lake, Table, list[dict[str, Any]]], None]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SAMPLES: dict[str, Any] = {
    "STRING": "x", "INT": 1, "BIGINT": 2**40, "DOUBLE": 0.5, "BOOLEAN": True, "DATE": NOON.date(), "TIMESTAMP": NOON,
    "BINARY": b"x", "DECIMAL(18,4)": Decimal("1.2345"), "DECIMAL(28,4)": Decimal("12345678901234567890.1234"),
    "DECIMAL(28,6)": Decimal("0.123456"), "ARRAY<DATE>": [NOON.date()], "ARRAY<STRING>": ["price_valid", "text_clean"],
}


def _row(table: Table, **values: Any) -> dict[str, Any]:
    return {column.name: values.get(column.name, SAMPLES.get(column.type)) for column in table.columns}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def warehouse(lake: Lake) -> Iterator[DuckDBWarehouse]:
    with DuckDBWarehouse(lake, 60) as opened:
        yield opened


def test_a_table_that_is_not_built_is_empty_and_typed(warehouse: DuckDBWarehouse, lake: Lake) -> None:
    with connect_duckdb(lake) as connection:
        for relation in RELATIONS:
            answer = warehouse.query(f"SELECT * FROM {relation.name}")
            assert answer.num_rows == 0
            promised = connection.execute(select_nothing(relation.columns)).to_arrow_table()
            assert answer.schema.types == promised.schema.types
            assert answer.column_names == [column.name for column in relation.columns]
    assert not Path(lake.root).exists(), "reading made something"


@pytest.mark.parametrize("table", [table for table in TABLES if table.served], ids=lambda table: table.name)
def test_a_delta_table_has_the_contracts_types_and_values(
    warehouse: DuckDBWarehouse, lake: Lake, write_table: WriteTable, table: Table,
) -> None:
    empty = warehouse.query(f"SELECT * FROM {table.name}")
    row = _row(table)
    write_table(lake, table, [row])
    answer = warehouse.query(f"SELECT * FROM {table.name}")  # the same connection sees the table that has appeared
    assert answer.schema == empty.schema
    assert answer.to_pylist() == [row]
    assert [(one.table, one.row_count) for one in warehouse.publish([table])] == [(table.name, 1)]


def test_quarantine_counts_each_reason_of_each_day(
    warehouse: DuckDBWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    write_table(lake, SILVER_QUARANTINE, [
        _row(SILVER_QUARANTINE, reasons=["price_valid"]), _row(SILVER_QUARANTINE),
        _row(SILVER_QUARANTINE, reasons=["price_valid"], ingest_date=date(2026, 3, 2)),
    ])
    answer = warehouse.query("SELECT * FROM silver.quarantine_counts ORDER BY ingest_date, reason")
    assert [tuple(row.values()) for row in answer.to_pylist()] == [
        (date(2026, 3, 1), "price_valid", 2), (date(2026, 3, 1), "text_clean", 1), (date(2026, 3, 2), "price_valid", 1),
    ]


def test_the_latest_window_ranks_its_products(
    warehouse: DuckDBWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    later = NOON.replace(minute=5)
    write_table(lake, PRODUCT_REVENUE_5MIN, [
        _row(PRODUCT_REVENUE_5MIN, product_id="old", net_amount=Decimal(99)),
        *(_row(PRODUCT_REVENUE_5MIN, window_start=later, product_id=name, net_amount=Decimal(amount))
          for name, amount in (("a", 1), ("b", 5), ("c", 5))),
    ])
    sql = "SELECT product_id, revenue_rank FROM silver.latest_window_products ORDER BY revenue_rank, product_id"
    assert [tuple(row.values()) for row in warehouse.query(sql).to_pylist()] == [("b", 1), ("c", 1), ("a", 3)]


def test_publish_covers_every_served_table_and_view(warehouse: DuckDBWarehouse) -> None:
    published = warehouse.publish(RELATIONS)
    served = {table.name for table in TABLES if table.served} | {view.name for view in VIEWS}
    assert {one.table for one in published} == served
    assert {one.row_count for one in published} == {0}


def test_a_table_that_drifted_from_the_contract_is_named(warehouse: DuckDBWarehouse, lake: Lake) -> None:
    columns = {name: pa.array([1]) for name in LEDGER.column_names}
    write_deltalake(lake.table(LEDGER), pa.table(columns))
    with pytest.raises(WarehouseError, match=r"ops\.ledger .* is not what the contract says: query_id BIGINT"):
        warehouse.publish([LEDGER])
    write_deltalake(lake.table(DAILY_SALES), pa.table({"event_date": pa.array([NOON.date()])}))
    with pytest.raises(WarehouseError, match=r"gold\.daily_sales .* cannot be served: .*product_id"):
        warehouse.query("SELECT COUNT(*) AS c FROM gold.daily_sales")


def test_a_limit_cuts_after_the_order(warehouse: DuckDBWarehouse) -> None:
    sql = "SELECT v FROM UNNEST([3, 1, 2]) AS v ORDER BY v"
    assert warehouse.query(sql, limit=2)["v"].to_pylist() == [1, 2]


def test_a_query_is_stopped_after_the_timeout(lake: Lake) -> None:
    days = "UNNEST(GENERATE_DATE_ARRAY('1900-01-01', '2200-01-01'))"
    sql = f"SELECT COUNT(*) AS c FROM {days} AS a, {days} AS b, {days} AS c WHERE a > b OR b > c"
    with DuckDBWarehouse(lake, 0.2) as hurried, pytest.raises(WarehouseError, match=r"stopped after 0\.2 s"):
        hurried.query(sql)


def test_a_failing_query_is_told_in_one_line(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"the query failed: .*division by zero"):
        warehouse.query("SELECT 1 / (v - v) AS x FROM UNNEST([1]) AS v")


@pytest.mark.parametrize("sql", [
    "SELECT * FROM read_text('{outside}')", "SELECT * FROM read_csv('{outside}')", "ATTACH '{outside}' AS x",
    "COPY (SELECT 1) TO '{outside}.csv'", "SET threads = 1", "SET enable_external_access = true", "INSTALL httpfs",
    "RESET allowed_directories",
])
def test_the_connection_itself_reads_and_writes_nothing_outside_the_lake(lake: Lake, tmp_path: Path, sql: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret\n")
    with connect_duckdb(lake) as connection, pytest.raises(duckdb.Error):
        connection.execute(sql.format(outside=outside)).fetchall()
    assert outside.read_text() == "secret\n"


def test_a_quote_in_the_lakes_path_is_only_a_name(tmp_path: Path, write_table: WriteTable) -> None:
    lake = Lake(str(tmp_path / "o'lake"))
    write_table(lake, DAILY_SALES, [_row(DAILY_SALES)])
    with DuckDBWarehouse(lake, 60) as warehouse:
        assert warehouse.query("SELECT units FROM gold.daily_sales").num_rows == 1


def test_the_cloud_profiles_need_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--profile local") as caught:
        open_warehouse(load_settings("dev"))
    assert caught.value.exit_code == EXIT_USAGE
