"""The layout's rules that no linter knows: name traps, sizes, and what may never stand in a file."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT

SHELL_FOLDERS = ("kafka", "spark", "sql", "ml", "airflow", "dashboard", "gcp", "utils", "benchmarks", "docker")
# Text that belongs to a machine, not to the project. Pieces, so that this file does not hold what it looks for.
FOREIGN = re.compile(
    r"\b(?:py" + r"pi\.org|files\.python" + r"hosted\.org|repo1\.mav" + r"en\.org|repo\.mav" + r"en\.apache\.org|"
    r"registry\.np" + r"mjs\.org|dl\.google" + r"apis\.com)\b|--(?:extra-)?index" + r"-url|"
    r"(?<![\w.])/work" + r"/|\bfarm" + r"-\w")
MAX_MODULE_LINES = 400
SHELL_LINES = range(40, 251)


def files_of_the_project() -> list[Path]:
    """Give every file that is tracked, or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    ).stdout
    return [path for name in sorted(filter(None, listed.split("\0"))) if (path := PROJECT_ROOT / name).is_file()]


FILES = files_of_the_project()
MODULES = [path for path in FILES if path.suffix == ".py"]
SHELL_MODULES = [path for path in MODULES if path.relative_to(PROJECT_ROOT).parts[0] in SHELL_FOLDERS]
# Commands lie directly in their folder; DAGs and plugins lie deeper and are wiring without a main.
COMMANDS = [path for path in SHELL_MODULES if len(path.relative_to(PROJECT_ROOT).parts) == 2]
PACKAGE_MODULES = [path for path in MODULES if path.is_relative_to(PROJECT_ROOT / "shoplake")]


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT))


each = pytest.mark.parametrize


def test_the_project_was_found() -> None:
    assert {"kafka/broker.py", "utils/check_environment.py"} <= set(map(name_of, COMMANDS))
    assert "shoplake/settings.py" in map(name_of, PACKAGE_MODULES)


def test_no_shell_folder_is_a_package() -> None:
    # kafka/__init__.py would shadow kafka-python.
    assert [name_of(path) for path in SHELL_MODULES if path.name == "__init__.py"] == []
    assert [name_of(path) for path in MODULES if path.parts[-2:] == ("kafka", "__init__.py")] == []


def test_no_shell_shadows_a_package() -> None:
    # A script's own folder comes first on sys.path: ml/xgboost.py would be what `import xgboost` finds there.
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()) | {"shoplake"}
    assert [name_of(path) for path in SHELL_MODULES if path.stem in taken] == []


def test_shells_have_names_of_their_own() -> None:
    # mypy and runpy know a script by its name alone.
    names = Counter(path.stem for path in SHELL_MODULES)
    assert [name for name, count in names.items() if count > 1] == []


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(path.name for path in MODULES if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []


@each("path", MODULES, ids=name_of)
def test_modules_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_MODULE_LINES, f"{name_of(path)} has {lines} lines; split it by what it is about"


@each("path", COMMANDS, ids=name_of)
def test_a_command_is_a_shell(path: Path) -> None:
    tree = ast.parse(path.read_text())
    lines = len(path.read_text().splitlines())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert lines in SHELL_LINES, f"{lines} lines: less than 40 is a facade, more than 250 is logic that leaked out"
    assert "main" in functions, "no main(argv)"
    assert [argument.arg for argument in functions["main"].args.args] == ["argv"]
    assert "__main__" in path.read_text().splitlines()[-2]


@each("path", SHELL_MODULES, ids=name_of)
def test_shells_do_not_import_each_other(path: Path) -> None:
    # A plugin is what DAGs share; Airflow puts its folder on their search path.
    siblings = {other.stem for other in SHELL_MODULES if other.parent.name != "plugins"} - {path.stem}
    assert imported_roots(path) & siblings == set()


@each("path", SHELL_MODULES, ids=name_of)
def test_shells_hold_no_column_expressions(path: Path) -> None:
    modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    names = {alias.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
             and node.module == "pyspark.sql" for alias in node.names}
    assert "pyspark.sql.functions" not in modules
    assert "functions" not in names


@each("path", MODULES, ids=name_of)
def test_nobody_edits_the_search_path(path: Path) -> None:
    edits = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call | ast.Assign | ast.AugAssign) and "sys.path" in targets_of(node)]
    assert edits == []


@each("path", PACKAGE_MODULES, ids=name_of)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name == "settings.py":
        return
    read = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"}]
    assert read == []


@each("path", PACKAGE_MODULES, ids=name_of)
def test_the_package_builds_no_session(path: Path) -> None:
    assert "SparkSession.builder" not in path.read_text()


def test_no_file_names_a_registry_or_this_machine() -> None:
    found = [f"{name_of(path)}: {match[0]}" for path in FILES if is_text(path)
             for match in FOREIGN.finditer(path.read_text())]
    assert found == []


def test_the_root_is_not_on_the_search_path() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import sys, shoplake; print(sys.path)"],
        cwd="/", capture_output=True, text=True, check=True)
    assert str(PROJECT_ROOT) not in ast.literal_eval(shown.stdout)


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots


def targets_of(node: ast.Call | ast.Assign | ast.AugAssign) -> str:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return " ".join(map(ast.unparse, targets))


def is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:4096]
