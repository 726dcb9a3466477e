"""The environment in which this project's Airflow runs; nothing of Airflow is imported."""

import os
from collections.abc import Mapping
from pathlib import Path


def airflow_environment(base: Mapping[str, str], project_root: Path, data_path: Path, binaries: Path) -> dict[str, str]:
    """Give `base` with what Airflow needs: home in the data folder, our DAGs, the virtual environment first on PATH.

    Args:
        binaries: the virtual environment's folder of commands.
    """
    home = data_path / "airflow"
    return {
        **base,
        "PATH": f"{binaries}{os.pathsep}{base.get('PATH', os.defpath)}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project_root / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "True",
    }
