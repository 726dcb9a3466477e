"""The environment in which this project's Airflow runs; nothing of Airflow is imported."""

import os
from collections.abc import Mapping
from pathlib import Path

from shoplake.installation import locate_package


def command_environment(base: Mapping[str, str], binaries: Path) -> dict[str, str]:
    """Give the variables that make a plain `python` or `spark-submit` this environment's own.

    An exported SPARK_HOME of another Spark would run that one; ours brings its conf/spark-env.sh, which finds the Java.

    Args:
        binaries: the virtual environment's folder of commands.
    """
    return {
        "PATH": f"{binaries}{os.pathsep}{base.get('PATH', os.defpath)}",
        "SPARK_HOME": str(locate_package("pyspark")),
    }


def airflow_environment(base: Mapping[str, str], project_root: Path, data_path: Path, binaries: Path) -> dict[str, str]:
    """Give `base` with what Airflow needs: home in the data folder, our DAGs, the virtual environment's commands.

    Args:
        binaries: the virtual environment's folder of commands.
    """
    home = data_path / "airflow"
    return {
        **base,
        **command_environment(base, binaries),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project_root / "airflow" / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(project_root / "airflow" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "True",
    }
