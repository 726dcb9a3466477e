"""The wheel stands alone: what Composer installs and Dataproc takes as a zip finds its settings and queries."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.named_queries import load_queries

UV = Path(sys.executable).parent / "uv"
ASK = """
import json, sys
import shoplake
from shoplake.settings import PROJECT_ROOT, find_resources, load_settings
from shoplake.warehouse.named_queries import load_queries
settings = load_settings(sys.argv[1])
print(json.dumps({
    "package": shoplake.__file__, "root": str(PROJECT_ROOT), "data": str(settings.data_path),
    "settings": settings.model_dump(mode="json"),
    "queries": list(load_queries(find_resources("sql"))),
    "dashboard": list(load_queries(find_resources("sql") / "dashboard")),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, in which a build folder of long ago still lies."""
    source = tmp_path_factory.mktemp("source")
    for name in ("shoplake", "configs", "sql", "kafka"):
        shutil.copytree(PROJECT_ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, source / name)
    stale = source / "build" / "lib" / "shoplake" / "deleted_long_ago.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    built = subprocess.run(
        [UV, "build", "--wheel", "--out-dir", source / "dist"], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def ask(folder: Path, profile: str, **variables: str) -> dict[str, object]:
    """Ask a Python that sees the package in `folder` (or zip) alone, from a folder that is no checkout."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, profile], cwd=folder.parent, capture_output=True, text=True,
        env={"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **variables})
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("profile", ["dev", "prod"])
def test_the_zip_alone_knows_its_settings_and_queries(
    pseudonyms: None, wheel: Path, profile: str, data_dir: Path,
) -> None:
    archive = wheel.parent / f"shoplake-{profile}.zip"
    shutil.copy(wheel, archive)
    answer = ask(archive, profile, SHOPLAKE_DATA_DIR=str(data_dir))
    assert answer["package"] == str(archive / "shoplake" / "__init__.py")
    assert answer["settings"] == load_settings(profile).model_dump(mode="json")
    assert answer["queries"] == list(load_queries(PROJECT_ROOT / "sql")) != []
    assert answer["dashboard"] == list(load_queries(PROJECT_ROOT / "sql" / "dashboard")) != []


def test_an_installed_wheel_takes_the_shells_from_the_home_and_the_settings_from_itself(
    pseudonyms: None, wheel: Path, tmp_path: Path,
) -> None:
    site = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "configs").mkdir()  # another package's
    home = tmp_path / "home"
    home.mkdir()
    answer = ask(site, "prod", SHOPLAKE_HOME=str(home))
    assert answer["package"] == str(site / "shoplake" / "__init__.py")
    assert answer["root"] == str(home)
    assert answer["data"] == str(home / "data")
    assert answer["settings"] == {**load_settings("prod").model_dump(mode="json"), "data_dir": "data"}


def test_the_wheel_holds_the_package_and_its_resources_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(PROJECT_ROOT)) for path in (PROJECT_ROOT / "shoplake").rglob("*.py")}
    resources = {f"shoplake/resources/{path.relative_to(PROJECT_ROOT)}" for path in (
        *(PROJECT_ROOT / "configs").glob("*.yaml"), *(PROJECT_ROOT / "sql").rglob("*.sql"),
        PROJECT_ROOT / "kafka" / "topics.yaml")}
    assert names == {*modules, *resources, "shoplake/py.typed"}
