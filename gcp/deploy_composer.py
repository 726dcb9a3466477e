"""Deploy to Cloud Composer: the wheel as a PyPI package, shells, plugins, variables, pools, and the DAGs last.

Needs what gcp/terraform has made, and gcloud with the right to change it. --dry-run prints every command and runs none.
"""

import argparse
import os
import sys
from pathlib import Path

from shoplake.deployment import (
    CLOUD_PROFILES,
    COMPOSER_ENVIRONMENT,
    COMPOSER_HOME,
    PYTHON_REPOSITORY,
    Secret,
    Step,
    composer_bucket,
    find_wheel,
    images_file,
    perform_steps,
    read_images,
    tool_environment,
    wheel_version,
)
from shoplake.errors import EXIT_OK
from shoplake.logs import configure_logging
from shoplake.outcome import run_to_exit_code
from shoplake.sections import GcpSettings
from shoplake.settings import HOME_VARIABLE, PROFILE_VARIABLE, PROJECT_ROOT, Settings, load_settings

SHELL_FOLDERS = ("kafka", "spark", "sql", "ml", "dashboard", "gcp", "utils")
TOKEN_USER = "oauth2accesstoken"  # noqa: S105  # a name; the token is its password
# By which Composer refuses an update that would change nothing.
UNCHANGED = "No change in configuration"
# Neither copied nor deleted; airflow_monitoring.py is the DAG by which Composer watches its own health.
LEFT_ALONE = r".*__pycache__/.*|terraform/.*|airflow_monitoring\.py"


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="deploy_composer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    """Give the deployment's commands; run again they change nothing."""
    gcp = settings.gcp
    bucket = composer_bucket(gcp)
    wheel, build = find_wheel(given_wheel)
    home = f"{bucket}/data/shoplake"
    return [
        *build,
        publish_wheel(gcp, wheel),
        *(mirror(f"upload the shells of {folder}/", folder, f"{home}/{folder}") for folder in SHELL_FOLDERS),
        Step("upload the pools", ("gcloud", "storage", "cp", "airflow/pools.json",
                                  f"{home}/airflow/pools.json")),
        mirror("upload the plugins", "airflow/plugins", f"{bucket}/plugins"),
        update(gcp, "set the variables", "--update-env-variables", variables(settings)),
        update(gcp, "install the package", "--update-pypi-package", f"shoplake[cloud]=={wheel_version(wheel)}"),
        Step("make the pools", (
            "gcloud", "composer", "environments", "run", COMPOSER_ENVIRONMENT, *place(gcp), "pools", "import", "--",
            f"{COMPOSER_HOME}/airflow/pools.json")),
        mirror("upload the DAGs", "airflow/dags", f"{bucket}/dags"),
    ]


def publish_wheel(gcp: GcpSettings, wheel: Path) -> Step:
    """Put the wheel into the project's package repository; the same file again is no error, another one is."""
    host, path = f"{gcp.location}-python.pkg.dev", f"{gcp.project_id}/{PYTHON_REPOSITORY}"
    token = ("gcloud", "auth", "print-access-token")
    return Step(
        "publish the wheel",
        ("uv", "publish", "--username", TOKEN_USER, "--publish-url", f"https://{host}/{path}/", str(wheel)),
        secrets={
            "UV_PUBLISH_PASSWORD": Secret(token),
            "UV_PUBLISH_CHECK_URL": Secret(token, f"https://{TOKEN_USER}:", f"@{host}/{path}/simple/"),
        },
    )


def mirror(purpose: str, folder: str, target: str) -> Step:
    """Make the bucket's folder hold what the checkout's holds, and nothing else."""
    return Step(purpose, (
        "gcloud", "storage", "rsync", "--recursive", "--delete-unmatched-destination-objects",
        f"--exclude={LEFT_ALONE}", folder, target))


def update(gcp: GcpSettings, purpose: str, flag: str, value: str) -> Step:
    """Change the Composer environment: one kind of change at a time is what it takes, and it waits for the end."""
    return Step(
        purpose, ("gcloud", "composer", "environments", "update", COMPOSER_ENVIRONMENT, *place(gcp), f"{flag}={value}"),
        already_done=UNCHANGED)


def place(gcp: GcpSettings) -> tuple[str, str]:
    """Give the flags that say where the Composer environment is."""
    return f"--location={gcp.location}", f"--project={gcp.project_id}"


def variables(settings: Settings) -> str:
    """Give Airflow's variables as gcloud takes them, parted by semicolons, because Kafka's address may hold commas."""
    values = {
        PROFILE_VARIABLE: settings.profile,
        HOME_VARIABLE: COMPOSER_HOME,
        "SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
    }
    if image := read_images(images_file(PROJECT_ROOT, settings.profile)).get("dataproc"):
        values["SHOPLAKE_GCP__DATAPROC__CONTAINER_IMAGE"] = image
    return "^;^" + ";".join(f"{name}={value}" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
