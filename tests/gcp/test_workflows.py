"""The GitHub workflows: valid by GitHub's schema, least permissions, pinned actions, commands that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoplake import deployment
from shoplake.forecasting.names import LINEAR, XGBOOST
from shoplake.settings import PROJECT_ROOT

BINARIES = Path(sys.executable).parent
FILES = sorted((PROJECT_ROOT / ".github" / "workflows").glob("*.yml"))
# YAML 1.1 reads the key `on` as true.
WORKFLOWS: dict[str, dict[Any, Any]] = {file.name: yaml.safe_load(file.read_text()) for file in FILES}
JOBS = {f"{file}: {name}": job for file, workflow in WORKFLOWS.items() for name, job in workflow["jobs"].items()}
STEPS = [(name, step) for name, job in JOBS.items() for step in job.get("steps", [])]
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))


def test_githubs_schema_takes_them() -> None:
    assert {"ci.yml", "nightly.yml", "deploy.yml", "deploy-environment.yml", "promote.yml",
            "promote-environment.yml"} == set(WORKFLOWS)
    done = subprocess.run(
        [BINARIES / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *FILES],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_by_commit_and_each_the_same_everywhere() -> None:
    uses = re.findall(r"uses: (\S+)(.*)", "\n".join(file.read_text() for file in FILES))
    outside = [(action, comment) for action, comment in uses if not action.startswith("./")]
    pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [action for action, comment in outside if not pinned.fullmatch(action + comment)] == []
    assert len({action.split("@")[0] for action, _ in outside}) == len({action for action, _ in outside})
    own = [action for action, _ in uses if action.startswith("./")]
    assert own
    assert [path for path in own if not (PROJECT_ROOT / path).is_file()] == []


def test_a_workflow_may_read_and_only_a_deployment_may_be_someone() -> None:
    assert {str(workflow["permissions"]) for workflow in WORKFLOWS.values()} == {"{'contents': 'read'}"}
    identities = {name for name, job in JOBS.items() if "id-token" in job.get("permissions", {})}
    assert identities == {"deploy.yml: dev", "deploy.yml: staging", "deploy.yml: prod",
                          "deploy-environment.yml: deploy", "promote.yml: dev", "promote.yml: staging",
                          "promote.yml: prod", "promote-environment.yml: promote"}
    assert "pull_request_target" not in "".join(file.read_text() for file in FILES)
    assert not re.search(r"secrets\.|credentials_json", "".join(file.read_text() for file in FILES))


def test_every_job_ends_and_no_checkout_keeps_its_token() -> None:
    assert [name for name, job in JOBS.items() if "steps" in job and "timeout-minutes" not in job] == []
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_environments_are_deployed_in_order_each_behind_its_approval() -> None:
    jobs = WORKFLOWS["deploy.yml"]["jobs"]
    assert [(name, job.get("needs"), job.get("with", {}).get("environment")) for name, job in jobs.items()] == [
        ("build", None, None), ("dev", "build", "dev"), ("staging", "dev", "staging"), ("prod", "staging", "prod")]
    assert tuple(list(jobs)[1:]) == deployment.CLOUD_PROFILES
    assert WORKFLOWS["deploy-environment.yml"]["jobs"]["deploy"]["environment"] == "${{ inputs.environment }}"


def test_models_are_promoted_in_order_each_behind_its_approval_by_the_one_command() -> None:
    jobs = WORKFLOWS["promote.yml"]["jobs"]
    assert [(name, job.get("needs"), job["with"]["environment"]) for name, job in jobs.items()] == [
        ("dev", None, "dev"), ("staging", "dev", "staging"), ("prod", "staging", "prod")]
    inputs = WORKFLOWS["promote.yml"][True]["workflow_dispatch"]["inputs"]
    assert inputs["model"]["options"] == [XGBOOST, LINEAR]
    # What is approved is what is promoted: a registry's own number, seen in the run's name.
    for name, job in jobs.items():
        assert job["with"]["version"] == f"${{{{ inputs.{name}_version }}}}"
        assert job["with"]["reason"] == "${{ inputs.reason }}"
        assert f"{name} v${{{{ inputs.{name}_version }}}}" in WORKFLOWS["promote.yml"]["run-name"]
    assert all(inputs[name]["required"] for name in ("reason", *(f"{job}_version" for job in jobs)))
    called = WORKFLOWS["promote-environment.yml"][True]["workflow_call"]["inputs"]
    assert all(called[name]["required"] for name in ("environment", "model", "version", "reason"))
    job = WORKFLOWS["promote-environment.yml"]["jobs"]["promote"]
    assert job["environment"] == "${{ inputs.environment }}"
    assert {name: job["env"][name] for name in ("MODEL", "VERSION", "REASON")} == {
        "MODEL": "${{ inputs.model }}", "VERSION": "${{ inputs.version }}", "REASON": "${{ inputs.reason }}"}
    line = job["steps"][-1]["run"].splitlines()[2]
    assert shlex.split(line)[1:] == ["ml/promote.py", "--model", "$MODEL", "--version", "$VERSION", "--to", "champion",
                                     "--by", "$GITHUB_ACTOR", "--reason", "$REASON"]


@pytest.mark.parametrize(("name", "step"), [one for one in STEPS if "run" in one[1]],
                         ids=lambda one: one if isinstance(one, str) else one["run"].splitlines()[0])
def test_what_is_run_exists_and_no_expression_is_pasted_into_a_shell(name: str, step: dict[str, Any]) -> None:
    text = step["run"]
    assert "${{" not in text
    checked = subprocess.run(
        [BINARIES / "shellcheck", "--shell=bash", "-"], input=f"#!/bin/bash\n{text}\n", capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    for line in text.splitlines():
        words = shlex.split(line)
        if words[0] == "make" and "$" not in words[1]:
            assert words[1] in TARGETS
        for word in words:
            if word.endswith(".py"):
                assert (PROJECT_ROOT / word).is_file(), word
                known = subprocess.run([sys.executable, word, "--help"], cwd=PROJECT_ROOT, capture_output=True,
                                       text=True, check=True).stdout
                assert [flag for flag in words if flag.startswith("--") and flag not in known] == []


def test_the_nightly_targets_exist() -> None:
    matrix = WORKFLOWS["nightly.yml"]["jobs"]["long-tests"]["strategy"]["matrix"]["target"]
    assert set(matrix) <= TARGETS


def test_every_night_the_locks_are_asked_for_vulnerabilities_and_the_whole_history_for_secrets() -> None:
    checkout, *_, rules, advisories = WORKFLOWS["nightly.yml"]["jobs"]["supply-chain"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0
    assert (rules["run"], advisories["run"]) == ("make audit-supply", "make audit-advisories")
    shown = subprocess.run(["make", "-n", "audit-advisories"], cwd=PROJECT_ROOT, capture_output=True, text=True,
                           check=True).stdout
    assert 'pip-audit" --strict' in shown
    locks = {str(lock.relative_to(PROJECT_ROOT)) for pattern in ("", "*/")
             for lock in PROJECT_ROOT.glob(f"{pattern}requirements*.txt")}
    assert locks - set(re.findall(r"\S+\.txt", shown)) == {"airflow/requirements-composer.txt"}


def test_make_builds_the_wheel_as_the_deploy_scripts_do() -> None:
    _, (step,) = deployment.find_wheel(None)
    shown = subprocess.run(["make", "-n", "package"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert step.line in shown.stdout
