"""utils/list_licences.py on packages that the test lays beside the real ones."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT

SHELL = str(PROJECT_ROOT / "utils" / "list_licences.py")


Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give the command, in a project whose lock names the packages that are given with their metadata."""
    main = runpy.run_path(SHELL)["main"]
    main.__globals__.update(PROJECT_ROOT=tmp_path, PAGE=tmp_path / "licences.md")
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(packages: dict[str, str | None], *flags: str) -> int:
        for name, lines in packages.items():
            if lines is None:
                continue
            folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
            folder.mkdir(exist_ok=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{lines}\n")
        lock = "".join(f"{name}==1 \\\n    --hash=sha256:{'0' * 64}\n" for name in packages)
        absent = "of-windows==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        for file in ("requirements.txt", "requirements-dev.txt"):
            (tmp_path / file).write_text(lock + absent)
        return int(main(list(flags)))

    return run


@pytest.mark.parametrize(("lines", "shown"), [
    ("License-Expression: Apache-2.0 OR BSD-3-Clause", "Apache-2.0 OR BSD-3-Clause"),
    ("License-Expression: GPL-3.0-only OR MIT", "GPL-3.0-only OR MIT"),
    ("Classifier: License :: OSI Approved :: MIT License\nLicense: see LICENSE", "MIT License"),
    ("License: BSD-3-Clause", "BSD-3-Clause"),
])
def test_an_allowed_licence_is_listed(run: Run, tmp_path: Path, lines: str, shown: str) -> None:
    assert run({"one-invented": lines}) == 0
    assert f"| one-invented | {shown} | running |" in (tmp_path / "licences.md").read_text().splitlines()
    assert "of-windows" not in (tmp_path / "licences.md").read_text()
    assert run({"one-invented": lines}, "--check") == 0


@pytest.mark.parametrize("lines", [
    "License-Expression: AGPL-3.0-only", "License-Expression: MIT AND SSPL-1.0", "License: BUSL-1.1",
    "Summary: no word",
    "Classifier: License :: OSI Approved :: GNU Affero General Public License v3", "License: MIT with Commons Clause",
    "Classifier: License :: Free for non-commercial use", "Classifier: License :: OSI Approved",
])
def test_any_other_licence_is_refused_and_written_nowhere(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str,
) -> None:
    for flags in ([], ["--check"]):
        assert run({"one-invented": lines, "two-invented": "License: MIT"}, *flags) == 3
        error = capsys.readouterr().err
        assert "one-invented" in error
        assert "two-invented" not in error
    assert not (tmp_path / "licences.md").exists()


def test_a_page_of_other_packages_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"one-invented": "License: MIT"}) == 0
    page = (tmp_path / "licences.md").read_text()
    assert run({"one-invented": "License: MIT", "two-invented": "License: MIT"}, "--check") == 3
    assert "| two-invented | MIT | running |" in (error := capsys.readouterr().err)
    assert "make docs" in error
    assert (tmp_path / "licences.md").read_text() == page


def test_a_package_that_is_not_installed_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"gone-invented": None}) == 2
    assert "make setup" in capsys.readouterr().err
