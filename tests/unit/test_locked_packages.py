"""Every package is installed by its hash: the locks are whole, and make setup refuses what is not the locked file."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT

LOCKS = sorted([*PROJECT_ROOT.glob("requirements*.txt"), *PROJECT_ROOT.glob("*/requirements*.txt")])
PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
# One requirement, as pip's hash mode wants it: exact, and at least one sha256.
LOCKED = re.compile(r"([a-z0-9-]+)==([\w.+!-]+)( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")
# What installs a package without a hash of it, with the reason.
WITHOUT_HASH = {
    "--editable .": "the project's own folder has none",
    "shoplake[cloud]==": "the cluster's image resolves: it has packages of its own",
}


def read_pins(lock: Path) -> dict[str, str]:
    return {match[1]: match[2] for match in LOCKED.finditer(lock.read_text())}


def exact_pins(extra: str) -> dict[str, str]:
    wanted = PROJECT["project"]["optional-dependencies"][extra]
    return dict(line.split("==") for line in wanted if "==" in line)


def test_all_locks_were_found() -> None:
    names = {str(lock.relative_to(PROJECT_ROOT)) for lock in LOCKS}
    assert {"requirements.txt", "requirements-dev.txt", "docker/requirements-mlflow.txt",
            "docker/requirements-postgres.txt", "gcp/requirements-dataproc.txt",
            "airflow/requirements-composer.txt"} <= names


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_each_requirement_is_exact_and_has_hashes(lock: Path) -> None:
    lines = lock.read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    assert LOCKED.sub("", text) == ""
    assert len(read_pins(lock)) > 5


def test_the_locks_are_as_pyproject_wants_them() -> None:
    project, develop = read_pins(PROJECT_ROOT / "requirements.txt"), read_pins(PROJECT_ROOT / "requirements-dev.txt")
    assert exact_pins("platform").items() <= project.items() <= develop.items()
    assert exact_pins("postgres").items() <= read_pins(PROJECT_ROOT / "docker" / "requirements-postgres.txt").items()
    for extra in ("dev", "postgres"):
        assert exact_pins(extra).items() <= develop.items()
    cloud = read_pins(PROJECT_ROOT / "gcp" / "requirements-dataproc.txt")
    assert cloud.items() <= project.items()
    wanted = PROJECT["project"]["optional-dependencies"]["cloud"]
    assert {re.split(r"[<>=]", line)[0] for line in wanted} <= cloud.keys()
    # What builds the wheel is locked too.
    assert PROJECT["build-system"]["requires"] == [f"setuptools=={project['setuptools']}"]


def test_whatever_installs_asks_for_hashes() -> None:
    found = []
    for file in (PROJECT_ROOT / "Makefile", *PROJECT_ROOT.glob("*/Dockerfile.*"), *PROJECT_ROOT.glob("gcp/*.sh"),
                 *PROJECT_ROOT.glob(".github/workflows/*")):
        lines = [line for line in file.read_text().splitlines() if re.search(r"\b(?:pip install|uv build)\b", line)]
        found += [f"{file.name}: {line}" for line in lines if "--require-hashes" not in line
                  and not any(words in line for words in WITHOUT_HASH)]
    assert found == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a small checkout of the real Makefile, whose lock holds uv, setuptools and one package more."""
    for name in ("Makefile", "setup.py"):
        shutil.copy(PROJECT_ROOT / name, tmp_path)
    project = (PROJECT_ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(re.sub(r"^dependencies = \[.*?^\]", "", project, flags=re.M | re.S))
    lock = (PROJECT_ROOT / "requirements.txt").read_text()
    kept = [match[0] for match in LOCKED.finditer(lock) if match[1] in {"uv", "setuptools", "six"}]
    assert len(kept) == 3
    (tmp_path / "requirements.txt").write_text("".join(kept))
    (tmp_path / "README.md").touch()
    (tmp_path / "shoplake").mkdir()
    (tmp_path / "shoplake" / "__init__.py").touch()
    return tmp_path


def spoil(lock: str, package: str) -> str:
    return LOCKED.sub(
        lambda found: re.sub(r"sha256:\w{4}", "sha256:0000", found[0]) if found[1] == package else found[0], lock)


def test_make_setup_installs_the_locked_files_and_no_others(checkout: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    lock, python = checkout / "requirements.txt", checkout / ".venv" / "bin" / "python"
    locked, stamp = lock.read_text(), checkout / ".venv" / ".setup-done"

    def run(*words: str | Path, cwd: Path = checkout) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, check=False)

    for package in ("uv", "six"):  # by pip, by uv
        lock.write_text(spoil(locked, package))
        refused = run("make", stamp, "REQUIREMENTS=requirements.txt")
        assert refused.returncode != 0
        assert re.search(r"hash.*" + package, refused.stderr, re.IGNORECASE | re.DOTALL)
        assert not stamp.exists()
        assert run(python, "-c", "import six").returncode != 0
    lock.write_text(locked)
    done = run("make", stamp, "REQUIREMENTS=requirements.txt")
    assert done.returncode == 0, done.stderr
    asked = run(python, "-c", "import six, shoplake; print(shoplake.__file__)", cwd=Path("/"))
    assert asked.stdout.strip() == str(checkout / "shoplake" / "__init__.py")
