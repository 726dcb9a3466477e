"""What BigQuery would hold for roles: its views and row policies give, in Google's own engine, what the policy says."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from role_oracle import (
    HIDDEN,
    HIDDEN_TRIES,
    MASKED_TRIES,
    POLICY,
    SALT,
    SECRET,
    draw_rows,
    expected,
    guarded_rows,
    in_order,
    mask_of,
)

from shoplake.contract.tables import Table
from shoplake.errors import ConfigError, QueryRefusedError
from shoplake.sections import GovernanceSettings
from shoplake.settings import load_settings
from shoplake.warehouse.googlesql import read_query
from shoplake.warehouse.plan import published_tables
from shoplake.warehouse.protocol import RELATIONS
from shoplake.warehouse.role_plan import (
    SALT as SALT_TABLE,
)
from shoplake.warehouse.role_plan import (
    plan_role_datasets,
    plan_role_views,
    plan_row_policies,
    plan_terraform_roles,
)

ROLES = [role for role in POLICY if role != "admin"]
GCP = load_settings("local").gcp  # without a project, so names are dataset.table
TABLES = {table.name: table for table in published_tables()}
SALT_ROWS = {SALT_TABLE.name: (SALT_TABLE.columns, [(SALT,)])}
GoogleSql = Callable[..., Any]


def held_by(**members: str) -> GovernanceSettings:
    given = {role: (member,) for role, member in members.items()}
    return load_settings("local").governance.model_copy(update={"role_members": given})


EVERYBODY = held_by(**{role: f"group:{role}@shop.example" for role in POLICY})
VIEWS = {statement.split("`")[1]: statement for statement in plan_role_views(GCP, EVERYBODY)
         if statement.startswith("CREATE OR REPLACE VIEW")}


def select_of(role: str, table: str) -> str:
    """Give the question of a view, with names that the engine's stand-ins know."""
    dataset, _, short = table.partition(".")
    return VIEWS[f"{dataset}_{role}.{short}"].partition("\nAS\n")[2].replace(
        f"`{table}`", table).replace(f"`{SALT_TABLE.name}`", SALT_TABLE.name)


def values(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("role", ROLES)
def test_each_view_shows_the_rows_and_columns_that_the_policy_says(role: str, google_sql: GoogleSql) -> None:
    assert len(VIEWS) == len(ROLES) * len(TABLES)
    for name, table in TABLES.items():
        given = {name: (table.columns, values(draw_rows(table))), **SALT_ROWS}
        columns, _, seen = google_sql(select_of(role, name), {}, given)
        assert columns == list(table.column_names)
        assert in_order(seen) == in_order(expected(role, table)), name


@pytest.mark.parametrize("salt_rows", [[], [("a",), ("b",)]], ids=["none", "two"])
def test_without_its_one_salt_a_view_shows_no_hash(salt_rows: list[tuple[str]], google_sql: GoogleSql) -> None:
    table = TABLES["gold.customer_segments"]
    given = {table.name: (table.columns, values(draw_rows(table))), SALT_TABLE.name: (SALT_TABLE.columns, salt_rows)}
    if salt_rows:
        with pytest.raises(Exception, match="More than one element"):
            google_sql(select_of("analyst", table.name), {}, given)
    else:
        names, _, seen = google_sql(select_of("analyst", table.name), {}, given)
        assert {row[names.index("user_id")] for row in seen} == {None}


def ask(google_sql: GoogleSql, role: str, sql: str, rows: Mapping[Table, list[dict[str, Any]]]) -> str:
    """Give all that a member of the role gets to see of a question: rows or message."""
    try:
        read = read_query(sql, {}, RELATIONS).tables  # as the warehouse does, before it sends anything
        assert read or "FROM gold" not in sql
        given = {table.name: (table.columns, values(made)) for table, made in rows.items()}
        text = re.sub(r"\b(gold|silver)\.(\w+)", lambda found: f"({select_of(role, found[0])})", sql)
        return json.dumps(google_sql(text, {}, {**given, **SALT_ROWS})[2], default=str)
    except QueryRefusedError as error:
        return f"refused: {error}"
    except Exception as error:  # the engine's own
        return f"failed: {error}"


@pytest.mark.parametrize(("role", "tries", "wanted"), [
    ("analyst", MASKED_TRIES, SECRET), ("viewer", MASKED_TRIES, SECRET), ("marketing", MASKED_TRIES, SECRET),
    ("marketing", HIDDEN_TRIES, HIDDEN)], ids=lambda value: value if isinstance(value, str) else "")
def test_no_way_through_the_views_shows_what_is_masked_or_hidden(
    role: str, tries: tuple[str, ...], wanted: str, google_sql: GoogleSql,
) -> None:
    answers = {sql: ask(google_sql, role, sql, guarded_rows()) for sql in tries}
    for sql, said in answers.items():
        if wanted not in sql:  # else a message may repeat what was typed
            assert wanted not in said, sql
        if not said.startswith(("refused", "failed")):
            assert wanted not in said, sql
            assert "found" not in said, sql
        assert SALT not in said, sql
        assert not ("ZZ" in sql and re.search("division by zero|overflow|negative|out of range", said)), sql
    assert sum(said.startswith("[") for said in answers.values()) > len(tries) / 2, "most are answered"


def test_row_policies_stand_where_a_role_filters_and_give_the_pipeline_all_rows_first(google_sql: GoogleSql) -> None:
    policies = plan_row_policies(load_settings("dev").gcp, EVERYBODY)
    filtered = {table for role in ROLES for table, its in POLICY[role].get("tables", {}).items() if its.get("rows")}
    assert {name for name, its in policies.items() if its} == filtered == {"gold.customer_segments", "silver.users_dim"}
    for name in filtered:
        (first, whole), *others = policies[name].items()
        assert first == "shoplake_whole"
        assert whole.endswith("FILTER USING (TRUE)")
        everybody = set(re.findall(r"'(\w+:[^']+)'", whole))
        assert everybody == {
            *(f"serviceAccount:shoplake-{work}@shoplake-dev.iam.gserviceaccount.com"
              for work in ("airflow", "dashboard", "ml")),
            "group:admin@shop.example", "group:analyst@shop.example", "group:viewer@shop.example"}
        assert [policy for policy, _ in others] == ["shoplake_marketing"]
        table, statement = TABLES[name], others[0][1]
        assert "GRANT TO ('group:marketing@shop.example')" in statement
        rows = values(draw_rows(table))
        kept = statement.partition("FILTER USING ")[2]
        _, _, seen = google_sql(f"SELECT COUNT(*) AS n FROM {name} WHERE {kept}", {}, {name: (table.columns, rows)})
        assert seen == [(len(expected("marketing", table)),)]
        assert 0 < seen[0][0] < len(rows)


def test_a_role_that_nobody_has_has_no_view_and_no_policy() -> None:
    assert plan_role_views(GCP, held_by()) == ()
    assert not any(plan_row_policies(GCP, held_by()).values())
    assert plan_role_datasets(GCP, held_by()) == {}
    one = held_by(viewer="domain:shop.example", admin="user:boss@shop.example")
    datasets = plan_role_datasets(GCP, one)
    assert datasets == {"gold": ("gold_viewer",), "silver": ("silver_viewer",), "ops": ("ops_viewer",),
                        "private": ("silver_viewer", "gold_viewer", "ops_viewer")}
    assert not any(plan_row_policies(GCP, one).values()), "it filters no rows"
    with pytest.raises(ConfigError, match=r"governance\.role_members names 'boss'"):
        plan_role_views(GCP, held_by(boss="user:boss@shop.example"))


def test_a_member_is_written_as_google_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", '{"viewer": ["group:a\') FILTER USING (TRUE"]}')
    with pytest.raises(ConfigError, match="role_members"):
        load_settings("dev")


def test_tags_let_a_role_read_what_its_views_are_made_of_and_no_more() -> None:
    held = json.loads(plan_terraform_roles())
    assert held["roles"] == ROLES
    for name, table in TABLES.items():
        for column in table.columns:
            filtering = {role for role in ROLES
                         if column.name in POLICY[role].get("tables", {}).get(name, {}).get("rows", {})}
            reading = {role for role in ROLES if mask_of(role, table, column) != "nullify"} | filtering
            tag = held["columns"].get(name, {}).get(column.name)
            assert (set(held["tags"][tag]) if tag else set(ROLES)) == reading, (name, column.name)
