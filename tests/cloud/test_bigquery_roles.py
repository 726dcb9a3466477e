"""Roles in BigQuery by its protocol: an emulator answers, which holds row policies against who asks."""

import json
import re
import runpy
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from role_oracle import (
    DAY,
    HIDDEN,
    HIDDEN_TRIES,
    MASKED_TRIES,
    POLICY,
    SECRET,
    SERVED,
    draw_rows,
    expected,
    guarded_rows,
    in_order,
)

from shoplake.contract.tables import CUSTOMER_SEGMENTS, USERS_DIM, Table
from shoplake.errors import ConfigError, ShoplakeError, WarehouseError
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.keys import purpose_key
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse import open_warehouse
from shoplake.warehouse.bigquery import BigQueryWarehouse, open_bigquery
from shoplake.warehouse.bigquery.roles import _authorise, _close_to_project
from shoplake.warehouse.plan import resolve_relation
from shoplake.warehouse.protocol import RELATIONS, find_relation
from shoplake.warehouse.role_plan import plan_role_datasets

pytestmark = [pytest.mark.cloud, pytest.mark.usefixtures("bigquery")]
WriteTable = Callable[[Lake, Table, list[dict[str, Any]]], None]
ROLES = [role for role in POLICY if role != "admin"]
MEMBERS = {role: [f"group:{role}@shop.example"] for role in POLICY}


@pytest.fixture(autouse=True)
def members(bigquery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", json.dumps(MEMBERS))


@pytest.fixture
def pipeline() -> Iterator[BigQueryWarehouse]:
    """Give BigQuery as Airflow asks it."""
    with open_bigquery(load_settings()) as warehouse:
        account = f"shoplake-airflow@{load_settings().gcp.project_id}.iam.gserviceaccount.com"
        yield act_as(warehouse, f"serviceAccount:{account}")


@pytest.fixture
def lake() -> Lake:
    return locate_lake(load_settings())


def act_as(warehouse: BigQueryWarehouse, who: str, *groups: str) -> BigQueryWarehouse:
    """Ask as somebody: the emulator takes a person's word for it."""
    warehouse._client._http.headers.update({"X-Bqemu-Caller": who, "X-Bqemu-Groups": ",".join(groups)})
    return warehouse


def open_as(role: str) -> BigQueryWarehouse:
    return act_as(open_bigquery(load_settings(), role), "user:x@shop.example", f"{role}@shop.example")


def whole(table: Table) -> str:
    where = f" WHERE {table.partition_by} >= '2000-01-01'" if table.partition_by else ""
    return f"SELECT * FROM {table.name}{where}"


def rows_of(warehouse: BigQueryWarehouse, sql: str) -> list[tuple[Any, ...]]:
    return in_order([tuple(row.values()) for row in warehouse.query(sql).to_pylist()])


def policies_of(warehouse: BigQueryWarehouse, table: Table) -> list[str]:
    project, dataset, short = resolve_relation(table.name, load_settings().gcp).split(".")
    path = f"/projects/{project}/datasets/{dataset}/tables/{short}/rowAccessPolicies"
    found = warehouse._client._call_api(None, method="GET", path=path).get("rowAccessPolicies", [])
    return sorted(policy["rowAccessPolicyReference"]["policyId"] for policy in found)


def test_each_role_sees_what_the_policy_says_and_the_pipeline_all(
    pipeline: BigQueryWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    for table in SERVED.values():
        write_table(lake, table, draw_rows(table))
    pipeline.create()
    pipeline.publish(RELATIONS)
    salt = purpose_key(load_settings(), "mask").hex()
    for role in ROLES:
        with open_as(role) as seen:
            for name, table in SERVED.items():
                assert rows_of(seen, whole(table)) == in_order(expected(role, table, salt)), (role, name)
            assert seen.changed_at(["gold.customer_segments"])["gold.customer_segments"]
            assert seen.newest_day("gold.customer_segments", "as_of_date") == DAY + timedelta(2)
    for table in SERVED.values():
        assert rows_of(pipeline, whole(table)) == in_order(expected("admin", table)), table.name


def test_behind_the_views_the_tables_give_a_person_no_more_rows(
    pipeline: BigQueryWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    for table in (CUSTOMER_SEGMENTS, USERS_DIM):
        write_table(lake, table, draw_rows(table))
    pipeline.create()
    pipeline.publish([CUSTOMER_SEGMENTS, USERS_DIM])
    changed = [{**row, "segment": "lost"} for row in draw_rows(CUSTOMER_SEGMENTS)]
    with open_bigquery(load_settings()) as tables:
        for table in (CUSTOMER_SEGMENTS, USERS_DIM):
            count = f"SELECT COUNT(*) AS n FROM ({whole(table)}) AS t"
            for who, n in (("marketing", len(expected("marketing", table))), ("analyst", len(draw_rows(table)))):
                act_as(tables, "user:x@shop.example", f"{who}@shop.example")
                assert rows_of(tables, count) == [(n,)], (who, table.name)
            act_as(tables, "user:stranger@else.example")
            assert rows_of(tables, count) == [(0,)], table.name
    # With the policies in place the pipeline goes on: a MERGE that saw fewer rows would leave others behind.
    write_table(lake, CUSTOMER_SEGMENTS, changed)
    pipeline.publish([CUSTOMER_SEGMENTS])
    assert {row[2] for row in rows_of(pipeline, whole(CUSTOMER_SEGMENTS))} == {"lost"}
    with open_as("marketing") as seen:
        assert rows_of(seen, whole(CUSTOMER_SEGMENTS)) == []


def all_that_is_said(warehouse: BigQueryWarehouse, sql: str) -> tuple[str, str]:
    """Give the rows of an answer, and all else that a person gets to see: the plan, messages."""
    rows, said = "", []
    try:
        rows = json.dumps([list(row.values()) for row in warehouse.query(sql).to_pylist()], default=str)
    except ShoplakeError as error:
        said.append(str(error))
    try:
        said.append(warehouse.explain(sql))
    except ShoplakeError as error:
        said.append(str(error))
    return rows, "\n".join(said)


def test_no_question_shows_what_is_masked_or_hidden(
    pipeline: BigQueryWarehouse, lake: Lake, write_table: WriteTable,
) -> None:
    for table, rows in guarded_rows().items():
        write_table(lake, table, rows)
    pipeline.create()
    pipeline.publish([find_relation(table.name) for table in guarded_rows()])
    salt = purpose_key(load_settings(), "mask").hex()
    tries = [(role, sql, SECRET) for role in ROLES for sql in MASKED_TRIES]
    tries += [("marketing", sql, HIDDEN) for sql in HIDDEN_TRIES]
    warehouses = {role: open_as(role) for role in ROLES}
    answered = 0
    for role, sql, wanted in tries:
        rows, said = all_that_is_said(warehouses[role], sql)
        answered += bool(rows)
        assert wanted not in rows, (role, sql)
        assert "found" not in rows, (role, sql)
        assert salt not in rows + said, (role, sql)
        assert wanted in sql or wanted not in said, (role, sql)
        assert not ("ZZ" in sql and re.search("division by zero|verflow|square root|out of range", said)), (role, sql)
    assert answered > len(tries) / 2


def test_the_salt_is_in_no_statement_and_no_view(
    pipeline: BigQueryWarehouse, monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements: list[str] = []
    run = pipeline._jobs.run
    monkeypatch.setattr(pipeline._jobs, "run", lambda sql, *rest, **named: (
        statements.append(f"{sql} {rest} {named}"), run(sql, *rest, **named))[1])
    pipeline.create()
    salt, gcp = purpose_key(load_settings(), "mask").hex(), load_settings().gcp
    assert len(statements) > 100
    assert salt not in "".join(statements)
    views = [pipeline._client.get_table(resolve_relation(relation.name, gcp, role))
             for role in ROLES for relation in RELATIONS]
    assert all(view.table_type == "VIEW" and salt not in str(view.to_api_repr()) for view in views)
    held = list(pipeline._client.query(f"SELECT salt FROM `{gcp.project_id}.private.mask_salt`").result())
    assert [tuple(row) for row in held] == [(salt,)]


READER, OWNER = ({"role": role, "specialGroup": group} for role, group in (
    ("READER", "projectReaders"), ("OWNER", "projectOwners")))


@pytest.mark.parametrize(("dataset", "kept"), [("gold", [READER, OWNER]), ("private", [OWNER])])
def test_a_dataset_lets_the_views_of_roles_read_and_the_private_one_nobody_else_of_the_project(
    dataset: str, kept: list[dict[str, str]], google: Any,
) -> None:
    held: dict[str, Any] = {"datasetReference": {"projectId": "shoplake-dev", "datasetId": dataset},
                            "access": [READER, OWNER]}

    def respond(method: str, path: str) -> tuple[int, dict[str, Any]]:
        assert path.startswith(f"/bigquery/v2/projects/shoplake-dev/datasets/{dataset}")
        if method == "PATCH":
            held.update(google.requests[-1][2])
        return 200, held

    google.respond = respond
    settings = load_settings("dev").model_copy(update={"gcp": load_settings("dev").gcp.model_copy(
        update={"project_id": "shoplake-dev"})})
    views = plan_role_datasets(settings.gcp, settings.governance)[f"shoplake-dev.{dataset}"]
    with open_bigquery(settings) as warehouse:
        for _ in range(2):
            if dataset == "private":
                _close_to_project(warehouse._jobs, f"shoplake-dev.{dataset}")
                assert held["access"][0] == OWNER, "before the salt is loaded"
            _authorise(warehouse._jobs, f"shoplake-dev.{dataset}", views)
    for entry, view in zip(held["access"][len(kept):], views, strict=True):
        reference = dict(zip(("projectId", "datasetId"), view.split("."), strict=True))
        assert entry == {"role": None, "dataset": {"dataset": reference, "targetTypes": ["VIEWS"]}}
    assert held["access"][:len(kept)] == kept
    assert len(views) == (9 if dataset == "private" else 3)
    steps = 2 if dataset == "private" else 1
    assert [method for method, _, _ in google.requests] == ["GET", "PATCH"] * steps + ["GET"] * steps, (
        "the second time nothing is missing")


def test_a_role_that_nobody_has_any_more_loses_its_row_policy(
    pipeline: BigQueryWarehouse, monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline.create()
    assert policies_of(pipeline, USERS_DIM) == ["shoplake_marketing", "shoplake_whole"]
    users = resolve_relation(USERS_DIM.name, load_settings().gcp)
    pipeline._client.query(f"CREATE ROW ACCESS POLICY theirs ON `{users}`"
                           " GRANT TO ('user:x@else.example') FILTER USING (FALSE)").result()
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", json.dumps({"viewer": MEMBERS["viewer"]}))
    with open_bigquery(load_settings()) as warehouse:
        warehouse.create()
        assert policies_of(warehouse, USERS_DIM) == ["theirs"], "those of others stay"


def test_what_is_missing_is_told_with_the_next_command(
    pipeline: BigQueryWarehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    main = runpy.run_path(str(PROJECT_ROOT / "sql" / "run_analytics.py"))["main"]
    question = ["--sql", "SELECT user_id FROM silver.users_dim", "--role", "viewer", "--profile", "dev"]
    assert main(question) == 1
    assert "python gcp/bigquery_client.py create --profile dev" in capsys.readouterr().err
    pipeline.create()
    with pytest.raises(WarehouseError, match=r"create --profile dev"), open_bigquery(load_settings(), "boss") as none:
        none.query("SELECT user_id FROM silver.users_dim")
    assert main([*question, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", "{}")
    with pytest.raises(ConfigError, match=r"nobody has the role viewer.*role_members.*create --profile dev"):
        open_warehouse(load_settings(), "viewer")
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", json.dumps(MEMBERS))
    monkeypatch.delenv("SHOPLAKE_GOVERNANCE__KEY")
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY_SECRET", "")
    with pytest.raises(ConfigError, match="SHOPLAKE_GOVERNANCE__KEY"), open_bigquery(load_settings()) as warehouse:
        warehouse.create()
