"""MLflow's pages over the registry's file: full MLflow in an environment of its own, for packages clash with ours."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shoplake.processes import HOST
from shoplake.registry.store import database_uri, make_database, registry_folder
from shoplake.settings import PROJECT_ROOT, Settings

REQUIREMENTS = PROJECT_ROOT / "docker" / "requirements-mlflow.txt"
FIRST_PORT = 5000  # the next free one is taken if it is in use


def has_page(settings: Settings) -> bool:
    """Tell whether this machine shows the registry: a server of `ml.tracking_uri` has pages of its own."""
    return not settings.ml.tracking_uri and (find_environment() / "made").exists()


def find_environment() -> Path:
    """Give the folder of the environment; each set of pins has one of its own, beside our packages."""
    return Path(sys.prefix) / f"mlflow-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"


def make_environment(say: Callable[[str], None]) -> None:
    """Install full MLflow if it is not there, in a minute or two; where that fails, say that its pages are left out."""
    folder = find_environment()
    if (folder / "made").exists():
        return
    say("installing MLflow for its pages, the first time only")
    uv, python = Path(sys.executable).parent / "uv", folder / "bin" / "python"
    for words in (["venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
                  ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(python),
                   "--require-hashes", "-r", str(REQUIREMENTS)]):
        done = subprocess.run([str(uv), *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            say(f"MLflow's pages are left out: {done.stderr.strip()[-600:]}")
            return
    (folder / "made").touch()


def page_command(settings: Settings, port: int) -> list[str]:
    """Give the command that serves the pages on loopback; the registry's file is made if there is none."""
    return [
        str(find_environment() / "bin" / "mlflow"), "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", database_uri(make_database(settings)),
        "--artifacts-destination", str(registry_folder(settings) / "artifacts"),
        "--allowed-hosts", f"{HOST}:{port},localhost:{port}",
    ]
