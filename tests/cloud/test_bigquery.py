"""BigQuery by its protocol: tables, publishing, questions; an emulator answers, which runs DuckDB inside."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from google.cloud import bigquery as google

from shoplake.contract.columns import Column
from shoplake.contract.tables import DAILY_SALES, LEDGER, PRODUCT_REVENUE_5MIN, TABLES, Table, View
from shoplake.errors import ContractError, LockError, QueryRefusedError, WarehouseError
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.locks import hold_lock
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.bigquery import BigQueryWarehouse, open_bigquery
from shoplake.warehouse.bigquery.publishing import STATE_LABEL
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.plan import published_tables, resolve_relation
from shoplake.warehouse.presentation import rows_of
from shoplake.warehouse.protocol import RELATIONS

pytestmark = pytest.mark.usefixtures("bigquery")
Rows = list[dict[str, Any]]
WriteTable = Callable[[Lake, Table, Rows], None]
FIRST = date(2028, 2, 26)  # a leap day is among the days
DAYS = [FIRST + timedelta(days=number) for number in range(6)]
# What views read and readers are not served is in the lake too.
WRITTEN = [table for table in TABLES if table.served or any(
    isinstance(relation, View) and table.name in relation.reads for relation in RELATIONS)]
QUERIES = {**load_queries(PROJECT_ROOT / "sql"), **load_queries(PROJECT_ROOT / "sql" / "dashboard")}

# Weeks of sales before and after, two days a week apart, one user in two tables: tests/sql has rows for these.
EMPTY_HERE = ("price_change_effect", "segment_changes", "user_segments")


@pytest.fixture
def lake() -> Lake:
    return locate_lake(load_settings())


@pytest.fixture
def warehouse() -> Iterator[BigQueryWarehouse]:
    with open_bigquery(load_settings()) as opened:
        yield opened


@pytest.fixture
def shop(lake: Lake, write_table: WriteTable) -> dict[Table, Rows]:
    """Fill every table that is served, or that a view reads, with random rows."""
    draw = random.Random(7)
    rows = {table: make_rows(table, draw) for table in WRITTEN}
    for table, made in rows.items():
        write_table(lake, table, made)
    return rows


def make_rows(table: Table, draw: random.Random, count: int = 40, largest: int = 10**15) -> Rows:
    """Give rows of every type at its edges, each key once; no amount is larger, in ten-thousandths."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(count):
        row = {column.name: draw_value(column, draw, largest) for column in table.columns}
        if "window_start" in row:
            row["window_date"] = row["window_start"].date()
        found[tuple(row[name] for name in table.key)] = row
    return list(found.values())


def draw_value(column: Column, draw: random.Random, largest: int) -> Any:
    if column.nullable and draw.random() < 0.3:
        return None
    values: dict[str, Callable[[], Any]] = {
        "STRING": lambda: draw.choice(["a", "B", "äß", "=1+1", "", "O'Hara", "日本"]),
        "BIGINT": lambda: draw.choice([0, 1, -3, 10**6]), "INT": lambda: draw.randrange(1, 8),
        "DATE": lambda: draw.choice(DAYS), "BOOLEAN": lambda: draw.random() < 0.5,
        # Powers of two: their sums are exact, whatever the order in which threads add them.
        "DOUBLE": lambda: draw.choice([0.0, 0.5, 12.25, 2.0**-20]), "BINARY": lambda: b"\x00x",
        "TIMESTAMP": lambda: datetime(2028, 2, 28, tzinfo=UTC) + timedelta(microseconds=draw.randrange(4 * 10**11)),
        "ARRAY<STRING>": lambda: draw.sample(["price_valid", "known_currency", "in_time"], draw.randrange(1, 3)),
        "ARRAY<DATE>": lambda: draw.sample(DAYS, draw.randrange(3)),
    }
    if column.type.startswith("DECIMAL"):
        precision, scale = map(int, column.type.removeprefix("DECIMAL(").rstrip(")").split(","))
        return Decimal(draw.randrange(-largest // 10**6, min(largest, 10**(precision - scale + 4)))).scaleb(-4)
    if column.type.startswith("ARRAY<STRUCT"):
        return {"ranges": [{"partition": 0, "from_offset": 0, "until_offset": 2**40}],
                "rules": [{"rule": "price_valid", "passed": 1, "failed": 0}]}.get(column.name)
    return values[column.type]()


def held(warehouse: BigQueryWarehouse | DuckDBWarehouse, relation: Table | View) -> list[str]:
    """Give all rows of a relation as sorted text; values of both warehouses look the same."""
    column = relation.partition_by if isinstance(relation, Table) else None
    filtered = f" WHERE {column} BETWEEN '0001-01-01' AND '9999-12-31'" if column else ""
    rows = warehouse.query(f"SELECT * FROM {relation.name}{filtered}")
    return sorted(map(str, ([normalize(value) for value in row] for row in rows_of(rows))))


def normalize(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.date()  # the emulator's DATE_TRUNC gives a time; Google's gives a DATE
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, list):
        return [normalize(item) for item in value]
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def assert_equal_to_lake(warehouse: BigQueryWarehouse, lake: Lake, *relations: Table | View) -> None:
    with DuckDBWarehouse(lake, 60) as embedded:
        for relation in relations or RELATIONS:
            assert held(warehouse, relation) == held(embedded, relation), relation.name


def replace_days(lake: Lake, table: Table, rows: Rows, *days: date) -> None:
    """Make `rows` the rows of these days in the lake."""
    listed = ", ".join(f"'{day}'" for day in days)
    schema = DeltaTable(lake.table(table)).to_pyarrow_dataset().schema
    write_deltalake(lake.table(table), pa.Table.from_pylist(rows, schema=schema), mode="overwrite",
                    predicate=f"{table.partition_by} IN ({listed})")


def labels_of(warehouse: BigQueryWarehouse, table: Table) -> dict[str, str]:
    return dict(warehouse._get_table(table).labels)


def staging_tables(warehouse: BigQueryWarehouse) -> set[str]:
    return {table.table_id for table in warehouse._client.list_tables("gold") if table.table_id.startswith("staging_")}


def run_sql(warehouse: BigQueryWarehouse, sql: str) -> None:
    """Change something behind the publisher's back."""
    warehouse._client.query_and_wait(sql)


def test_create_makes_the_contracts_tables_and_again_changes_nothing(
    warehouse: BigQueryWarehouse, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = warehouse.create()
    assert len(made) == len(RELATIONS)
    for table in published_tables():
        found = warehouse._get_table(table)
        partitioning = found.time_partitioning
        assert (partitioning.field if partitioning else None) == table.partition_by
        filtered = found.to_api_repr().get("timePartitioning", {}).get("requirePartitionFilter", False)
        assert filtered == table.requires_partition_filter
        assert [field.name for field in found.schema] == list(table.column_names)
        assert found.description == table.description
    run_sql(warehouse, "INSERT INTO ops.files (source, file_sha256, file_name, byte_count, status, arrived_at, "
            "recorded_at) VALUES ('a', 'b', 'c', 1, 'd', '2028-02-29', '2028-02-29')")
    assert warehouse.create() == made
    assert warehouse.query("SELECT source FROM ops.files").num_rows == 1, "what is there stays"


def test_every_table_holds_what_the_lake_holds_and_again_changes_nothing(
    warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows],
) -> None:
    warehouse.create()
    first = {one.table: one for one in warehouse.publish(RELATIONS)}
    assert_equal_to_lake(warehouse, lake)
    for table, rows in shop.items():
        if table.served:
            assert first[table.name].row_count == len(rows)
    again = warehouse.publish(RELATIONS)
    assert {one.message for one in again} == {"unchanged since it was published"}
    assert [one.row_count for one in again] == [one.row_count for one in first.values()]
    assert warehouse.newest_day("gold.daily_sales", "event_date") == max(DAYS)
    changed = warehouse.changed_at([relation.name for relation in RELATIONS])
    assert all(changed.values())


@pytest.mark.cloud
def test_a_merge_over_equal_rows_changes_none(
    warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows],
) -> None:
    partitioned = [table for table in published_tables() if table.partition_by]
    warehouse.create()
    first = warehouse.publish(partitioned)
    assert all(f" {one.row_count:,} rows changed" in one.message for one in first)
    for table in partitioned:  # as after another lake was published in between
        found = warehouse._get_table(table)
        found.labels = {**found.labels, STATE_LABEL: "other_7"}
        warehouse._client.update_table(found, ["labels"])
    assert all("all partitions compared, 0 rows changed" in one.message for one in warehouse.publish(partitioned))
    assert_equal_to_lake(warehouse, lake, *partitioned)


@pytest.mark.parametrize("table", [DAILY_SALES, PRODUCT_REVENUE_5MIN], ids=lambda table: table.name)
def test_only_changed_days_are_merged(
    warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows], table: Table,
) -> None:
    warehouse.create()
    warehouse.publish([table])
    column = str(table.partition_by)
    by_day: dict[date, Rows] = {}
    for row in shop[table]:
        by_day.setdefault(row[column], []).append(row)
    emptied, changed, *_, untouched = sorted(by_day, key=lambda day: (len(by_day[day]), day))
    if len(by_day[changed]) < 2:
        changed = max(day for day in by_day if day != untouched)
    first, *others = by_day[changed]
    new = {**first, "product_id": "brand-new"}
    replace_days(lake, table, [{**first, "units": 777}, *others[1:], new], changed)
    replace_days(lake, table, [], emptied)
    name = resolve_relation(table.name, load_settings().gcp)
    # Nobody does this; it shows what is read and written, and what is not.
    run_sql(warehouse, f"UPDATE `{name}` SET units = 666 WHERE {column} = '{untouched}'")
    (published,) = warehouse.publish([table])
    assert "rows of 2 changed partitions compared" in published.message
    with DuckDBWarehouse(lake, 60) as embedded:
        expected = rows_of(embedded.query(f"SELECT * FROM {table.name} WHERE {column} <> '{untouched}'"))
    seen = rows_of(warehouse.query(f"SELECT * FROM {table.name} WHERE {column} <= '9999-12-31'"))
    position = list(table.column_names).index(column)
    kept = [row for row in seen if row[position] != untouched]
    assert sorted(map(str, map(normalize, kept))) == sorted(map(str, map(normalize, expected)))
    tampered = [row[list(table.column_names).index("units")] for row in seen if row[position] == untouched]
    assert tampered == [666] * len(by_day[untouched])


def test_a_rebuilt_lake_is_published_whole_and_strays_go(
    warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows], write_table: WriteTable,
) -> None:
    warehouse.create()
    warehouse.publish([DAILY_SALES])
    subprocess.run(["rm", "-r", lake.table(DAILY_SALES)], check=True)
    write_table(lake, DAILY_SALES, [row for row in shop[DAILY_SALES] if row["event_date"] != DAYS[0]])
    (published,) = warehouse.publish([DAILY_SALES])
    assert "all partitions" in published.message
    assert_equal_to_lake(warehouse, lake, DAILY_SALES)


def test_a_table_that_the_lake_has_not_built_stays_as_it_is(warehouse: BigQueryWarehouse, lake: Lake) -> None:
    warehouse.create()
    assert {one.message for one in warehouse.publish(RELATIONS)} == {"not built yet in the lake"}
    assert set(warehouse.changed_at(["gold.daily_sales", "silver.quarantine_counts"]).values()) == {None}
    assert warehouse.newest_day("gold.daily_sales", "event_date") is None


# A publisher that stops where the test says, until it is killed.
STOPPED_PUBLISHER = """
import sys, time
from shoplake.contract.tables import DAILY_SALES
from shoplake.settings import load_settings
from shoplake.warehouse.bigquery import open_bigquery, publishing
def stop(*arguments):
    print("stopped", flush=True)
    time.sleep(600)
setattr(publishing, sys.argv[1], stop)
with open_bigquery(load_settings()) as warehouse:
    warehouse.publish([DAILY_SALES])
"""


@pytest.mark.parametrize("step", ["merge", pytest.param("_note", marks=pytest.mark.cloud)])
def test_a_killed_publisher_leaves_the_table_right(
    step: str, warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows],
) -> None:
    """Killed between load and MERGE, readers see the old rows; after it the new ones; the next publisher ends it."""
    warehouse.create()
    warehouse.publish([DAILY_SALES])
    before = held(warehouse, DAILY_SALES)
    replace_days(lake, DAILY_SALES, [], DAYS[0], DAYS[1])
    process = subprocess.Popen([sys.executable, "-c", STOPPED_PUBLISHER, step], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n"
        with pytest.raises(LockError, match="publish-gold"), hold_lock(lake, "publish-gold.daily_sales", 0):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    seen = held(warehouse, DAILY_SALES)
    assert (seen == before) == (step == "merge")
    left = staging_tables(warehouse)
    assert len(left) == (step == "merge")
    (published,) = warehouse.publish([DAILY_SALES])
    assert published.message.endswith("rows changed")
    assert published.message.endswith(" 0 rows changed") == (step == "_note")
    assert_equal_to_lake(warehouse, lake, DAILY_SALES)
    assert staging_tables(warehouse) == left, "ours is gone; another's is not touched, and expires"


@pytest.mark.cloud
def test_two_publishers_of_one_table_do_not_meet(
    warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows], monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse.create()
    with hold_lock(lake, "publish-gold.daily_sales", 0):
        monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
        with open_bigquery(load_settings()) as second, pytest.raises(LockError, match="publish-gold"):
            second.publish([DAILY_SALES])
    assert STATE_LABEL not in labels_of(warehouse, DAILY_SALES)
    monkeypatch.delenv("SHOPLAKE_LAKE__LOCK_TIMEOUT")
    command = [sys.executable, str(PROJECT_ROOT / "gcp" / "bigquery_client.py"), "publish"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    lines = [next(line for line in text.splitlines() if line.startswith("gold.daily_sales ")) for text in texts]
    assert sorted("unchanged" in line for line in lines) == [False, True]
    assert_equal_to_lake(warehouse, lake)


@pytest.mark.parametrize(("change", "message"), [
    ("DROP COLUMN cart_count", "it lacks the column cart_count"),
    ("ADD COLUMN margin NUMERIC", "it has a column margin, which is none of the contract's"),
    ("ALTER", "its column units is REQUIRED STRING, not REQUIRED INTEGER"),
    ("PARTITION", "it is partitioned by nothing, not by event_date (DAY)"),
    ("MONTH", "it is partitioned by event_date (MONTH), not by event_date (DAY)"),
])
def test_a_drifted_table_stops_everything_before_anything_is_loaded(
    change: str, message: str, warehouse: BigQueryWarehouse, lake: Lake, shop: dict[Table, Rows],
) -> None:
    warehouse.create()
    found = warehouse._get_table(DAILY_SALES)
    fields = [field.to_api_repr() for field in found.schema]
    if change.startswith("DROP"):
        fields = [field for field in fields if field["name"] != "cart_count"]
    elif change.startswith("ADD"):
        fields.append({"name": "margin", "type": "NUMERIC", "mode": "NULLABLE"})
    elif change == "ALTER":
        fields = [{**field, "type": "STRING"} if field["name"] == "units" else field for field in fields]
    drifted = google.Table(found.reference, schema=[google.SchemaField.from_api_repr(field) for field in fields])
    drifted.time_partitioning = None if change == "PARTITION" else found.time_partitioning
    if change == "MONTH":
        drifted.time_partitioning = google.TimePartitioning(type_="MONTH", field="event_date")
    warehouse._client.delete_table(found)
    warehouse._client.create_table(drifted)
    with pytest.raises(WarehouseError) as caught:
        warehouse.publish(RELATIONS)
    assert caught.value.exit_code == 1
    assert message in str(caught.value)
    assert "bigquery_client.py create --profile dev" in str(caught.value)
    others = [table for table in published_tables() if table is not DAILY_SALES]
    assert not any(STATE_LABEL in labels_of(warehouse, table) for table in others)


def test_a_missing_table_names_the_command_that_makes_it(warehouse: BigQueryWarehouse, shop: dict[Table, Rows]) -> None:
    for attempt in (lambda: warehouse.publish(RELATIONS), lambda: warehouse.changed_at(["gold.daily_sales"]),
                    lambda: warehouse.query("SELECT batch_id FROM ops.ledger")):
        with pytest.raises(WarehouseError, match=r"python gcp/bigquery_client.py create --profile dev") as caught:
            attempt()
        assert caught.value.exit_code == 1


def test_a_lake_table_with_a_null_where_none_is_promised_is_not_published(
    warehouse: BigQueryWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    warehouse.create()
    row = make_rows(LEDGER, random.Random(1), 1)[0]
    write_table(lake, LEDGER, [{**row, "topic": None}])
    with pytest.raises(ContractError, match="holds a NULL in topic"):
        warehouse.publish([LEDGER])


@pytest.mark.cloud
def test_every_query_answers_as_the_embedded_warehouse_does(
    warehouse: BigQueryWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    # The emulator averages NUMERIC in floating point; Google's own engine answers with all digits in tests/sql.
    draw = random.Random(7)
    for table in WRITTEN:
        write_table(lake, table, make_rows(table, draw, largest=10**10))
    warehouse.create()
    warehouse.publish(RELATIONS)
    different = {}
    with DuckDBWarehouse(lake, 60) as embedded:
        for name, query in QUERIES.items():
            parameters = resolve_parameters(query, {}, warehouse)
            assert parameters == resolve_parameters(query, {}, embedded)
            expected = embedded.query(query.sql, parameters)
            seen = warehouse.query(query.sql, parameters)
            assert seen.column_names == expected.column_names
            answers = [[[normalize(value) for value in row] for row in rows_of(rows)] for rows in (seen, expected)]
            if answers[0] != answers[1]:
                different[name] = answers
            assert expected.num_rows or name in EMPTY_HERE, f"{name} compares nothing"
    assert different == {}


@pytest.mark.parametrize(("sql", "message"), [
    ("DROP TABLE gold.daily_sales", "seen: DROP"), ("SELECT 1 AS a; SELECT 2 AS b", "2 statements"),
    ("INSERT INTO ops.runs (run_id) VALUES ('x')", "seen: INSERT"), ("DECLARE x INT64", "seen|GoogleSQL"),
    ("SELECT * FROM bronze.events", "bronze.events"), ("SELECT @@project_id AS p", "system variable"),
    ("SELECT * FROM EXTERNAL_QUERY('c', 'SELECT 1')", "table function"),
    ("EXPORT DATA OPTIONS(uri='gs://x/*') AS SELECT 1 AS a", "seen|GoogleSQL"),
    ("SELECT units FROM gold.daily_sales", "partition column event_date"),
])
def test_only_one_filtered_select_is_sent(sql: str, message: str, warehouse: BigQueryWarehouse) -> None:
    with pytest.raises(QueryRefusedError, match=message) as caught:
        warehouse.query(sql)
    assert caught.value.exit_code == 2
