"""What set-up puts into the virtual environment."""

import json
import sys
from pathlib import Path

import pytest

from shoplake.errors import ConfigError
from shoplake.installation import check_connectors, install_conf, install_jars, locate_installation
from shoplake.settings import PROJECT_ROOT

GOOD = ("spark-core_2.13-4.0.0.jar", "delta-spark_2.13-4.0.0.jar", "spark-sql-kafka-0-10_2.13-4.0.0.jar",
        "spark-token-provider-kafka-0-10_2.13-4.0.0.jar")


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    for name in GOOD:
        (tmp_path / name).touch()
    return tmp_path


def test_the_installed_jars_fit() -> None:
    check_connectors(locate_installation(Path(sys.prefix)).spark_jars)


def test_fitting_jars_pass(jars: Path) -> None:
    check_connectors(jars, ["file:///x/org.apache.spark_spark-sql-kafka-0-10_2.13-4.0.0.jar", "/y/other.jar"])


@pytest.mark.parametrize("name", [
    "spark-sql-kafka-0-10_2.12-3.5.0.jar", "spark-sql-kafka-0-10_2.13-3.5.3.jar", "spark-sql-kafka-0-10_2.12-4.0.0.jar",
    "delta-spark_2.12-3.2.0.jar", "delta-spark_2.13-4.1.0.jar", "spark-streaming-kafka-0-10-assembly_2.12-3.5.0.jar",
])
def test_a_jar_for_another_spark_is_refused(jars: Path, name: str) -> None:
    (jars / name).touch()
    with pytest.raises(ConfigError, match=name) as error:
        check_connectors(jars)
    assert error.value.exit_code == 2


def test_a_wrong_package_of_spark_submit_is_refused(jars: Path) -> None:
    added = "file:///home/x/.ivy2/jars/org.apache.spark_spark-sql-kafka-0-10_2.12-3.5.0.jar"
    with pytest.raises(ConfigError, match=r"kafka-0-10_2\.12-3\.5\.0"):
        check_connectors(jars, [added])


@pytest.mark.parametrize("name", GOOD[:3])
def test_a_missing_jar_is_told(jars: Path, name: str) -> None:
    (jars / name).unlink()
    with pytest.raises(ConfigError, match="make setup"):
        check_connectors(jars)


def make_ivy(path: Path) -> Path:
    """Stand in for Java: put the jars that the ivy file names, one a line, where -retrieve says."""
    path.write_text(f"#!{sys.executable}\n" + r'''
import pathlib, sys
flag = dict(zip(sys.argv, sys.argv[1:]))
target = pathlib.Path(flag["-retrieve"]).parent
for name in pathlib.Path(flag["-ivy"]).read_text().split():
    if name == "FAIL":
        print("UNRESOLVED DEPENDENCIES")
        sys.exit(1)
    (target / name).write_text(name)
''')
    path.chmod(0o755)
    return path


def test_jars_arrive_once_and_old_ones_go(tmp_path: Path) -> None:
    java = make_ivy(tmp_path / "java")
    ivy_file, target = tmp_path / "ivy.xml", tmp_path / "jars"
    target.mkdir()
    (target / "pyspark-own.jar").touch()
    ivy_file.write_text("a-1.jar b-1.jar")

    def install() -> bool:
        return install_jars(java, [], ivy_file, "spark", target, Path("ivy.jar"))

    assert install()
    assert not install()
    assert {jar.name for jar in target.glob("*.jar")} == {"a-1.jar", "b-1.jar", "pyspark-own.jar"}
    (target / "a-1.jar").unlink()
    assert install()
    ivy_file.write_text("a-2.jar b-1.jar")
    assert install()
    assert {jar.name for jar in target.glob("*.jar")} == {"a-2.jar", "b-1.jar", "pyspark-own.jar"}


def test_a_failed_retrieval_leaves_everything_as_it_was(tmp_path: Path) -> None:
    java = make_ivy(tmp_path / "java")
    ivy_file, target = tmp_path / "ivy.xml", tmp_path / "jars"
    ivy_file.write_text("a-1.jar")
    install_jars(java, [], ivy_file, "spark", target, Path("ivy.jar"))
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    ivy_file.write_text("a-2.jar FAIL")

    with pytest.raises(ConfigError, match="UNRESOLVED DEPENDENCIES"):
        install_jars(java, [], ivy_file, "spark", target, Path("ivy.jar"))

    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    assert {entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".retrieve")} == set()


def test_both_configurations_carry_a_marker_of_the_ivy_file_in_use() -> None:
    places = locate_installation(Path(sys.prefix))
    for folder, configuration in ((places.spark_jars, "spark"), (places.kafka_jars, "kafka")):
        names = json.loads((folder / f".shoplake-{configuration}.json").read_text())["jars"]
        assert names
        assert all((folder / name).is_file() for name in names)


def test_spark_settings_are_written_when_they_differ(tmp_path: Path) -> None:
    source, conf = PROJECT_ROOT / "spark", tmp_path / "conf"

    def install() -> bool:
        return install_conf(source, conf, Path(sys.executable), tmp_path / "java")

    assert install()
    assert not install()
    (conf / "spark-defaults.conf").write_text("")
    assert install()
    assert (conf / "spark-defaults.conf").read_text() == (source / "spark-defaults.conf").read_text()
