"""The DAGs under the Airflow of the Composer image that they target, with Google's real providers."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoplake.settings import PROJECT_ROOT, load_settings

REQUIREMENTS = PROJECT_ROOT / "airflow" / "requirements-composer.txt"
UV = Path(sys.executable).parent / "uv"
DAGS = sorted((PROJECT_ROOT / "airflow" / "dags").glob("*_dag.py"))
pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def composer_python() -> Path:
    """Give the Python of an environment with the image's packages; it is made once for each set of them."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    python = Path(sys.prefix) / f"composer-{digest}" / "bin" / "python"
    made = python.parents[1] / "made"
    if not made.exists():
        for words in (["venv", "--clear", "--python", sys.executable, str(python.parents[1])],
                      ["pip", "install", "--python", str(python), "--require-hashes", "-r", str(REQUIREMENTS)],
                      ["pip", "install", "--python", str(python), "--no-deps", "-e", str(PROJECT_ROOT)]):
            subprocess.run([UV, *words, "--quiet"], check=True)
        made.touch()
    return python


def read_dags(python: Path, profile: str, tmp_path: Path) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SHOPLAKE"))}
    environment = clean | {
        "AIRFLOW_HOME": str(tmp_path), "SHOPLAKE_PROFILE": profile, "NO_GCE_CHECK": "true",
        "GCE_METADATA_HOST": "127.0.0.1:1", "PYTHONPATH": str(PROJECT_ROOT / "airflow" / "plugins")}
    done = subprocess.run([python, Path(__file__).parent / "composer_dags.py", *DAGS], env=environment, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@pytest.mark.parametrize("profile", ["dev", "staging", "prod"])
def test_composers_airflow_reads_every_dag(composer_python: Path, profile: str, tmp_path: Path) -> None:
    seen = read_dags(composer_python, profile, tmp_path)
    assert f"apache-airflow=={seen['version']} \\" in REQUIREMENTS.read_text().splitlines()
    assert len(seen["dags"]) == 8
    runtime = load_settings(profile).spark.stream_runtime
    for dag_id, task_id in (
            ("ecommerce_pipeline", "drain"), ("ecommerce_pipeline", "build_gold"), ("file_arrival", "drain"),
            ("gold_refresh", "build_gold"), ("spark_streaming", "run_stream")):
        step = seen["dags"][dag_id][task_id]
        assert step["operator"] == "DataprocCreateBatchOperator"
        assert step["ttl"] > runtime
