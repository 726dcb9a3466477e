"""Make an archive of the classes that Spark loads here: half of a short-lived JVM's life goes by loading them.

python tests/support/class_archive.py

It stands in the virtual environment, under a name that tells of which jars and which Java it is; `make test-faults` and
`make soak` make it if it is not there, and the programs that are killed then start with it. The JVM takes an archive
only if its own class path begins as the archive's does, and of a class path without folders: so the jars stand before
Spark's settings on it.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shoplake.processes import find_free_port
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

SHARE = Path(sys.prefix) / "share" / "shoplake"


def find_archive() -> Path:
    """Give where the archive for these jars and this Java is or would be."""
    java = (Path(os.environ["JAVA_HOME"]) / "release").read_text()
    jars = sorted((path.name, path.stat().st_mtime_ns) for path in (Path(os.environ["SPARK_HOME"]) / "jars").iterdir())
    return SHARE / f"classes-{hashlib.sha256(repr((java, jars)).encode()).hexdigest()[:12]}.jsa"


def submit_words(java_options: str) -> str:
    """Give what Spark is started with: the jars first, and these options for its JVM."""
    return f"--driver-class-path {jars_path()} --driver-java-options '{java_options}'"


def jars_path() -> str:
    """Give the class path of all jars."""
    return f"{os.environ['SPARK_HOME']}/jars/*"


def make_archive(archive: Path) -> None:
    """Take some events through stream and batch job, and keep the classes that these have loaded."""
    for old in SHARE.glob("classes-*.jsa"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        lists = [Path(folder) / name for name in ("stream", "batch")]
        port = find_free_port(30900, "a test's port")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)} | {
            f"{ENV_PREFIX}DATA_DIR": folder, f"{ENV_PREFIX}KAFKA__PORT": str(port)}

        def run(*words: str, classes: Path | None = None) -> None:
            recording = {"PYSPARK_SUBMIT_ARGS": submit_words(f"-XX:DumpLoadedClassList={classes}") + " pyspark-shell"}
            subprocess.run([sys.executable, *words], check=True, cwd=PROJECT_ROOT,
                           env={**environment, **(recording if classes else {})}, stdout=sys.stderr)

        run("kafka/broker.py", "start")
        try:
            run("kafka/producer.py", "--events", "2000", "--from", "2026-02-20", "--to", "2026-03-20")
            run("spark/streaming_pipeline.py", "--drain", classes=lists[0])
            run("spark/batch_processing.py", classes=lists[1])
        finally:
            run("kafka/broker.py", "stop")
        both = Path(folder) / "both"
        both.write_text("".join(one.read_text() for one in lists))
        made = archive.with_suffix(".new")
        subprocess.run([f"{os.environ['JAVA_HOME']}/bin/java", "-Xshare:dump", "-Xlog:cds=error", "-XX:+UseSerialGC",
                        f"-XX:SharedClassListFile={both}", f"-XX:SharedArchiveFile={made}", "-cp", jars_path()],
                       check=True, stdout=sys.stderr)
        made.rename(archive)


if __name__ == "__main__":
    place = find_archive()
    if not place.exists():
        print(f"making an archive of Spark's classes, once: {place}")
        make_archive(place)
