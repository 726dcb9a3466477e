"""dashboard/report.py: one file that needs nothing else, under a name that leads nowhere else."""

import json
import re
import runpy
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from shoplake.settings import PROJECT_ROOT

MAIN: Callable[[list[str]], int] = runpy.run_path(str(PROJECT_ROOT / "dashboard" / "report.py"))["main"]
FillLake = Callable[..., None]
Capture = pytest.CaptureFixture[str]


def test_the_report_holds_every_page_with_its_numbers(
    fill_lake: FillLake, data_dir: Path, capsys: Capture, hostile: str,
) -> None:
    fill_lake()
    assert MAIN(["--json"]) == 0
    file = data_dir / "reports" / "2026-03-09.html"
    assert json.loads(capsys.readouterr().out) == {
        "file": str(file), "run_id": None, "bytes": file.stat().st_size}
    html = file.read_text()
    assert re.findall("<h2>(.+?)</h2>", html) == [
        "Sales", "Forecast", "Customers", "Funnel", "Products", "Quality", "Live", "Pipeline"]
    assert html.count("<svg") == 8
    assert [wanted for wanted in ("£143.75", "£13.5001", "11.50", "2 batches, balanced") if wanted not in html] == []
    assert hostile in unescape(html)
    assert "<img" not in html
    # What a chart tells screen readers is text, whatever it says.
    told = re.sub(r'aria-label="[^"]*"', "", html)
    assert not re.search(r"<script|<[^<>]*\b(src|href)=|url\(|@import", told)


@pytest.mark.parametrize(("run_id", "name"), [
    ("scheduled__2026-11-20T03:00:00+00:00", "scheduled__2026-11-20T03_00_00_00_00.html"),
    ("../../../etc/passwd", "_.._.._etc_passwd.html"), ("/", "_.html"), ("..", "report.html"),
    ("x" * 300, "x" * 150 + ".html"), ("é<b>", "_b_.html"),
])
def test_a_run_id_names_the_file_and_leads_into_no_other_folder(data_dir: Path, run_id: str, name: str) -> None:
    assert MAIN(["--run-id", run_id]) == 0
    assert [file.name for file in data_dir.rglob("*.html")] == [name]
    html = (data_dir / "reports" / name).read_text()
    assert f"shoplake report: {run_id}" in unescape(html)
    assert "<b>" not in html


def test_an_empty_lake_gives_a_report_that_says_so(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    assert MAIN(["--out", str(out)]) == 0
    assert "No event was taken into the lake yet." in out.read_text()
    assert f"shoplake report: {datetime.now(UTC).date()}" in out.read_text()
    assert MAIN(["--out", str(out)]) == 0
    assert [file.name for file in out.parent.iterdir()] == ["report.html"]


def test_a_wrong_profile_or_place_is_a_message(data_dir: Path, tmp_path: Path, capsys: Capture) -> None:
    assert MAIN(["--profile", "prod"]) == 2
    assert "--profile local" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert MAIN(["--out", str(tmp_path / "file" / "report.html")]) == 1
    assert "error: " in capsys.readouterr().err
