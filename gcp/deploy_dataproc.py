"""Deploy what Spark runs on Dataproc: the wheel as a zip for --py-files, the Spark shells, and their jars.

All goes to gcp.dataproc.code_uri, where the DAGs' batches and the stream's cluster look for it. --dry-run prints every
command and runs none.
"""

import argparse
import os
import sys
from pathlib import Path

from shoplake.deployment import CLOUD_PROFILES, SPARK_ARCHIVE, Step, find_wheel, perform_steps, tool_environment
from shoplake.errors import EXIT_OK, ConfigError
from shoplake.installation import locate_installation
from shoplake.logs import configure_logging
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT, Settings, load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="deploy_dataproc.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", "--profile", dest="profile", choices=CLOUD_PROFILES, required=True,
                        help="the environment, a profile of configs/")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="deploy this wheel (default: build one)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands in their order; run none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _deploy(arguments))


def _deploy(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    steps = plan(settings, arguments.wheel)
    environment = None if arguments.dry_run else tool_environment(os.environ, Path(sys.executable).parent)
    perform_steps(settings.profile, steps, PROJECT_ROOT, environment, arguments.json)
    return EXIT_OK


def plan(settings: Settings, given_wheel: Path | None) -> list[Step]:
    """Give the deployment's commands; run again they change nothing. The shells come last: a batch starts with one."""
    code = settings.gcp.dataproc.code_uri.rstrip("/")
    wheel, build = find_wheel(given_wheel)
    jars = [str(jar) for jar in find_jars(settings)]
    shells = sorted(str(path.relative_to(PROJECT_ROOT)) for path in (PROJECT_ROOT / "spark").glob("*.py"))
    return [
        *build,
        Step("upload the package", copy(str(wheel), target=f"{code}/{SPARK_ARCHIVE}")),
        Step("upload the jars", copy(*jars, target=f"{code}/jars/")),
        Step("upload what the cluster installs by", copy("gcp/install_packages.sh", target=f"{code}/")),
        Step("upload the shells", copy(*shells, target=f"{code}/spark/")),
    ]


def copy(*sources: str, target: str) -> tuple[str, ...]:
    """Give the command that copies files to a folder, or one file to a name."""
    return ("gcloud", "storage", "cp", *sources, target)


def find_jars(settings: Settings) -> list[Path]:
    """Find the jars of gcp.dataproc.jars among those that `make setup` has retrieved.

    Raises:
        ConfigError: one is not there.
    """
    folder = locate_installation(Path(sys.prefix)).spark_jars
    jars = [folder / name for name in settings.gcp.dataproc.jars]
    if missing := [jar.name for jar in jars if not jar.is_file()]:
        raise ConfigError(f"{', '.join(missing)} of gcp.dataproc.jars is not in {folder}; run make setup, and let the "
                          "setting name the versions of spark/ivy.xml")
    return jars


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
