"""The queries of sql/ before there are tables; test_differential_proof.py and test_goldens.py have their rows."""

from pathlib import Path

import pytest

from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.named_queries import NOTHING_YET, load_queries, resolve_parameters

QUERIES = load_queries(PROJECT_ROOT / "sql")
DASHBOARD_QUERIES = load_queries(PROJECT_ROOT / "sql" / "dashboard")


@pytest.mark.parametrize("name", QUERIES)
def test_a_lake_without_gold_gives_no_rows_and_all_columns(tmp_path: Path, name: str) -> None:
    with DuckDBWarehouse(Lake(str(tmp_path / "lake")), 60) as warehouse:
        parameters = resolve_parameters(QUERIES[name], {}, warehouse)
        answer = warehouse.query(QUERIES[name].sql, parameters)
    assert parameters["to_date"] == NOTHING_YET
    assert answer.num_rows == 0
    assert len(answer.column_names) >= 6


@pytest.mark.parametrize("name", DASHBOARD_QUERIES)
def test_a_query_of_the_dashboard_has_all_its_columns_before_there_is_a_table(tmp_path: Path, name: str) -> None:
    query = DASHBOARD_QUERIES[name]
    with DuckDBWarehouse(Lake(str(tmp_path / "lake")), 60) as warehouse:
        answer = warehouse.query(query.sql, resolve_parameters(query, {}, warehouse))
    assert len(answer.column_names) >= 2
