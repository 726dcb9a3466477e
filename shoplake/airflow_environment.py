"""The environment in which this project's Airflow runs; nothing of Airflow is imported."""

import json
import os
import secrets
import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from shoplake.errors import ConfigError
from shoplake.installation import locate_package
from shoplake.private_files import keep_secret, key_folder, read_private, write_private
from shoplake.processes import HOST
from shoplake.settings import PROJECT_ROOT, Settings


def command_environment(base: Mapping[str, str], binaries: Path) -> dict[str, str]:
    """Give the variables that make a plain `python` or `spark-submit` this environment's own.

    An exported SPARK_HOME of another Spark would run that one; ours brings its conf/spark-env.sh, which finds the Java.
    Composer's workers have no Spark: there it runs on Dataproc. A step's standard input is a socket, which bash takes
    for a login from afar: with SHLVL below 1 `bash -c` would read ~/.bashrc, and what that puts first on PATH hides
    ours.

    Args:
        binaries: the virtual environment's folder of commands.
    """
    own = {"PATH": f"{binaries}{os.pathsep}{base.get('PATH', os.defpath)}", "SHLVL": "1"}
    return {**own, "SPARK_HOME": str(locate_package("pyspark"))} if find_spec("pyspark") else own


def airflow_environment(base: Mapping[str, str], settings: Settings, binaries: Path, port: int) -> dict[str, str]:
    """Give `base` with what this machine's Airflow needs: our DAGs and plugins, home in the data folder, loopback only.

    A database that `base` names (AIRFLOW__DATABASE__SQL_ALCHEMY_CONN) stays; else it is SQLite in the home folder.
    Makes the home folder and, once, this installation's secrets and the login (login_file). Of the secrets only their
    files are named, so that no task has one in its environment.

    Args:
        binaries: the virtual environment's folder of commands.
        port: where the api-server listens.
    """
    home = settings.data_path / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # the database and the logs are nobody else's
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        **base,
        **command_environment(base, binaries),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "airflow" / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "airflow" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "True",
        "AIRFLOW__CORE__PARALLELISM": str(settings.airflow.parallelism),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://{HOST}:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY_CMD": _secret_command(settings, "session", 64),
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": _secret_command(settings, "jwt", 64),
        "AIRFLOW__CORE__FERNET_KEY_CMD": _secret_command(settings, "fernet", 32),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{settings.airflow.user}:admin",  # the role has that name
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_keep_login(settings)),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",  # it would listen on every address
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        # A laptop has few DAG files, and two cores: one process looks at them once a minute.
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        # A task whose worker was killed is tried again after two minutes, not five.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
        **_openlineage(settings),
    }


def _openlineage(settings: Settings) -> dict[str, str]:
    if not settings.airflow.openlineage_file:
        return {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    file = settings.data_path / settings.airflow.openlineage_file
    file.parent.mkdir(parents=True, exist_ok=True)
    return {
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "shoplake",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(file), "append": True}),
    }


def login_file(settings: Settings) -> Path:
    """Give the file of the login to this machine's Airflow: {user: password}, as its SimpleAuthManager reads it."""
    return key_folder(settings) / "airflow-login.json"


def _keep_login(settings: Settings) -> Path:
    """Give the login's file; a password is made for a user who has none, so that Airflow makes and prints none."""
    file = login_file(settings)
    try:
        passwords = json.loads(read_private(file)) if file.exists() else {}
        is_sound = isinstance(passwords, dict)
    except ValueError:
        is_sound = False
    if not is_sound:  # what it holds is not told
        raise ConfigError(f'{file} holds no passwords, such as {{"{settings.airflow.user}": "a password"}}. Mend it, '
                          "or delete it and have a new one made by: make up")
    if settings.airflow.user not in passwords:
        made = {**passwords, settings.airflow.user: secrets.token_urlsafe(18)}
        write_private(file, json.dumps(made).encode(), replace=True)
    return file


def _secret_command(settings: Settings, name: str, size: int) -> str:
    return f"cat {shlex.quote(str(keep_secret(settings, f'airflow-{name}.secret', size)))}"
