"""Deploy the training job's image to Cloud Run, by the digest that gcp/build_images.py wrote; --execute runs it once.

Terraform has made the job. --dry-run prints every command and runs none.
"""

import argparse
import os
import sys
from pathlib import Path

from shoplake.deployment import (
    CLOUD_PROFILES,
    TRAINING_JOB,
    Step,
    images_file,
    perform_steps,
    read_images,
    tool_environment,
)
from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT, Settings, load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="deploy_training.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", "--profile", dest="profile", choices=CLOUD_PROFILES, required=True,
                        help="the environment, a profile of configs/")
    parser.add_argument("--image", metavar="ADDRESS", help="the image by digest (default: the one that was built last)")
    parser.add_argument("--execute", action="store_true", help="run the job once and wait for its end")
    parser.add_argument("--dry-run", action="store_true", help="print the commands in their order; run none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _deploy(arguments))


def _deploy(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    steps = plan(settings, arguments.image or find_image(settings, arguments.dry_run), arguments.execute)
    environment = None if arguments.dry_run else tool_environment(os.environ, Path(sys.executable).parent)
    perform_steps(settings.profile, steps, PROJECT_ROOT, environment, arguments.json)
    return EXIT_OK


def find_image(settings: Settings, is_dry_run: bool) -> str:
    """Give the built image's address by digest; a dry run may come before the build, and then names a place for it.

    Raises:
        ConfigError: it was not built.
    """
    file = images_file(PROJECT_ROOT, settings.profile)
    if image := read_images(file).get("ml"):
        return image
    if is_dry_run:
        return "ML_IMAGE_BY_DIGEST"
    raise ConfigError(f"{file} holds no image ml; build it with "
                      f"python gcp/build_images.py --env {settings.profile} --image ml, or give --image")


def plan(settings: Settings, image: str, is_executed: bool) -> list[Step]:
    """Give the commands that put the image into the job, and run the job if that is wanted."""
    if "@sha256:" not in image and image != "ML_IMAGE_BY_DIGEST":
        raise ConfigError(f"--image takes an address by digest, as in …/ml@sha256:…; seen: {image}")
    place = (f"--region={settings.gcp.location}", f"--project={settings.gcp.project_id}")
    steps = [Step("deploy the image", ("gcloud", "run", "jobs", "update", TRAINING_JOB, *place, f"--image={image}"))]
    if is_executed:
        steps.append(Step("train", ("gcloud", "run", "jobs", "execute", TRAINING_JOB, *place, "--wait")))
    return steps


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
