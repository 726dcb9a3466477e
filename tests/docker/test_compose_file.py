"""What can be known of docker/ without a Docker engine: the files hold to their schemas and to the house's rules."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from shoplake.airflow_environment import airflow_environment
from shoplake.embedded_broker import render_properties
from shoplake.settings import PROJECT_ROOT, load_settings

if TYPE_CHECKING:
    from conftest import Compose

DOCKER = PROJECT_ROOT / "docker"
FILE = DOCKER / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
ONE_SHOTS = {"secrets", "topics", "airflow-init"}
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
SCRIPTS = sorted(path for path in DOCKER.iterdir() if path.is_file() and path.read_text().startswith("#!"))
VERSION = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["version"]
PORTS = {"kafka": 9092, "kafka-ui": 8080, "spark": 8888, "airflow-apiserver": 8081, "mlflow": 5000, "dashboard": 8501,
         "gcs": 4443}
each_service = pytest.mark.parametrize("name", SERVICES)
each_dockerfile = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=PROJECT_ROOT, capture_output=True, text=True)


def test_the_compose_file_is_one() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing() -> None:
    assert len(SCRIPTS) >= 3
    done = run("shellcheck", *SCRIPTS)
    assert done.returncode == 0, done.stdout


def test_scripts_can_be_executed() -> None:
    listed = run("git", "ls-files", "--stage", *SCRIPTS).stdout.splitlines()
    assert {line.split()[0] for line in listed} <= {"100755"}
    assert [path.name for path in SCRIPTS if not path.stat().st_mode & 0o111] == []


def test_every_address_is_of_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    seen = {name: re.fullmatch(r"127\.0\.0\.1:(\d+):(\d+)", port) for name, (port,) in published.items()}
    assert {name: int(match[1]) for name, match in seen.items() if match} == PORTS
    assert not any({"network_mode", "privileged", "pid", "ipc"} & service.keys() for name, service in SERVICES.items()
                   if name != "secrets")


@each_service
def test_images_are_pinned_exactly(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].partition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag), service["image"]
    assert ("build" in service) == service["image"].startswith("shoplake-")
    if "build" in service:
        assert tag == VERSION
        assert (DOCKER / service["build"]["context"]).resolve() == PROJECT_ROOT
        assert (PROJECT_ROOT / service["build"]["dockerfile"]).is_file()


def test_one_image_is_built_in_one_way() -> None:
    ways = {(service["image"], json.dumps(service["build"])) for service in SERVICES.values() if "build" in service}
    assert len({image for image, _ in ways}) == len(ways)


@each_service
def test_nobody_is_root(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_a_service_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@each_service
def test_a_service_says_that_it_is_well(name: str) -> None:
    service = SERVICES[name]
    assert ("healthcheck" in service) == (name not in ONE_SHOTS)
    assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped")


def test_the_start_order_can_be_kept() -> None:
    order = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    list(TopologicalSorter(order).static_order())  # raises on a circle
    for name, needed in order.items():
        for other, how in needed.items():
            wanted = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            assert how == {"condition": wanted}, f"{name} on {other}"
            # What is needed is there wherever it is needed: it has no profile, or the same.
            there, here = (set(SERVICES[which].get("profiles", [])) for which in (other, name))
            assert there <= here, f"{name} on {other}"


def test_plain_up_starts_everything_and_profiles_only_leave_out() -> None:
    lines = [line for line in (DOCKER / ".env").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 1
    started = set(lines[0].removeprefix("COMPOSE_PROFILES=").split(","))
    assert {profile for service in SERVICES.values() for profile in service.get("profiles", [])} == started
    assert not SERVICES["kafka"].get("profiles")


def test_what_the_pages_type_is_there() -> None:
    pages = FILE.read_text() + (PROJECT_ROOT / "README.md").read_text()
    typed = set(re.findall(r"docker-compose (?:exec|cp \S+) ([\w-]+)(?: cat |:)(\S+)", pages))
    assert typed == {("airflow-apiserver", "/secrets/airflow/password"), ("spark", "/secrets/jupyter/token"),
                     ("dashboard", "/secrets/dashboard/password"), ("airflow-scheduler", "/data/landing/events/")}
    for name, path in typed:
        assert any(path.startswith(volume.split(":")[1]) for volume in SERVICES[name]["volumes"]), path
    # Docker copies into no folder that is not there, and one that it made itself would be root's.
    assert "mkdir -p /data/landing/events " in SERVICES["airflow-init"]["command"][-1]
    chosen = set(",".join(re.findall(r"COMPOSE_PROFILES=(\S+) docker-compose", pages)).split(","))
    assert chosen <= {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert "airflow" in chosen
    assert (PROJECT_ROOT / "notebooks" / "tour.ipynb").exists()


def test_volumes_come_from_somewhere() -> None:
    declared = set(yaml.safe_load(FILE.read_text())["volumes"])
    sources = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    folders = {source for source in sources if source.startswith(".")}
    assert sources - folders == declared
    assert [source for source in folders if not (DOCKER / source).exists()] == []


def test_no_secret_stands_in_a_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|_KEY|CONN", key):
                assert key.endswith(("_FILE", "_CMD")), f"{name}: {key}"
                assert re.fullmatch(r"(cat )?/secrets/[a-z]+/[a-z_.]+", value), f"{name}: {key}"
            assert "://" not in value or "@" not in value, f"{name}: {key}"


def test_a_secret_is_where_it_is_needed_and_nowhere_else() -> None:
    for name, service in SERVICES.items():
        if name == "secrets":
            continue
        text = json.dumps([service.get("environment", {}), service.get("command", [])])
        needed = set(re.findall(r"/secrets/([a-z]+)", text))
        mounted = set(re.findall(r":/secrets/([a-z]+)", " ".join(service.get("volumes", []))))
        assert mounted == needed, name


@each_service
def test_settings_are_known(name: str, compose: "Compose", monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {key: value for key, value in SERVICES[name].get("environment", {}).items() if key.startswith("SHOPLAKE_")}
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    settings = load_settings()
    if ours:
        assert (settings.profile, settings.data_path) == ("local", Path("/data"))
        assert settings.bootstrap_servers == "kafka:29092"
        assert settings.lake_root == "/data/lake"
    assert bool(ours) == SERVICES[name].get("volumes", [""])[0].startswith("data:")


def test_the_broker_is_as_the_embedded_one() -> None:
    variables = {key: value for key, value in SERVICES["kafka"]["environment"].items() if key != "KAFKA_HEAP_OPTS"}
    here = {key.removeprefix("KAFKA_").replace("_", ".").lower(): value for key, value in variables.items()}
    embedded = dict(line.split("=", 1) for line in render_properties(1, 2, Path("x")).splitlines())
    own = {"listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name",
           "controller.quorum.voters", "log.dirs"}
    assert here.keys() == embedded.keys()
    assert {key for key in here if here[key] != embedded[key]} == own


def test_airflow_is_as_the_one_of_make_up(data_dir: Path) -> None:
    standing = airflow_environment({}, load_settings(), Path("/venv/bin"), 8081)
    here = SERVICES["airflow-scheduler"]["environment"]
    # A command's flags say where a service listens, the image's PATH where programs are; each step sets SHLVL.
    assert standing.keys() - here.keys() == {"PATH", "SHLVL", "SPARK_HOME", "AIRFLOW__API__HOST", "AIRFLOW__API__PORT",
                                            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"}
    differs = {key for key in standing.keys() & here.keys()
               if standing[key].replace(str(PROJECT_ROOT), "/opt/shoplake") != here[key]}
    assert differs == {"AIRFLOW_HOME", "AIRFLOW__API__SECRET_KEY_CMD", "AIRFLOW__API_AUTH__JWT_SECRET_CMD",
                       "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__CORE__FERNET_KEY_CMD",
                       "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}


def test_every_file_that_a_service_names_is_in_the_image(left_out: Callable[[str], bool]) -> None:
    named: set[str] = set()
    for service in SERVICES.values():
        if "build" in service:
            words = [*service["command"], *service.get("healthcheck", {}).get("test", []),
                     *service.get("environment", {}).values()]
            text = " ".join(words).replace("/opt/shoplake/", "")
            named |= set(re.findall(r"(?<![\w/.])(?:docker|kafka|dashboard|airflow|notebooks)(?:/[\w.]+)+", text))
    assert {"docker/make_secrets.sh", "docker/is_healthy.sh", "kafka/broker.py", "airflow/pools.json",
            "dashboard/app.py", "airflow/dags"} <= named
    assert [name for name in named if not (PROJECT_ROOT / name).exists() or left_out(name)] == []


def test_the_image_has_no_history_data_or_tests(left_out: Callable[[str], bool]) -> None:
    for name in (".git/HEAD", ".venv/bin/python", "data/lake/x", "tests/conftest.py", "shoplake/__pycache__/x.pyc",
                 "shoplake.egg-info/x", "docker/.env", ".mypy_cache/x"):
        assert left_out(name), name
    for name in ("shoplake/settings.py", "configs/config.yaml", "spark/ivy.xml", "requirements.txt", "sql/a.sql"):
        assert not left_out(name), name


def test_every_image_begins_with_the_same_stage() -> None:
    assert [file.suffix for file in DOCKERFILES] == [".airflow", ".ml", ".spark"]
    stages = {file.read_text().split("FROM ")[1] for file in DOCKERFILES}
    assert len(stages) == 1, "one differs, so it would be built again, and otherwise"
    assert "make setup" in stages.pop()


@each_dockerfile
def test_a_dockerfile_is_pinned_and_not_root(file: Path) -> None:
    text = file.read_text()
    bases = re.findall(r"^FROM (\S+)(?: AS (\w+))?", text, re.MULTILINE)
    names = {name for _, name in bases}
    outside = {base for base, _ in bases} - names
    assert outside == {"python:3.11.15-slim-bookworm"}
    assert set(re.findall(r"^USER (.+)", text, re.MULTILINE)) == {"1000"}
    assert re.findall(r"\b(?:sudo|ADD|curl|wget)\b", text) == []
    for stage in text.split("FROM ")[1:]:
        assert "USER" in stage or stage.startswith("project")


@each_dockerfile
def test_what_is_copied_is_there(file: Path, left_out: Callable[[str], bool]) -> None:
    sources = [word for line in re.findall(r"^COPY (.+)", file.read_text(), re.MULTILINE)
               for word in line.split()[:-1] if not word.startswith("--")]
    assert "requirements.txt" in sources
    assert [name for name in sources if not (PROJECT_ROOT / name).exists() or left_out(name)] == []


@pytest.mark.parametrize("name", ["jupyter", "mlflow"])
def test_what_an_image_adds_is_pinned(name: str) -> None:
    wanted = (DOCKER / f"requirements-{name}.in").read_text().split()
    pins = (DOCKER / f"requirements-{name}.txt").read_text()
    assert set(wanted) <= set(re.findall(r"^[\w.-]+==[\w.+!-]+", pins, re.MULTILINE))


@pytest.mark.parametrize("name", ["jupyter", "postgres"])
def test_what_an_image_adds_fits_beside_the_project(name: str) -> None:
    def read_pins(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", file.read_text(), re.MULTILINE))

    project, added = read_pins(PROJECT_ROOT / "requirements.txt"), read_pins(DOCKER / f"requirements-{name}.txt")
    assert added.keys() - project.keys()
    assert {name for name in project.keys() & added.keys() if project[name] != added[name]} == set()
