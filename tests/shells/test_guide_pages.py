"""The walk-through and the runbook: every command, name, path and question that they give is one that exists."""

import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoplake.contract.tables import TABLES, VIEWS
from shoplake.errors import QueryRefusedError
from shoplake.quality.rules import CONFLICTING_DUPLICATE, event_rules
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT, Settings, load_settings
from shoplake.warehouse import open_warehouse

PAGES = ("walkthrough", "runbook")
TEXTS = {page: (PROJECT_ROOT / "docs" / f"{page}.md").read_text() for page in PAGES}
FOLDERS = ("kafka", "spark", "sql", "ml", "airflow", "dashboard", "gcp", "utils", "configs", "shoplake", "docs")
DAGS = "\n".join(file.read_text() for file in (PROJECT_ROOT / "airflow" / "dags").glob("*.py"))
MAKE_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
PROGRAMS = {"python", "spark-submit"}
# What neither this repository nor Airflow's interface defines; each is said of the operating system or of Delta.
OUTSIDE = {"operator", "du -sh data/*", "ss -ltn", "_delta_log", "No space left on device", "127.0.0.1",
           ". .venv/bin/activate"}
# What a program puts together; anything else that is quoted must stand in the sources, piece by piece between its dots.
SAID = {"stream NOT healthy": ("NOT healthy",), "is held by process …": ("is held by {", 'f"process {')}
MOST_BYTES, MOST_WIDTH = 200_000, 1280


def blocks(page: str) -> list[str]:
    """Give the commands of a page's bash blocks, a continued line as one."""
    found = re.findall(r"^```bash\n(.*?)^```$", TEXTS[page], re.MULTILINE | re.DOTALL)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def spans(page: str) -> list[str]:
    """Give what stands between single backticks outside the blocks."""
    prose = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


COMMANDS = [
    (page, command) for page in PAGES
    for command in [*blocks(page), *(span for span in spans(page) if span.split()[0] in {*PROGRAMS, "make", "airflow"})]
]


def keys_of(section: Any, prefix: str = "") -> Iterator[str]:
    """Give every key of the settings, written as the pages write it: spark.max_batch_age."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        yield prefix + name
        if hasattr(type(value), "model_fields"):
            yield from keys_of(value, f"{prefix}{name}.")


def known_names(settings: Settings) -> set[str]:
    """Give DAGs, tasks, pools, assets, tables, columns, rules, settings, and the programs by their short names."""
    tasks = re.findall(r'(?:shell_step\(\s*|spark_step\(\s*SETTINGS,\s*|task_id=)"(\w+)"', DAGS)
    relations = (*TABLES, *VIEWS)
    return {
        *dag_ids(), *tasks, "ingest", "gold", "predictions", "landing", "silver",
        *(relation.name for relation in relations),
        *(column.name for relation in relations for column in relation.columns),
        *(rule.name for rule in event_rules(settings.quality, settings.shop)), CONFLICTING_DUPLICATE,
        *keys_of(settings),
        *(file.stem for folder in FOLDERS for file in (PROJECT_ROOT / folder).glob("*.py")),
        *re.findall(r'"(\w+)": Param\(', DAGS),
    }


def dag_ids() -> set[str]:
    """Give the ids of all DAGs."""
    return set(re.findall(r'with DAG\(\s*"(\w+)"', DAGS))


def is_known(span: str, names: set[str], settings: Settings) -> bool:
    """Say whether what a page names exists."""
    first = span.split("/")[0]
    if span in OUTSIDE or span in names:
        return True
    if span.startswith(ENV_PREFIX):
        return re.sub("[= ].*", "", span).removeprefix(ENV_PREFIX).lower().replace("__", ".") in names
    if first == "data":
        return span == "data/" or span.split("/")[1] in folders_of(settings)
    if first in FOLDERS:
        return bool(list(PROJECT_ROOT.glob(span.rstrip("/"))))
    pieces = SAID.get(span, tuple(piece.strip() for piece in span.split("…")))
    return all(any(piece in text for text in sources()) for piece in pieces if piece)


@cache
def sources() -> tuple[str, ...]:
    """Give the text of every module and query, in which what a program says must stand."""
    return tuple(file.read_text() for folder in FOLDERS for file in (PROJECT_ROOT / folder).rglob("*.*")
                 if file.suffix in (".py", ".sql"))


def folders_of(settings: Settings) -> set[str]:
    """Give the folders and files that the platform has in its data folder."""
    paths = (settings.broker_path, settings.landing_path, settings.model_path, settings.report_path,
             Path(settings.lake_root))
    return {path.relative_to(settings.data_path).parts[0] for path in paths} | {"airflow", "stack", "mlflow"}


@cache
def help_of(script: str) -> str:
    """Give what the script says of its flags."""
    done = subprocess.run([sys.executable, script, "--help"], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def interface() -> dict[str, Any]:
    """Give the paths of Airflow's REST interface, with those of its log-in."""
    import importlib.util

    airflow = importlib.util.find_spec("airflow")
    assert airflow is not None
    assert airflow.origin is not None
    folder = Path(airflow.origin).parent / "api_fastapi"
    paths: dict[str, Any] = {}
    for file in (folder / "core_api" / "openapi" / "v2-rest-api-generated.yaml",
                 folder / "auth" / "managers" / "simple" / "openapi" / "v2-simple-auth-manager-generated.yaml"):
        paths |= yaml.load(file.read_text(), yaml.CSafeLoader)["paths"]
    return paths


@pytest.mark.parametrize("page", PAGES)
def test_every_name_exists(page: str) -> None:
    settings = load_settings()
    names = known_names(settings)
    commands = {command for _, command in COMMANDS}
    named = [span for span in spans(page) if span not in commands]
    assert len(named) > 20
    assert sorted({span for span in named if not is_known(span, names, settings)}) == []


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_is_understood_by_what_it_calls(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    for number, word in enumerate(words):
        if word == "make":
            assert words[number + 1] in MAKE_TARGETS
        if word in PROGRAMS and words[number + 1] != "-c":
            script = words[number + 1]
            flags = {flag.partition("=")[0] for flag in words[number + 2:] if re.match("--[a-z]", flag)}
            assert (PROJECT_ROOT / script).is_file(), script
            assert [flag for flag in sorted(flags) if flag not in help_of(script)] == []
    for path in re.findall(r"\$ADDRESS/([\w/{}-]+)", command):
        called = re.sub(r"/dags/\w+", "/dags/{dag_id}", f"/{path}")
        method = (re.search(r"-X (\w+)", command) or ["", "GET"])[1].lower()
        assert method in interface()[called], called
        named = re.findall(r"/dags/(\w+)", command)
        assert set(named) <= dag_ids()


@pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if "--sql" in one[1]])
def test_a_question_of_a_page_is_answered_or_refused(page: str, command: str) -> None:
    words = shlex.split(command)
    sql = words[words.index("--sql") + 1]
    with open_warehouse(load_settings()) as warehouse:
        if sql.startswith("SELECT"):
            assert warehouse.query(sql).column_names
        else:
            with pytest.raises(QueryRefusedError):
                warehouse.query(sql)


def test_the_walkthrough_tells_of_every_dag() -> None:
    assert len(dag_ids()) >= 6
    assert [dag_id for dag_id in sorted(dag_ids()) if dag_id not in TEXTS["walkthrough"]] == []


def test_pictures_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXTS["walkthrough"])
    assert len(pictures) >= 5
    for picture in pictures:
        file = PROJECT_ROOT / "docs" / picture
        head = file.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", head[16:24])[0] <= MOST_WIDTH, picture
        assert os.stat(file).st_size <= MOST_BYTES, picture
