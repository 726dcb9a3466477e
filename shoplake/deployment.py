"""Deploying to Google Cloud: the names that the scripts share with Terraform, and steps that are printed or run."""

import json
import os
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from shoplake.errors import ConfigError, DeploymentError
from shoplake.outcome import print_result
from shoplake.redaction import find_secrets, redact
from shoplake.sections import GcpSettings
from shoplake.settings import PROFILES

CLOUD_PROFILES = PROFILES[1:]
# As in gcp/terraform; a test keeps both equal.
COMPOSER_ENVIRONMENT = "shoplake"
IMAGE_REPOSITORY = "images"
PYTHON_REPOSITORY = "python"
TRAINING_JOB = "shoplake-training"
# Composer mounts its bucket's folder data/ there, on workers.
COMPOSER_HOME = "/home/airflow/gcs/data/shoplake"
SPARK_ARCHIVE = "shoplake.zip"
_LINES_KEPT = 40


@dataclass(frozen=True)
class Secret:
    """A value that no file and no argument may hold: what a command prints, with the text around it."""

    words: tuple[str, ...]
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Step:
    """One command of a deployment.

    Attributes:
        purpose: why it is run, in a few words.
        secrets: environment variables that this command alone gets.
        already_done: text on stderr by which the command says that there was nothing to do; it then counts as done.
    """

    purpose: str
    words: tuple[str, ...]
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    already_done: str = ""

    @property
    def line(self) -> str:
        """The command as a person would type it; it shows how a secret is got, never the secret."""
        assignments = [f'{name}="{secret.before}$({shlex.join(secret.words)}){secret.after}"'
                       for name, secret in self.secrets.items()]
        return " ".join([*assignments, shlex.join(self.words)])


def tool_environment(environment: Mapping[str, str], binaries: Path) -> dict[str, str]:
    """Give the variables of the commands: with the virtual environment's programs (uv) first."""
    return {**environment, "PATH": f"{binaries}{os.pathsep}{environment.get('PATH', os.defpath)}"}


def image_repository(gcp: GcpSettings) -> str:
    """Give the address under which this project's images lie."""
    return f"{gcp.location}-docker.pkg.dev/{gcp.project_id}/{IMAGE_REPOSITORY}"


def composer_bucket(gcp: GcpSettings) -> str:
    """Give the address of the bucket whose folders are Airflow's."""
    return f"gs://{gcp.project_id}-composer"


def images_file(root: Path, profile: str) -> Path:
    """Give where gcp/build_images.py writes the images' digests: a variable file of Terraform too."""
    return root / "build" / f"images-{profile}.tfvars.json"


def read_images(file: Path) -> dict[str, str]:
    """Read the address by digest of each built image; none were built, none are given.

    Raises:
        ConfigError: the file is not what build_images.py writes.
    """
    try:
        images = json.loads(file.read_text(encoding="utf-8"))["images"]
        return {str(name): str(address) for name, address in images.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} is not what gcp/build_images.py writes: {error!r}; run that again") from error


def find_wheel(given: Path | None) -> tuple[Path, list[Step]]:
    """Give the wheel to deploy, and the steps that build it in the project's root: none if a built one is given.

    The fixed time makes the same sources the same bytes, so that a release deployed again is no new one.
    """
    if given:
        return given.resolve(), []
    wheel = Path("dist", f"shoplake-{version('shoplake')}-py3-none-any.whl")
    build = ("env", "SOURCE_DATE_EPOCH=315532800", "uv", "build", "--build-constraints", "requirements.txt",
             "--require-hashes", "--wheel", "--out-dir", str(wheel.parent))
    return wheel, [Step("build the wheel", build)]


def wheel_version(wheel: Path) -> str:
    """Read the version from a wheel's name."""
    parts = wheel.name.removesuffix(".whl").split("-")
    if wheel.suffix != ".whl" or len(parts) != 5 or parts[0] != "shoplake":
        raise ConfigError(f"{wheel} is no wheel of shoplake, such as shoplake-0.1.0-py3-none-any.whl")
    return parts[1]


def perform_steps(
    profile: str, steps: Sequence[Step], root: Path, environment: Mapping[str, str] | None, as_json: bool,
) -> None:
    """Run the steps if there is an environment to run them in, telling each on stderr; then print what they are."""
    if environment is not None:
        run_steps(steps, root, environment, lambda line: print(line, file=sys.stderr))
    lines = [step.line for step in steps]
    result = {"environment": profile, "run": environment is not None, "commands": lines}
    print_result(result, "\n".join(lines), as_json)


def run_steps(
    steps: Iterable[Step], root: Path, environment: Mapping[str, str], report: Callable[[str], None],
) -> None:
    """Run the steps in their order, each only if the one before has ended well.

    Args:
        root: the checkout, where every command runs.
        environment: the variables of every command; its PATH must find uv, gcloud and docker.
        report: takes each command as it starts, and every line that it writes.

    Raises:
        DeploymentError: a command failed; the message has its last lines. The steps before it stay done.
        ConfigError: a program is not installed.
    """
    for step in steps:
        report(f"{step.purpose}: {step.line}")
        secrets = {name: f"{secret.before}{read_output(secret.words, environment)}{secret.after}"
                   for name, secret in step.secrets.items()}
        code, lines = _run(step.words, root, {**environment, **secrets}, report)
        if code and step.already_done and step.already_done in "\n".join(lines):
            report(f"{step.purpose}: was so already")
        elif code:
            raise DeploymentError(
                f"cannot {step.purpose}: exit code {code} from\n  {step.line}\n" + "\n".join(lines) +
                "\nThe steps before it are done; mend this and run the same command again: it repeats them harmlessly")


def _run(
    words: tuple[str, ...], root: Path, environment: Mapping[str, str], report: Callable[[str], None],
) -> tuple[int, list[str]]:
    kept: deque[str] = deque(maxlen=_LINES_KEPT)
    secrets = find_secrets(environment)
    try:
        with subprocess.Popen(
            words, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None  # noqa: S101  # PIPE above
            for line in process.stdout:
                said = redact(line.rstrip(), secrets)
                report(said)
                kept.append(said)
    except FileNotFoundError as error:
        raise _missing(words[0]) from error
    return process.returncode, list(kept)


def read_output(words: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """Run a command that only looks, and give what it prints, without the last line's end.

    Raises:
        DeploymentError: it failed; the message has what it wrote to stderr.
        ConfigError: the program is not installed.
    """
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise _missing(words[0]) from error
    if done.returncode:
        raise DeploymentError(f"exit code {done.returncode} from\n  {shlex.join(words)}\n{done.stderr.strip()}")
    return done.stdout.strip()


def _missing(program: str) -> ConfigError:
    return ConfigError(f"the program {program} is not on PATH; install it (docs/cloud.md), or see with --dry-run what "
                       "would be run")
