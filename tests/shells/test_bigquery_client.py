"""gcp/bigquery_client.py: the plan is offline, publishing checks the embedded warehouse."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from deltalake import write_deltalake

from shoplake.contract.tables import DAILY_SALES, TABLES, VIEWS
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

MAIN: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / "gcp" / "bigquery_client.py"))["main"]
Capture = pytest.CaptureFixture[str]


def test_the_plan_makes_each_dataset_and_served_table_once_under_resolved_names(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_GCP__DATASET_ID", "gold_of_mine")
    assert MAIN(["plan", "--profile", "dev", "--json"]) == 0
    statements = json.loads(capsys.readouterr().out)["statements"]
    made = [sqlglot.parse_one(statement, dialect="bigquery") for statement in statements]
    kinds = [statement.args["kind"] for statement in made]
    assert kinds == ["SCHEMA"] * 3 + ["TABLE"] * (sum(table.served for table in TABLES) + len(VIEWS))
    names = [statement.split("`")[1] for statement in statements]
    assert set(names[:3]) == {"shoplake-dev.gold_of_mine", "shoplake-dev.silver", "shoplake-dev.ops"}
    assert "shoplake-dev.gold_of_mine.daily_sales" in names
    assert len(set(names)) == len(names)


def test_the_plan_shows_what_is_made_for_roles_that_somebody_has(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAIN(["plan", "--profile", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roles"] == []
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", '{"marketing": ["group:m@shop.example"]}')
    assert MAIN(["plan", "--profile", "dev"]) == 0
    text = capsys.readouterr().out
    assert "CREATE OR REPLACE VIEW `shoplake-dev.gold_marketing.customer_segments`" in text
    assert "gold_viewer" not in text
    first, second = re.findall(r"POLICY (\w+)\nON `shoplake-dev.gold.customer_segments`", text)
    assert (first, second) == ("shoplake_whole", "shoplake_marketing")
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__ROLE_MEMBERS", '{"boss": ["group:m@shop.example"]}')
    assert MAIN(["plan", "--profile", "dev"]) == 2
    assert "'boss', which is no role of configs/roles.yaml" in capsys.readouterr().err


def test_the_plan_needs_no_project(capsys: Capture) -> None:
    assert MAIN(["plan"]) == 0
    output = capsys.readouterr()
    assert "CREATE TABLE IF NOT EXISTS `gold.daily_sales`" in output.out
    assert "gcp.project_id is empty" in output.err


def test_publish_counts_what_the_views_serve(capsys: Capture) -> None:
    assert MAIN(["publish", "--json"]) == 0
    published = json.loads(capsys.readouterr().out)["published"]
    message = "not built yet: an empty view serves it"
    assert {"table": "gold.daily_sales", "row_count": 0, "message": message} in published


def test_publish_fails_on_a_table_that_drifted(data_dir: Path, capsys: Capture) -> None:
    write_deltalake(Lake(str(data_dir / "lake")).table(DAILY_SALES), pa.table({"units": pa.array([1])}))
    assert MAIN(["publish"]) == 1
    assert "gold.daily_sales" in capsys.readouterr().err


def test_the_plan_says_how_rows_get_there_and_what_is_billed(capsys: Capture) -> None:
    assert MAIN(["plan", "--profile", "dev"]) == 0
    text = capsys.readouterr().out
    assert "MERGE `shoplake-dev.gold.daily_sales` AS target" in text
    assert "`shoplake-dev.ops.ledger` has no partitions: a load job replaces its rows" in text
    assert re.search(r"MERGE gold.daily_sales +gold.daily_sales +3 partitions +1,104,000 bytes", text)
    assert re.search(r"billed: [\d,]+ bytes \(about \$", text)


@pytest.mark.parametrize("action", ["create", "publish"])
def test_without_credentials_it_says_how_to_log_in(action: str, capsys: Capture) -> None:
    assert MAIN([action, "--profile", "prod"]) == 2
    assert "gcloud auth application-default login" in capsys.readouterr().err


def test_the_embedded_warehouse_has_nothing_to_create(capsys: Capture) -> None:
    assert MAIN(["create"]) == 2
    assert "--profile dev" in capsys.readouterr().err
