"""Debian's packages that tests install where they are missing."""

import os
import shutil
import subprocess
from pathlib import Path


def find_postgres() -> Path | None:
    """Find the newest version's folder of programs."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    elsewhere = shutil.which("initdb")
    return installed[-1].parent if installed else Path(elsewhere).resolve().parent if elsewhere else None


def install_postgres() -> Path | None:
    """Install Debian's, without the server that the package would start."""
    own = Path("/etc/postgresql-common/createcluster.conf")
    if os.geteuid() == 0 and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("create_main_cluster = false\n")
    install_package("postgresql")
    return find_postgres()


def install_package(name: str) -> None:
    """Install a package of Debian's, where this may be done."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", name]):
            subprocess.run(["apt-get", *words], env=environment, capture_output=True, check=False)
