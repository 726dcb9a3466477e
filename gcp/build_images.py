"""Build and push the images that the cloud runs, and write down their digests: what is deployed is never a tag.

dataproc is Spark's driver and executors, ml the training job. The digests go to build/images-<environment>.tfvars.json,
which Terraform takes as -var-file and the deploy scripts read. --dry-run prints every command and runs none.
"""

import argparse
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from shoplake.deployment import (
    CLOUD_PROFILES,
    Step,
    image_repository,
    images_file,
    read_images,
    read_output,
    run_steps,
    tool_environment,
)
from shoplake.errors import EXIT_OK, DeploymentError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.sections import GcpSettings
from shoplake.settings import PROJECT_ROOT, load_settings

DOCKERFILES = {"dataproc": "gcp/Dockerfile.dataproc", "ml": "docker/Dockerfile.ml"}


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="build_images.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", "--profile", dest="profile", choices=CLOUD_PROFILES, required=True,
                        help="the environment, a profile of configs/")
    parser.add_argument("--image", action="append", choices=DOCKERFILES, help="only this image; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="print the commands in their order; run none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _build(arguments))


def _build(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    names = arguments.image or list(DOCKERFILES)
    steps = plan(settings.gcp, names)
    looks = {name: digest_command(image_address(settings.gcp, name)) for name in names}
    file = images_file(PROJECT_ROOT, settings.profile)
    lines = [*(step.line for step in steps), *(Step(f"read the digest of {name}", looks[name]).line for name in names)]
    images = read_images(file)
    if not arguments.dry_run:
        environment = tool_environment(os.environ, Path(sys.executable).parent)
        run_steps(steps, PROJECT_ROOT, environment, lambda line: print(line, file=sys.stderr))
        images |= {name: choose_digest(image_repository(settings.gcp), name, read_output(words, environment))
                   for name, words in looks.items()}
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": images}, indent=2) + "\n", encoding="utf-8")
        print(f"written to {file}", file=sys.stderr)
    print_result({"environment": settings.profile, "run": not arguments.dry_run, "commands": lines, "images": images},
                 "\n".join(lines), arguments.json)
    return EXIT_OK


def plan(gcp: GcpSettings, names: list[str]) -> list[Step]:
    """Give the commands that log Docker in, then build and push each image, for the machines that Google runs."""
    login = ("gcloud", "auth", "configure-docker", f"{gcp.location}-docker.pkg.dev", "--quiet")
    steps = [Step("let docker push", login)]
    for name in names:
        address = image_address(gcp, name)
        steps.append(Step(f"build {name}", (
            "docker", "build", "--platform", "linux/amd64", "--file", DOCKERFILES[name], "--tag", address, ".")))
        steps.append(Step(f"push {name}", ("docker", "push", address)))
    return steps


def image_address(gcp: GcpSettings, name: str) -> str:
    """Give the image's address with the package's version as its tag."""
    return f"{image_repository(gcp)}/{name}:{version('shoplake')}"


def digest_command(address: str) -> tuple[str, ...]:
    """Give the command that prints a pushed image's addresses by digest, as a JSON list."""
    return ("docker", "image", "inspect", "--format", "{{json .RepoDigests}}", address)


def choose_digest(repository: str, name: str, printed: str) -> str:
    """Choose the address of this environment's registry: an image that was pushed to several has one of each.

    Raises:
        DeploymentError: Docker knows none of this registry.
    """
    addresses: list[str] = json.loads(printed) or []
    for address in addresses:
        if address.startswith(f"{repository}/{name}@"):
            return address
    raise DeploymentError(
        f"Docker knows no digest of {repository}/{name}, only: {', '.join(addresses) or 'none'}; run "
        "gcp/build_images.py again: the push to this registry makes one")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
