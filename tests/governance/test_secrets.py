"""A secret that was planted is found in a file, and hidden in whatever a command logs or says."""

import io
import json
import logging
import os
import runpy
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from shoplake.airflow_environment import airflow_environment, login_file
from shoplake.dashboards.door import Door
from shoplake.dashboards.logins import Logins
from shoplake.errors import ConfigError, ShoplakeError
from shoplake.logs import configure_logging
from shoplake.outcome import run_to_exit_code
from shoplake.redaction import HIDDEN, find_secrets, redact
from shoplake.settings import PROJECT_ROOT, load_settings

# Put together here, or the check of this repository would find it.
SECRET = "".join(["Zq7", "xW2", "kP9", "vT4", "mB8", "aL1"])
HEX_SECRET = "".join(["9f86d0", "81884c7d", "659a2fea", "a0c55ad0"])
FILES = {
    "config.yaml": f'kafka:\n  sasl_password: "{SECRET}"\n', ".env": f"SHOPLAKE_DB_PASSWORD={SECRET}\n",
    "job.py": f'API_KEY = "{SECRET}"\n', "main.tf": f'variable "x" {{\n  secret = "{SECRET}"\n}}\n',
    "Dockerfile": f'ENV DB_PASSWORD="{SECRET}"\n', "docker-compose.yml": f'environment:\n  api_key: "{HEX_SECRET}"\n',
    "note.md": f"Use password: '{SECRET}'\n", "app.ini": f"password = {SECRET}\n",
    "run.sh": "curl https://ada:" + SECRET + "@example.test/\n",
    "aws.json": '{\n "id": "' + "AKIA" + "Z7Q2XW9KPVT4MB8L" + '"\n}\n',
    "key.pem": "-----BEGIN " + "PRIVATE KEY-----\nMIIE\n", "hook.sql": f"-- secret: '{HEX_SECRET}'\nSELECT 1\n",
}


def find_by_check(files: list[Path]) -> set[str]:
    """Give the names of the files in which the check of `make check` finds a secret."""
    done = subprocess.run(
        [Path(sys.executable).with_name("detect-secrets-hook"), "--baseline", PROJECT_ROOT / ".secrets.baseline",
         *files], capture_output=True, text=True, cwd=PROJECT_ROOT)
    found = {file.name for file in files if str(file) in done.stdout}
    assert done.returncode == bool(found)
    return found


def test_the_check_finds_a_secret_in_each_kind_of_file(tmp_path: Path) -> None:
    for name, text in {**FILES, "clean.py": 'NAME = "value"\n'}.items():
        (tmp_path / name).write_text(text)
    assert find_by_check(sorted(tmp_path.iterdir())) == set(FILES)


def test_no_notebook_holds_one(tmp_path: Path) -> None:
    """The quotes of a notebook's own text are escaped, and hide a secret from the check: its cells are looked at."""
    planted = tmp_path / "planted.ipynb"
    planted.write_text(json.dumps({"cells": [{"source": ["x = 1\n", f'token = "{HEX_SECRET}"\n']}]}))
    notebooks = [*(PROJECT_ROOT / "notebooks").glob("*.ipynb")]
    assert notebooks
    for file in (planted, *notebooks):
        cells = json.loads(file.read_text())["cells"]
        (tmp_path / f"{file.stem}.py").write_text("\n".join("".join(cell["source"]) for cell in cells))
    assert find_by_check(sorted(tmp_path.glob("*.py"))) == {"planted.py"}


def log_an_exception(logger: logging.Logger) -> None:
    try:
        raise ConfigError(f"cannot log in with {SECRET}")
    except ConfigError:
        logger.exception("it failed")


LOGGED: dict[str, Callable[[logging.Logger], object]] = {
    "the message": lambda logger: logger.info(f"key {SECRET}"),  # the text may not come from a trusted place
    "an argument": lambda logger: logger.warning("key %s", SECRET),
    "an object": lambda logger: logger.warning("%r", {"nested": [SECRET]}),
    "a traceback": log_an_exception,
    "an address": lambda logger: logger.error("postgresql://ada:%s@db.test/shop", "unknown-to-us"),
    "an address, quoted": lambda logger: logger.error("https://db.test/?p=%s", quote("with space " + SECRET)),
    "a setting of a client": lambda logger: logger.warning('sasl.jaas.config=x password="%s";', "unknown-to-us"),
    "a header": lambda logger: logger.warning("Authorization: Bearer %s", "unknown-to-us"),
    "a pair": lambda logger: logger.warning("token=unknown-to-us, next"),
    "JSON": lambda logger: logger.warning('{"api_key": "unknown-to-us", "n": 1}'),
    "another logger": lambda logger: logging.getLogger("urllib3").warning("retry with %s", SECRET),
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", SECRET)
    monkeypatch.setenv("SHOP_DB_TOKEN", "with space " + SECRET)


@pytest.mark.parametrize("place", LOGGED)
def test_a_log_line_hides_it(planted: None, capsys: pytest.CaptureFixture[str], place: str) -> None:
    configure_logging("INFO")
    try:
        LOGGED[place](logging.getLogger("shoplake.test"))
    finally:
        logging.getLogger().handlers.clear()
    said = capsys.readouterr().err
    assert HIDDEN in said
    assert SECRET not in said
    assert "unknown-to-us" not in said


def raise_error(error: Exception) -> int:
    raise error


@pytest.mark.parametrize("error", [
    ConfigError(f"bad {SECRET}"), ShoplakeError(f"postgresql://ada:{SECRET}@db failed"),
    OSError(2, "No such file", f"/run/{SECRET}"), OSError(f"refused by {SECRET}"),
], ids=lambda error: type(error).__name__)
def test_a_commands_error_hides_it(planted: None, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    assert run_to_exit_code(lambda: raise_error(error)) in (1, 2)
    said = capsys.readouterr().err
    assert HIDDEN in said
    assert SECRET not in said


def test_a_bugs_traceback_hides_it(planted: None) -> None:
    code = ("import os\nfrom shoplake.logs import configure_logging\nconfigure_logging()\n"
            "raise RuntimeError('with ' + os.environ['SHOP_DB_PASSWORD'])\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"RuntimeError: with {HIDDEN}" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("arguments", [
    ["utils/check_environment.py", "--json"], ["sql/run_analytics.py", "--query", "daily_revenue"],
    ["sql/run_analytics.py", "--query", "nothing"], ["utils/reconcile.py"], ["utils/verify_audit.py"],
    ["gcp/bigquery_client.py", "plan", "--profile", "dev"], ["kafka/consumer.py", "--max-messages", "1"],
])
def test_a_command_tells_none_of_its_secrets(
    arguments: list[str], data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    secrets = {"SHOPLAKE_GOVERNANCE__KEY": HEX_SECRET * 2, "SHOPLAKE_AIRFLOW__WEBHOOK_URL": f"https://h.test/{SECRET}",
               "SHOPLAKE_KAFKA__SASL_PASSWORD": SECRET}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHOPLAKE_KAFKA__DELIVERY_TIMEOUT", "2")
    monkeypatch.setattr("sys.argv", arguments)
    try:
        runpy.run_path(str(PROJECT_ROOT / arguments[0]))["main"](arguments[1:])
    finally:
        logging.getLogger().handlers.clear()
    seen = capfd.readouterr()
    for text in (seen.out, seen.err, *(file.read_bytes().decode(errors="replace")
                                       for file in data_dir.rglob("*") if file.is_file())):
        assert HEX_SECRET not in text
        assert SECRET not in text


def test_a_typed_password_and_a_sessions_token_are_told_nowhere(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    """Right or wrong, typed as a password or by mistake as the name; a cookie; the passwords of Airflow's login."""
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET + "\n"))
    assert runpy.run_path(str(PROJECT_ROOT / "utils" / "dashboard_user.py"))["main"](["set", "ada", "--json"]) == 0
    configure_logging("DEBUG")
    try:
        door = Starlette(routes=[Route("/", lambda request: PlainTextResponse("in"))])
        door.add_middleware(Door, logins=Logins(load_settings()))
        with TestClient(door, base_url="http://127.0.0.1") as client:
            typed = [("ada", SECRET), ("ada", HEX_SECRET), (SECRET, HEX_SECRET), (HEX_SECRET, "")]
            answers = [client.post("/login", data={"name": name, "password": password}, follow_redirects=False)
                       for name, password in typed]
            token = answers[0].cookies["shoplake_session"]
            assert client.get("/").text == "in"
            answers += [client.get("/logout"), client.get("/login", params={"to": "sales"})]
        login = login_file(load_settings())
        airflow_environment({}, load_settings(), Path("/venv/bin"), 8081)
    finally:
        logging.getLogger().handlers.clear()
    seen = capfd.readouterr()
    assert "login ada: done" in seen.err
    assert "login under an unknown name: refused" in seen.err
    secrets = [SECRET, HEX_SECRET, token, *json.loads(login.read_text()).values()]
    own = {login, *login.parent.glob("airflow-*.secret")}
    files = [file for file in data_dir.rglob("*") if file.is_file() and file not in own]
    texts = [seen.out, seen.err, *(answer.text for answer in answers),
             *(file.read_bytes().decode(errors="replace") for file in files)]
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert stat.S_IMODE(login.stat().st_mode) == 0o600


def test_settings_in_print_show_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", HEX_SECRET)
    settings = load_settings()
    for text in (str(settings), repr(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert HEX_SECRET not in text


@pytest.mark.parametrize(("environment", "text"), [
    ({"MYSQL_PWD": "geheim99"}, "geheim99"), ({"DB_PASS": "geheim99"}, "geheim99"),  # pragma: allowlist secret
    ({"API_AUTH": "geheim99"}, "geheim99"), ({"APIKEY": "geheim99"}, "geheim99"),  # pragma: allowlist secret
    ({"X_TOKEN": "geheim99\n"}, "geheim99"),
    ({"TLS_KEY": "-----BEGIN\ngeheim99\n-----END"}, "line geheim99 of it"),
    ({"DB_SECRET": '{"username": "ada", "password": "geheim99"}'}, "geheim99"),  # pragma: allowlist secret
    ({"SHOPLAKE_KAFKA": '{"sasl_password": "geheim99"}'}, "geheim99"),  # pragma: allowlist secret
    ({"A_SECRET": 'ge"heim99'}, 'said {"a": "ge\\"heim99"}'),  # pragma: allowlist secret
    ({"A_SECRET": "ge heim99"}, "a=ge%20heim99"),  # pragma: allowlist secret
    ({"DB": "postgresql://ada:geheim99@db.test/x"}, "geheim99"),  # pragma: allowlist secret
    ({}, "postgresql://ada:ge/heim@99@db.test/x"), ({}, "https://geheim99@github.test"), ({}, "--password geheim99"),
    ({}, "Authorization: Token geheim99"), ({}, '{\\"api_key\\": \\"geheim99\\"}'), ({}, "AWS_ACCESS_KEY: geheim99"),
    ({}, "private_key=geheim99"), ({}, "password=12345699"),  # pragma: allowlist secret
    ({}, '"password": "a\\"bgeheim99"'),  # pragma: allowlist secret
])
def test_a_secret_is_known_in_each_of_its_forms(environment: dict[str, str], text: str) -> None:
    said = redact(text, find_secrets(environment))
    assert HIDDEN in said
    assert not any(part in said for part in ("heim", "99"))


@pytest.mark.parametrize("text", ["a-" * 2000, "part-00000." * 5000, "password" * 5000, "token " * 5000, '"' * 20000])
def test_a_long_text_is_no_trap(text: str) -> None:
    assert redact(text, ()) == text  # a pattern that goes back over it again and again would take minutes


def test_what_is_no_secret_stays() -> None:
    secrets = find_secrets({
        "HOME": "/root/some/where", "API_TOKEN": "short", "PATH": os.defpath, "DISK_KEYBOARD": "keyboard",
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/account.json", "POSTGRES_PASSWORD_FILE": "/run/secrets/database",
        "DB_SECRET": "plain text"})  # pragma: allowlist secret
    assert secrets[0] == "plain%20text"
    secrets = tuple(one for one in secrets if "plain" not in one)
    assert secrets == ()
    for text in ("the token of the topic ecommerce_events", "/root/some/where", "secret_version=3", "key: user_id",
                 "viewer.classes.secret: Input should be 'clear'", "token_env: String should match",
                 "basic statistics", "Basic authentication is required",
                 "https://example.test:8080/path", "tokens: 12"):
        assert redact(text, secrets) == text
