"""The deploy scripts: what they print is what they run, in that order, and a failure stops them in words.

Google and Docker are not to be had here: programs of their names write down how they were called.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoplake.deployment import read_images
from shoplake.settings import PROJECT_ROOT, load_settings

Capture = pytest.CaptureFixture[str]
SCRIPTS = ("build_images", "deploy_dataproc", "deploy_composer", "deploy_training")
MAINS: dict[str, Callable[[list[str]], int]] = {
    name: runpy.run_path(str(PROJECT_ROOT / "gcp" / f"{name}.py"))["main"] for name in SCRIPTS}
ENVIRONMENTS = ("dev", "staging", "prod")
DIGEST = "sha256:" + "5" * 64
TOKEN = "ya29.of-a-person"
WHEEL = Path("/releases/shoplake-0.1.0-py3-none-any.whl")
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
folder = Path(__file__).parent
name, words = Path(__file__).name, sys.argv[1:]
kept = {{key: value for key, value in os.environ.items() if key.startswith("UV_")}}
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps({{"words": [name, *words], "cwd": os.getcwd(), "env": kept}}) + "\\n")
if words == ["auth", "print-access-token"]:
    print("{token}")
if words[:2] == ["image", "inspect"]:
    # The other environments' registries had the image first, and know it by digests of their own.
    repository = words[-1].rpartition(":")[0]
    others = [repository.replace("shoplake-dev", "shoplake-prod"), repository + "-old"]
    own = [] if (folder / "unpushed").exists() else [repository + "@{digest}"]
    print(json.dumps([other + "@sha256:" + "6" * 64 for other in others] + own))
failure = folder / "failure"
if failure.exists():
    word, code, message = json.loads(failure.read_text())
    if any(word in one for one in words):
        print(message, file=sys.stderr)
        sys.exit(code)
"""


class Programs:
    """The programs gcloud, docker and uv as the scripts find them, and how each was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("gcloud", "docker", "uv"):
            program = folder / name
            program.write_text(PROGRAM.format(python=sys.executable, digest=DIGEST, token=TOKEN))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def fail(self, word: str, code: int, message: str) -> None:
        """Let every call with the word end with the code, saying the message."""
        (self.folder / "failure").write_text(json.dumps([word, code, message]))

    @property
    def calls(self) -> list[dict[str, Any]]:
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    made = Programs(folder)
    # Where the scripts look first is the virtual environment's own folder.
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder in which the digests of images lie, instead of the checkout's."""
    for main in MAINS.values():
        monkeypatch.setitem(main.__globals__, "PROJECT_ROOT", tmp_path)
    return tmp_path


def commands_of(capture: Capture) -> list[list[str]]:
    """Give the commands that were printed as JSON, without the variables before them."""
    lines = json.loads(capture.readouterr().out)["commands"]
    return [[word for word in shlex.split(line) if not word.startswith("UV_")] for line in lines]


def flags_of(name: str) -> list[str]:
    """Give the flags with which a script needs neither a build of the wheel nor built images."""
    return {
        "deploy_composer": ["--wheel", str(WHEEL)], "deploy_dataproc": ["--wheel", str(WHEEL)],
        "deploy_training": ["--execute", "--image", f"host/ml@{DIGEST}"], "build_images": [],
    }[name]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_dry_run_prints_and_runs_nothing(programs: Programs, capsys: Capture, name: str, environment: str) -> None:
    assert MAINS[name](["--env", environment, "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert programs.calls == []
    assert printed
    settings = load_settings(environment)
    assert all(settings.gcp.project_id in line or settings.gcp.location in line or "uv build" in line
               for line in printed), printed
    others = [load_settings(other).gcp.project_id for other in ENVIRONMENTS if other != environment]
    assert not [line for line in printed for other in others if other in line]


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_printed_is_what_is_run(programs: Programs, root: Path, capsys: Capture, name: str) -> None:
    flags = [*flags_of(name), "--env", "dev", "--json"]
    if name == "deploy_dataproc":  # its files are the checkout's
        MAINS[name].__globals__["PROJECT_ROOT"] = PROJECT_ROOT
    assert MAINS[name]([*flags, "--dry-run"]) == 0
    printed = commands_of(capsys)
    assert MAINS[name](flags) == 0
    assert commands_of(capsys) == printed
    calls = [call for call in programs.calls if call["words"][1:] != ["auth", "print-access-token"]]
    assert [call["words"] for call in calls] == printed


def test_the_token_is_given_to_the_publication_alone_and_never_shown(programs: Programs, capsys: Capture) -> None:
    assert MAINS["deploy_composer"](["--env", "dev", "--wheel", str(WHEEL)]) == 0
    shown = capsys.readouterr()
    assert "ya29" not in shown.out + shown.err
    given = [call for call in programs.calls if call["env"]]
    assert [call["words"][:2] for call in given] == [["uv", "publish"]]
    index = "europe-west2-python.pkg.dev/shoplake-dev/python/simple/"
    assert given[0]["env"] == {
        "UV_PUBLISH_PASSWORD": TOKEN,
        "UV_PUBLISH_CHECK_URL": f"https://oauth2accesstoken:{TOKEN}@{index}",  # pragma: allowlist secret
    }
    assert not [call for call in programs.calls for word in call["words"] if "ya29" in word]


def test_the_dags_come_last_and_after_the_package_that_they_import(programs: Programs, capsys: Capture) -> None:
    assert MAINS["deploy_composer"](["--env", "prod", "--wheel", str(WHEEL)]) == 0
    words = [" ".join(call["words"]) for call in programs.calls]
    package = next(at for at, line in enumerate(words) if "--update-pypi-package=shoplake[cloud]==0.1.0" in line)
    publication = next(at for at, line in enumerate(words) if line.startswith("uv publish"))
    assert publication < package < len(words) - 1
    assert words[-1].endswith("airflow/dags gs://shoplake-prod-composer/dags")


def test_composers_own_dag_is_left_alone(programs: Programs) -> None:
    assert MAINS["deploy_composer"](["--env", "dev", "--wheel", str(WHEEL)]) == 0
    mirrors = [call["words"] for call in programs.calls if "rsync" in call["words"]]
    excluded = {word.removeprefix("--exclude=") for words in mirrors for word in words if word.startswith("--exclude=")}
    (pattern,) = excluded
    assert all(re.match(pattern, name) for name in ("airflow_monitoring.py", "__pycache__/a.pyc", "terraform/main.tf"))
    own = [path.name for path in (PROJECT_ROOT / "airflow").rglob("*.py")]
    assert [name for name in own if re.match(pattern, name)] == []


def test_every_command_runs_in_the_checkout(programs: Programs) -> None:
    assert MAINS["deploy_dataproc"](["--env", "dev", "--wheel", str(WHEEL)]) == 0
    assert {call["cwd"] for call in programs.calls} == {str(PROJECT_ROOT)}
    for call in programs.calls:
        sources = [word for word in call["words"][3:-1] if word != str(WHEEL)]
        assert [word for word in sources if not (PROJECT_ROOT / word).exists()] == []


def test_what_dataproc_gets_is_what_the_dags_batches_ask_for(programs: Programs) -> None:
    from shoplake_steps import describe_batch

    settings = load_settings("prod")
    assert MAINS["deploy_dataproc"](["--env", "prod", "--wheel", str(WHEEL)]) == 0
    uploaded = set()
    for call in programs.calls:
        *sources, target = call["words"][3:]
        uploaded |= {f"{target}{Path(source).name}" if target.endswith("/") else target for source in sources}
    for shell in ("spark/streaming_pipeline.py", "spark/batch_processing.py"):
        batch = describe_batch(settings, "step", shell)["pyspark_batch"]
        asked = {batch["main_python_file_uri"], *batch["python_file_uris"], *batch["jar_file_uris"]}
        assert asked <= uploaded


def test_a_failure_stops_the_rest_and_is_told_with_its_command(programs: Programs, capsys: Capture) -> None:
    programs.fail("--update-pypi-package", 7, "ERROR: conflict: pandas and pandas")
    assert MAINS["deploy_composer"](["--env", "dev", "--wheel", str(WHEEL)]) == 1
    shown = capsys.readouterr()
    error = shown.err[shown.err.index("error: "):]
    assert "cannot install the package: exit code 7" in error
    assert "gcloud composer environments update shoplake" in error
    assert "ERROR: conflict: pandas and pandas" in error
    assert shown.out == ""
    assert "--update-pypi-package" in " ".join(programs.calls[-1]["words"])


def test_an_update_that_changes_nothing_is_no_failure(programs: Programs, capsys: Capture) -> None:
    programs.fail("--update-", 1, "ERROR: INVALID_ARGUMENT: No change in configuration. Must specify a change")
    assert MAINS["deploy_composer"](["--env", "dev", "--wheel", str(WHEEL)]) == 0
    assert programs.calls[-1]["words"][-1] == "gs://shoplake-dev-composer/dags"
    assert capsys.readouterr().err.count("was so already") == 2


def test_no_token_no_publication(programs: Programs, capsys: Capture) -> None:
    programs.fail("print-access-token", 1, "ERROR: You do not currently have an active account selected.")
    assert MAINS["deploy_composer"](["--env", "dev", "--wheel", str(WHEEL)]) == 1
    assert "You do not currently have an active account" in capsys.readouterr().err
    assert [call["words"][0] for call in programs.calls] == ["gcloud"]


def test_a_missing_program_is_named(programs: Programs, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (programs.folder / "gcloud").unlink()
    monkeypatch.setenv("PATH", str(programs.folder))
    assert MAINS["deploy_dataproc"](["--env", "dev", "--wheel", str(WHEEL)]) == 2
    assert "the program gcloud is not on PATH" in capsys.readouterr().err


def test_digests_are_written_down_and_deployed(programs: Programs, root: Path, capsys: Capture) -> None:
    assert MAINS["deploy_training"](["--env", "dev"]) == 2
    assert "gcp/build_images.py --env dev --image ml" in capsys.readouterr().err
    assert MAINS["build_images"](["--env", "dev", "--image", "ml"]) == 0
    file = root / "build" / "images-dev.tfvars.json"
    ml = f"europe-west2-docker.pkg.dev/shoplake-dev/images/ml@{DIGEST}"
    assert read_images(file) == {"ml": ml}
    assert MAINS["build_images"](["--env", "dev", "--image", "dataproc"]) == 0
    dataproc = f"europe-west2-docker.pkg.dev/shoplake-dev/images/dataproc@{DIGEST}"
    assert json.loads(file.read_text()) == {"images": {"ml": ml, "dataproc": dataproc}}
    capsys.readouterr()
    assert MAINS["deploy_training"](["--env", "dev", "--dry-run"]) == 0
    assert f"--image={ml}" in capsys.readouterr().out
    assert MAINS["deploy_composer"](["--env", "dev", "--dry-run"]) == 0
    assert f";SHOPLAKE_GCP__DATAPROC__CONTAINER_IMAGE={dataproc}'" in capsys.readouterr().out
    assert MAINS["deploy_composer"](["--env", "prod", "--dry-run"]) == 0
    assert "CONTAINER_IMAGE" not in capsys.readouterr().out


def test_a_digest_of_another_registry_is_not_taken(programs: Programs, root: Path, capsys: Capture) -> None:
    (programs.folder / "unpushed").touch()
    assert MAINS["build_images"](["--env", "dev", "--image", "ml"]) == 1
    error = capsys.readouterr().err
    assert "no digest of europe-west2-docker.pkg.dev/shoplake-dev/images/ml" in error
    assert "shoplake-prod/images/ml@sha256:666" in error
    assert not (root / "build" / "images-dev.tfvars.json").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (["deploy_training", "--env", "dev", "--image", "host/ml:latest"], "by digest"),
    (["deploy_composer", "--env", "dev", "--wheel", "dist/other-1.0-py3-none-any.whl"], "is no wheel of shoplake"),
])
def test_what_cannot_be_deployed_is_refused(
    programs: Programs, capsys: Capture, arguments: list[str], message: str,
) -> None:
    assert MAINS[arguments[0]](arguments[1:]) == 2
    assert message in capsys.readouterr().err
    assert programs.calls == []


def test_a_broken_file_of_digests_is_told(root: Path, capsys: Capture) -> None:
    file = root / "build" / "images-dev.tfvars.json"
    file.parent.mkdir()
    file.write_text("{}")
    assert MAINS["deploy_composer"](["--env", "dev", "--dry-run"]) == 2
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_laptop_is_no_place_to_deploy_to(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        MAINS[name](["--env", "local", "--dry-run"])
    assert end.value.code == 2
    assert "invalid choice: 'local'" in capsys.readouterr().err


def test_the_shells_that_airflow_runs_are_all_uploaded(capsys: Capture) -> None:
    folders = {Path(path).parts[0] for path in subprocess.run(
        ["git", "ls-files", "--", ":(glob)*/*.py"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()} - {"shoplake", "tests", "benchmarks"}
    assert MAINS["deploy_composer"](["--env", "dev", "--dry-run"]) == 0
    uploaded = {line.rpartition("/data/shoplake/")[2] for line in capsys.readouterr().out.splitlines()}
    assert folders <= uploaded


def test_gcloud_knows_every_command_and_flag(
    programs: Programs, capsys: Capture, check_gcloud: Callable[[list[str]], None],
) -> None:
    for name in SCRIPTS:
        assert MAINS[name]([*flags_of(name), "--env", "dev", "--dry-run", "--json"]) == 0
        for words in commands_of(capsys):
            if words[0] == "gcloud":
                check_gcloud(words)


def test_the_same_sources_give_the_same_wheel(tmp_path: Path, capsys: Capture) -> None:
    assert MAINS["deploy_dataproc"](["--env", "dev", "--dry-run"]) == 0
    build = shlex.split(capsys.readouterr().out.splitlines()[0])
    digests = []
    for number in (1, 2):
        source = tmp_path / f"source{number}"
        for folder in ("shoplake", "configs", "sql", "kafka"):
            shutil.copytree(PROJECT_ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
            shutil.copy(PROJECT_ROOT / file, source)
        for path in source.rglob("*"):
            os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(build, cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (wheel,) = (source / "dist").glob("*.whl")
        digests.append(wheel.read_bytes())
    assert digests[0] == digests[1]
