"""The environment in which this project's Airflow runs; nothing of Airflow is imported."""

import json
import os
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from shoplake.installation import locate_package
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
    Makes the home folder and in it, once, the secret with which Airflow's parts sign what they send to each other.

    Args:
        binaries: the virtual environment's folder of commands.
        port: where the api-server listens.
    """
    home = settings.data_path / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # Airflow writes its admin's password there for all to read
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
        "AIRFLOW__API__SECRET_KEY": _keep_secret(home / "session.secret"),
        "AIRFLOW__API_AUTH__JWT_SECRET": _keep_secret(home / "jwt.secret"),
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


def _keep_secret(file: Path) -> str:
    """Read the secret of `file`; the first time make one of 64 bytes, which only its owner may read."""
    if not file.exists():
        part = file.with_suffix(f".{os.getpid()}")
        part.touch(mode=0o600)
        part.write_text(secrets.token_urlsafe(64))
        part.replace(file)
    return file.read_text()
