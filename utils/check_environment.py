"""Say what is installed, what is missing and the command that mends it: Python, Java, packages, jars, broker, lake.

Exit code 0 when all is fine, 2 otherwise. Nothing is changed, and nothing outside this machine is asked.
"""

from __future__ import annotations  # so that an older Python gets as far as its message

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from shoplake.installation import Installation
    from shoplake.settings import Settings

_PYTHON = (3, 11)
_FREE_GIB = 2  # the real data set through stream and batch, with room to spare
_SET_UP = "make setup"


class Check(NamedTuple):
    """One line of the table; `fix` is what mends it when it is not ok."""

    name: str
    ok: bool
    seen: str
    fix: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and check; give the exit code."""
    try:
        from shoplake import outcome
        from shoplake.settings import PROFILES
    except ImportError as error:
        print(f"error: this Python ({sys.executable}) lacks {error.name}; run {_SET_UP}, then use .venv/bin/python",
              file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return outcome.run_to_exit_code(lambda: _check_environment(flags.profile, flags.json))


def _check_environment(profile: str | None, as_json: bool) -> int:
    from shoplake.errors import EXIT_OK, EXIT_USAGE
    from shoplake.installation import locate_installation
    from shoplake.logs import configure_logging
    from shoplake.outcome import print_result
    from shoplake.settings import PROJECT_ROOT, load_settings

    settings = load_settings(profile)
    configure_logging(settings.log_level)
    places = locate_installation(Path(sys.prefix))
    checks = [
        check_python(), check_java(places), check_packages(PROJECT_ROOT / "requirements.txt"), check_spark_jars(places),
        check_kafka_jars(places), check_spark_settings(places, PROJECT_ROOT / "spark"),
        check_broker(settings), check_lake(settings), check_disk(settings),
    ]
    all_fine = all(check.ok for check in checks)
    result = {"ok": all_fine, "checks": [check._asdict() for check in checks]}
    print_result(result, _render_table(checks), as_json)
    return EXIT_OK if all_fine else EXIT_USAGE


def check_python() -> Check:
    """Check the version that every pin was resolved for."""
    seen = ".".join(map(str, sys.version_info[:3]))
    return Check("Python 3.11", sys.version_info[:2] == _PYTHON, f"{seen} in {sys.prefix}",
                 f"install Python 3.11, remove .venv, {_SET_UP}")


def check_java(places: Installation) -> Check:
    """Check that a Java is found that Spark and Kafka run on."""
    from shoplake.errors import ConfigError
    from shoplake.java import find_java

    try:
        search = find_java(os.environ, places.bundled_java)
    except ConfigError as error:
        return Check("Java 17 or 21", False, str(error), _SET_UP)
    skipped = "".join(f"; skipped {line}" for line in search.skipped)
    java = search.java
    return Check("Java 17 or 21", True, f"{java.version} from {java.origin}, {java.home}{skipped}")


def check_packages(requirements: Path) -> Check:
    """Check that each package that is pinned for this system is installed in the pinned version."""
    fix = f".venv/bin/uv pip install --require-hashes -r {requirements.name}"
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return Check("Python packages", False, "packaging missing", fix)
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", requirements.read_text(), re.MULTILINE)  # without their hashes
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in map(Requirement, lines)
            if pin.marker is None or pin.marker.evaluate()}
    wrong = [f"{name} {installed or 'missing'} (pinned {pin})" for name, pin in pins.items()
             if (installed := _installed_version(name)) != pin]
    seen = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return Check("Python packages", not wrong, seen or f"{len(pins)} as pinned", fix)


def check_spark_jars(places: Installation) -> Check:
    """Check that Delta and the Kafka connector are on Spark's class path, once, for this Spark, and Cloud Storage's."""
    from shoplake.errors import ConfigError
    from shoplake.installation import check_connectors

    try:
        check_connectors(places.spark_jars)
    except ConfigError as error:
        return Check("Spark jars", False, str(error), _SET_UP)
    if next(places.spark_jars.glob("gcs-connector-*.jar"), None) is None:
        return Check("Spark jars", False, f"no gcs-connector in {places.spark_jars}: lakes in buckets need it", _SET_UP)
    return Check("Spark jars", True, str(places.spark_jars))


def check_kafka_jars(places: Installation) -> Check:
    """Check that the embedded broker's jars are there."""
    jar = next(places.kafka_jars.glob("kafka_*.jar"), None)
    return Check("Kafka jars", jar is not None, str(jar or f"none in {places.kafka_jars}"), _SET_UP)


def check_spark_settings(places: Installation, source: Path) -> Check:
    """Check that spark-submit reads the settings of this project."""
    from shoplake.installation import CONF_FILES

    stale = [name for name in CONF_FILES if not _same_text(places.spark_conf / name, source / name)]
    if not (places.spark_conf / "spark-env.sh").is_file():
        stale.append("spark-env.sh")
    seen = f"missing or older than in {source}: {', '.join(stale)}" if stale else str(places.spark_conf)
    return Check("Spark settings", not stale, seen, _SET_UP)


def check_broker(settings: Settings) -> Check:
    """Tell where the broker is; that it is stopped is no fault."""
    from shoplake.processes import find_running
    from shoplake.settings import EMBEDDED

    if settings.kafka.bootstrap_servers != EMBEDDED:
        address = settings.kafka.bootstrap_servers
        return Check("Broker", True, f"external, {address}; ask it with: python kafka/broker.py status")
    state = find_running(settings.broker_state_path)
    if state:
        return Check("Broker", True, f"running on {state.address}, process {state.pid}")
    if settings.broker_state_path.exists():
        return Check("Broker", False, f"{settings.broker_state_path} names one that ended",
                     "python kafka/broker.py start")
    return Check("Broker", True, "stopped; it starts with: python kafka/broker.py start")


def check_lake(settings: Settings) -> Check:
    """Check that the lake's folder can be written, or its bucket listed."""
    if "://" in settings.lake_root:
        return check_bucket(settings)
    folder = _nearest_existing(Path(settings.lake_root))
    writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    verdict = "writable" if writable else f"but {folder} is no folder that this user may write in"
    return Check("Lake", writable, f"{settings.lake_root}, {verdict}", "set another folder: SHOPLAKE_DATA_DIR")


def check_bucket(settings: Settings) -> Check:
    """Check that the lake's bucket is there and may be read."""
    from shoplake.errors import ShoplakeError
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.buckets import check_access

    try:
        check_access(locate_lake(settings))
    except ShoplakeError as error:
        return Check("Lake", False, str(error), "see the message, or docs/cloud.md")
    return Check("Lake", True, f"{settings.lake_root}, which answers")


def check_disk(settings: Settings) -> Check:
    """Check the free space under the data folder."""
    folder = _nearest_existing(settings.data_path)
    free = shutil.disk_usage(folder).free / 2**30
    return Check("Disk", free >= _FREE_GIB, f"{free:.1f} GiB free on {folder}; {_FREE_GIB} are needed",
                 "make room, or set another folder: SHOPLAKE_DATA_DIR")


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _same_text(left: Path, right: Path) -> bool:
    return left.is_file() and left.read_text() == right.read_text()


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _render_table(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok     ' if check.ok else 'MISSING'}  {check.name:<{width}}  {check.seen}")
        if not check.ok:
            lines.append(f"{'':7}  {'':<{width}}  fix: {check.fix}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
