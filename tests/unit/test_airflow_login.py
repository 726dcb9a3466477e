"""The login and the secrets of this machine's Airflow, as Airflow itself reads them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoplake.airflow_environment import airflow_environment, login_file
from shoplake.errors import ConfigError
from shoplake.settings import load_settings

READ = """
import json
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.configuration import conf
manager = SimpleAuthManager()
manager.init()
print("READ " + json.dumps({
    "secrets": [conf.get("core", "fernet_key"), conf.get("api_auth", "jwt_secret"), conf.get("api", "secret_key")],
    "users": [[user.username, user.role] for user in manager.get_users()], "passwords": manager.get_passwords(),
    "all_admins": conf.getboolean("core", "simple_auth_manager_all_admins")}))
"""


def make(data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the whole environment of an installation."""
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(data))
    base = {"PATH": "/usr/bin:/bin", "HOME": str(data)}
    return airflow_environment(base, load_settings(), Path(sys.executable).parent, 8081)


def test_each_installation_has_its_own_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("a folder", "another"):
        environment = make(tmp_path / name, monkeypatch)
        done = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        read = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("READ "))[5:])
        assert read["users"] == [["operator", "admin"]]
        assert read["all_admins"] is False
        assert set(read["passwords"]) == {"operator"}
        values = [*read["secrets"], read["passwords"]["operator"]]
        assert min(map(len, values)) >= 24
        # Airflow would print the password that it makes; and no task gets a secret with its environment.
        assert not [value for value in values if value in done.stdout.replace(json.dumps(read), "") + done.stderr]
        assert not [value for value in values if value in "\n".join(environment.values())]
        keys = tmp_path / name / "keys"
        assert keys.stat().st_mode & 0o777 == 0o700
        assert {file.name: file.stat().st_mode & 0o777 for file in keys.iterdir()} == dict.fromkeys(
            ("airflow-login.json", "airflow-fernet.secret", "airflow-jwt.secret", "airflow-session.secret"), 0o600)
        assert (tmp_path / name / "airflow").stat().st_mode & 0o777 == 0o700
        before = {file.name: file.read_bytes() for file in keys.iterdir()}
        assert make(tmp_path / name, monkeypatch) == environment
        assert {file.name: file.read_bytes() for file in keys.iterdir()} == before
        seen += values
    assert len(set(seen)) == len(seen) == 8


def test_another_user_gets_a_password_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_dir, monkeypatch)
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__USER", "grace")
    assert make(data_dir, monkeypatch)["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "grace:admin"
    passwords = json.loads(login_file(load_settings()).read_text())
    assert set(passwords) == {"operator", "grace"}
    assert len(set(passwords.values())) == 2


@pytest.mark.parametrize("text", ["my own password", '["a"]', ""])
def test_a_file_of_something_else_is_refused_and_not_told(
    text: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(data_dir, monkeypatch)
    login_file(load_settings()).write_text(text)
    with pytest.raises(ConfigError, match=r'\{"operator": "a password"\}') as refused:
        make(data_dir, monkeypatch)
    assert text == "" or text not in str(refused.value)


@pytest.mark.parametrize("name", ["admin", "airflow", "root", "a:admin,b", ""])
def test_no_user_is_named_as_everybody_tries(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__USER", name)
    with pytest.raises(ConfigError, match=r"airflow\.user"):
        load_settings()


@pytest.mark.parametrize("name", ["airflow-login.json", "airflow-jwt.secret"])
def test_a_secret_that_others_may_read_is_refused(
    name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(data_dir, monkeypatch)
    (data_dir / "keys" / name).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        make(data_dir, monkeypatch)
