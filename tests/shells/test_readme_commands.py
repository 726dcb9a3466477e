"""The README's commands, each run exactly as it stands there, in its order; and what the pages point to exists."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from shoplake.contract.tables import BRONZE_EVENTS, DAILY_SALES, DEMAND_PREDICTIONS
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.settings import PROJECT_ROOT

README = PROJECT_ROOT / "README.md"
PAGES = [*sorted(PROJECT_ROOT.glob("*.md")), *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
STOP = "python kafka/broker.py stop"
# Not of the sequence, for it needs a file that is not shipped.
REAL_FILE_COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", README.read_text(), re.MULTILINE | re.DOTALL)
# Command -> why this test does not run it.
NOT_RUN = {
    "make demo": "it takes minutes; tests/dags runs the same DAG",
    "make test": "this test is part of it",
    "make up": "tests/live starts the same platform",
    "make status": "tests/live asks for it",
    "make down": "tests/live ends it",
    **{command: "there is no Docker engine; tests/docker runs the services' commands, and looks at these"
       for command in COMMANDS if "docker-compose " in command},
    "streamlit run dashboard/app.py  # until Ctrl-C": "it has no end; tests/dashboard opens its pages",
    "make setup": "make test has run it; it changes the environment that the tests run in",
    ". .venv/bin/activate": "the test puts the environment's folder first on PATH",
    "spark-submit spark/streaming_pipeline.py  # until Ctrl-C": "it has no end; --drain is the same query with one",
    **{command: "there is no bucket; test_gcs_client.py runs it against an emulator"
       for command in COMMANDS if "gs://" in command},
    "spark-submit utils/rebuild.py --from bronze": "it takes the batches' time again; tests/shells runs it",
    "python utils/reset.py  # asks first; --lake takes the lake too": "it asks on a terminal; tests/shells runs it",
    "spark-submit ml/evaluate_recommendations.py": "it takes a Spark of its own; tests/dataflow runs it",
    "python utils/install_runtime.py": "it changes the environment that the tests run in",
}
SHELL_FOLDERS = ("kafka", "spark", "sql", "ml", "airflow", "dashboard", "docker", "gcp", "utils", "configs")
# The published file is not shipped; these are its header and lines of its form.
ONLINE_RETAIL = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
    "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n"
)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that looks like a fresh clone after `make setup`: without a data folder."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in SHELL_FOLDERS:
        (folder / name).symlink_to(PROJECT_ROOT / name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("SHOPLAKE_KAFKA__PORT", str(free_port()))
    # The Java of the daily DAG's short runs (docs/adr/0012): half the time of this test.
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m")
    monkeypatch.delenv("SPARK_HOME", raising=False)
    yield folder
    subprocess.run([sys.executable, "kafka/broker.py", "stop"], cwd=folder, check=True, capture_output=True)


@pytest.mark.timeout(2400)
def test_every_command_of_the_readme_runs_in_its_order(clone: Path) -> None:
    assert shutil.which("python") == str(Path(sys.executable).parent / "python")
    assert COMMANDS[-1] == STOP
    assert len(REAL_FILE_COMMANDS) == 1
    for command in [*COMMANDS[:-1], *REAL_FILE_COMMANDS, STOP]:
        if command in NOT_RUN:
            continue
        if command in REAL_FILE_COMMANDS:
            (clone / "data" / "online_retail.csv").write_text(ONLINE_RETAIL)
        started = time.monotonic()
        done = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True)
        print(f"{time.monotonic() - started:6.1f} s  {command}")  # pytest -rP shows what takes the time
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.stdout.strip(), f"{command} printed nothing"
        assert "Traceback" not in done.stderr, f"{command}\n{done.stderr[-4000:]}"
    lake = Lake(str(clone / "data" / "lake"))
    # 1,000 and 100 simulated and 50 replayed through Kafka, 3,000 from the file; the last replay came after the drain,
    # but its file of two lines was taken straight into the lake too.
    assert read_table(lake, BRONZE_EVENTS, ["offset"]).num_rows == 1_000 + 100 + 50 + 3_000 + 2
    built = set(read_table(lake, DAILY_SALES, ["event_date"])["event_date"].to_pylist())
    assert built >= {date(2026, 9, 1) + timedelta(days=number) for number in range(43)}
    targets = set(read_table(lake, DEMAND_PREDICTIONS, ["target_date"])["target_date"].to_pylist())
    assert len(targets) == 7


def test_only_commands_of_the_readme_are_left_out() -> None:
    assert sorted(NOT_RUN) == sorted(set(NOT_RUN) & set(COMMANDS))


def test_the_readme_names_every_command() -> None:
    listed = (path for folder in SHELL_FOLDERS for path in (PROJECT_ROOT / folder).glob("*.py"))
    shells = [str(path.relative_to(PROJECT_ROOT)) for path in listed]
    assert "kafka/producer.py" in shells
    assert [shell for shell in shells if shell not in README.read_text()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    inner = [target for target in targets if "://" not in target]
    assert [target for target in inner if not (page.parent / target).exists()] == []


def test_files_that_the_pages_name_exist() -> None:
    folders = "|".join((*SHELL_FOLDERS, "shoplake", "tests", "docs"))
    path = re.compile(rf"(?<![\w./])(?:{folders})/[\w/.-]*\.(?:py|sql|yaml|conf|xml|md)\b")
    named = {name for page in PAGES for name in path.findall(page.read_text())}
    assert "kafka/topics.yaml" in named
    missing = {name for name in named if not (PROJECT_ROOT / name).exists()}
    # Named as the original's, and as what must not be.
    of_the_original = {"utils/logger.py", "utils/config_loader.py"}
    assert missing == {*of_the_original, "kafka/kafka.py"}
