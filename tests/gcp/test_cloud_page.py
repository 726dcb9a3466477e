"""docs/cloud.md: its commands are understood by what they call, and its table of accounts is Terraform's."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hcl2
import pytest

from shoplake.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "cloud.md").read_text()
TERRAFORM = PROJECT_ROOT / "gcp" / "terraform"
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
            for line in block.splitlines() if line and not line.startswith("#")]
OF_PYTHON = [command for command in COMMANDS if command.startswith("python ")]
OF_GCLOUD = [command for command in COMMANDS if command.startswith("gcloud ")]
OF_TERRAFORM = [command for command in COMMANDS if command.startswith("terraform ")]
WORDS = {"read": "Viewer", "write": ("objectUser", "dataEditor")}


def test_every_command_is_checked_here() -> None:
    assert len(OF_PYTHON) + len(OF_GCLOUD) + len(OF_TERRAFORM) == len(COMMANDS) > 10
    deployed = (PROJECT_ROOT / "gcp").glob("*.py")
    scripts = {path.name for path in deployed} - {"bigquery_client.py", "gcs_client.py"}
    assert {Path(shlex.split(command)[1]).name for command in OF_PYTHON} == scripts - {"deploy_training.py"}
    assert {name for name in scripts if f"| `gcp/{name}` |" in PAGE} == scripts


@pytest.mark.parametrize("command", OF_PYTHON)
def test_a_script_prints_what_it_would_run(command: str) -> None:
    words = shlex.split(command)
    dry = [*words[1:], *(() if "--dry-run" in words else ("--dry-run",))]
    done = subprocess.run([sys.executable, *dry], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "shoplake-dev" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", OF_GCLOUD)
def test_gcloud_knows_the_command(command: str, check_gcloud: Callable[[list[str]], None]) -> None:
    check_gcloud(shlex.split(command))


@pytest.mark.parametrize("command", OF_TERRAFORM)
def test_terraform_is_given_files_that_are_there(command: str) -> None:
    words = shlex.split(command)
    assert words[1] == "-chdir=gcp/terraform"
    assert words[2] in ("init", "apply", "output")
    files = [word.partition("=")[2] for word in words[3:] if word.startswith(("-var-file=", "-backend-config="))]
    made = [file for file in files if file.startswith("../../build/images-")]
    assert [file for file in files if file not in made and not (TERRAFORM / file).is_file()] == []
    if words[2] == "output":
        assert f'output "{words[3]}"' in (TERRAFORM / "outputs.tf").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_plan_is_one_command() -> None:
    done = subprocess.run(["make", "--no-print-directory", "cloud-plan", "ENV=staging"], cwd=PROJECT_ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "CREATE TABLE IF NOT EXISTS `shoplake-staging.gold.daily_sales`" in done.stdout
    assert "gs://shoplake-staging-composer/dags" in done.stdout


def identities() -> dict[str, Any]:
    """Read what identities.tf grants, without the quotes that the parser leaves on."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {plain(key): plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list) else str(value).strip('"')

    (found,) = plain(hcl2.loads((TERRAFORM / "identities.tf").read_text()))["locals"]
    granted: dict[str, Any] = found
    return granted


def rows() -> dict[str, list[str]]:
    """Give the cells of the table of accounts, by account."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()
             if line.startswith("| shoplake-")]
    return {name.removeprefix("shoplake-"): rest for name, *rest in cells}


def grants(cell: str) -> dict[str, str]:
    """Read `lake: write, code: read`."""
    return {} if cell == "–" else dict(one.split(": ") for one in cell.split(", "))


@pytest.mark.parametrize("account", ["airflow", "spark", "ml", "dashboard"])
def test_the_table_of_accounts_is_what_terraform_grants(account: str) -> None:
    project, folders, datasets, _ = rows()[account]
    granted = identities()
    assert sorted(project.split(", ")) == sorted(
        role.removeprefix("roles/") for role in granted["project_roles"][account])
    for cell, roles in ((folders, granted["folder_roles"]), (datasets, granted["dataset_roles"])):
        named = {name.replace("${local.landing}", "landing"): role for name, role in roles.get(account, {}).items()}
        assert set(grants(cell)) == set(named)
        assert [name for name, right in grants(cell).items() if not named[name].endswith(WORDS[right])] == []


def test_the_table_names_every_account() -> None:
    assert set(rows()) == {*identities()["project_roles"], "deployer"}
