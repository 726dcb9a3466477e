"""How shells end: what a person can act on is a message, a bug keeps its traceback."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shoplake.errors import ConfigError, GateRefusedError
from shoplake.outcome import print_result, run_to_exit_code


def write_into_a_file(folder: Path) -> int:
    (folder / "taken").touch()
    return (folder / "taken" / "inner").write_text("x")


def read_an_absent_file(folder: Path) -> int:
    return len((folder / "absent").read_text())


def rename_into_nowhere(folder: Path) -> int:
    (folder / "taken").touch()
    (folder / "taken").rename(folder / "nowhere" / "taken")
    return 0


@pytest.mark.parametrize(("body", "message"), [
    (write_into_a_file, "error: Not a directory: {0}/taken/inner; check"),
    (read_an_absent_file, "error: No such file or directory: {0}/absent; check"),
    (rename_into_nowhere, "error: No such file or directory: {0}/nowhere/taken; check"),
])
def test_a_path_that_cannot_be_used_is_named_without_a_traceback(
    body: Callable[[Path], int], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_to_exit_code(lambda: body(tmp_path)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(message.format(tmp_path))
    assert output.err.count("\n") == 1


def write_to_a_full_disk() -> int:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        return os.write(full, b"x")
    finally:
        os.close(full)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_without_a_name_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_to_exit_code(write_to_a_full_disk) == 1
    assert capsys.readouterr().err.startswith(f"error: {os.strerror(errno.ENOSPC)}. Check that the disk has room")


def test_an_error_of_a_library_with_words_only(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise OSError("Unexpected end of stream")

    assert run_to_exit_code(fail) == 1
    assert capsys.readouterr().err.startswith("error: Unexpected end of stream. Check")


@pytest.mark.parametrize(("error", "code"), [(ConfigError("wrong"), 2), (GateRefusedError("wrong"), 3)])
def test_our_own_errors_bring_their_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise error

    assert run_to_exit_code(fail) == code
    assert capsys.readouterr().err == "error: wrong\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_to_exit_code(lambda: 1 // 0)


def test_a_result_is_one_object_or_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"file": Path("x")}, "read me", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"file": "x"}
    print_result({"file": Path("x")}, "read me", as_json=False)
    assert capsys.readouterr().out == "read me\n"
