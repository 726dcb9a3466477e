"""Bugs of our own, planted one at a time into a copy of the project: the suite must catch every one.

A bug is an exact piece of text and what takes its place. The test named with it must fail in the copy, and pass in a
copy without bugs. Where the text is no longer there the bug must be planted anew, and a quick test says so.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

INGEST, DEDUPLICATE = "shoplake/streaming/ingest.py", "shoplake/streaming/deduplicate.py"
PARSE, RULES, DELTA = "shoplake/streaming/parse.py", "shoplake/quality/rules.py", "shoplake/lake/delta.py"
FUZZ = "tests/faults/test_fuzz.py::test_examples_judged_by_hand"
GUARANTEES = "tests/faults/test_guarantees.py"
BY_HAND = f"{GUARANTEES}::test_two_batches_by_hand_of_which_one_breaks_off_before_its_ledger_row"
IN_STEPS = f"{GUARANTEES}::test_gold_built_in_steps_is_gold_built_at_once"


@dataclass(frozen=True)
class Bug:
    """A mutation of our code, and the test that must catch it."""

    name: str
    file: str
    text: str
    instead: str
    test: str


BUGS = (
    Bug("no dedup: a copy is another event", DEDUPLICATE, "F.when(is_equal, DUPLICATE)", "F.when(is_equal, SILVER)",
        BY_HAND),
    Bug("the last copy is kept, not the first", DEDUPLICATE, "Window.partitionBy(*IDENTITY).orderBy(*_PLACE)",
        "Window.partitionBy(*IDENTITY).orderBy(*map(F.desc, _PLACE))", BY_HAND),
    Bug("a repeated batch takes its own rows for duplicates", DEDUPLICATE, ".filter(~_is_at(kept))",
        '.filter(F.col("_silver").isNotNull() | ~_is_at(kept))', BY_HAND),
    Bug("no txnVersion: a repeated batch is appended again", DELTA,
        "    delta = open_unless_done(lake, table, query_id, batch_id)\n", "    delta = open_table(lake, table)\n"
        "    query_id = query_id if days else uuid.uuid4().hex\n", BY_HAND),
    Bug("windows are added without a transaction id", DELTA,
        "    delta = open_unless_done(lake, table, query_id, batch_id)\n",
        "    delta = open_table(lake, table) if days else open_unless_done(lake, table, query_id, batch_id)\n"
        "    query_id = uuid.uuid4().hex if days else query_id\n", BY_HAND),
    Bug("gold is appended to, not replaced", DELTA, "properties, lock, days=days)", "properties, lock)", IN_STEPS),
    Bug("the day a week later is not built again", "shoplake/batch/category_revenue.py",
        "return changed | {day + WEEK for day in changed}", "return changed",
        IN_STEPS),
    Bug("the ledger row is written first", INGEST, "row = _ledger_row(batch, parts, counts, rules)",
        "row = _ledger_row(batch, parts, counts, rules)\n"
        "    append_row_once(row, lake, LEDGER, batch.query_id, batch.batch_id)",
        BY_HAND),
    Bug("late rows are left out of the windows", INGEST, 'accepted = verdicts.filter(F.col("verdict") == SILVER)',
        'accepted = verdicts.filter((F.col("verdict") == SILVER) & ~F.col("is_late"))', BY_HAND),
    Bug("late rows are refused", RULES, 'on_failure="mark"', 'on_failure="quarantine"', FUZZ),
    Bug("prices are rounded to four decimals", PARSE, r"(\.[0-9]{1,4})?\z", r"(\.[0-9]+)?\z", FUZZ),
    Bug("the day is UTC's, not the shop's", PARSE, 'F.from_utc_timestamp("event_time", shop.time_zone)',
        'F.col("event_time")', BY_HAND),
    Bug("acks=1 without idempotence", "shoplake/deliveries.py", 'acks="all", enable_idempotence=True',
        "acks=1, enable_idempotence=False",
        f"{GUARANTEES}::test_the_producer_is_idempotent_and_waits_for_all_replicas"),
    Bug("the lock is not taken", "shoplake/lake/locks.py", "lock.acquire(timeout=timeout)", "pass",
        "tests/unit/test_locks.py::test_a_holder_is_named_while_it_lives"),
    Bug("the stream does not take its checkpoint's lock", "spark/streaming_pipeline.py",
        "held.enter_context(hold_lock(lake, STREAM, timeout=0))",
        'held.enter_context(hold_lock(lake, "nobody", timeout=0))',
        "tests/dataflow/test_stream_refusals.py::test_a_second_driver_is_refused_at_once_and_names_the_holder"),
    Bug("a gap in the offsets goes unseen", INGEST, "if start != until.get(number, start):", "if False:",
        "tests/dataflow/test_continuing.py::test_a_batch_that_does_not_go_on_where_the_ledger_ends_is_refused"),
)
# What tests of the pipeline need of the project; the rest of it is not copied.
FOLDERS = ("shoplake", "kafka", "spark", "sql", "utils", "configs", "tests")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_place_of_each_bug_is_still_there(bug: Bug) -> None:
    places = (PROJECT_ROOT / bug.file).read_text().count(bug.text)
    assert places == 1, f"{bug.file} holds {bug.text!r} {places} times: plant {bug.name!r} where the code is now"


def copy_project(folder: Path) -> Path:
    """Copy the project; `package` beside it holds nothing but the copy's package, for the search path."""
    for name in FOLDERS:
        shutil.copytree(PROJECT_ROOT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", folder / "project")
    (folder / "package").mkdir()
    (folder / "package" / "shoplake").symlink_to(folder / "project" / "shoplake")
    return folder / "project"


def run_tests(project: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy against the copy's own package."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith((ENV_PREFIX, "PYTEST_", "FAULT_"))}
    environment["PYTHONPATH"] = str(project.parent / "package")
    imported = subprocess.run([sys.executable, "-c", "import shoplake.settings as s; print(s.PROJECT_ROOT)"],
                              cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == str(project.resolve())
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(project), *tests]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=800)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_without_a_bug_all_of_them_pass(tmp_path: Path) -> None:
    done = run_tests(copy_project(tmp_path), *dict.fromkeys(bug.test for bug in BUGS))
    assert done.returncode == 0, done.stdout[-6000:]
    assert "skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.faults
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    file = project / bug.file
    assert file.read_text().count(bug.text) == 1
    file.write_text(file.read_text().replace(bug.text, bug.instead))
    done = run_tests(project, bug.test)
    # It fails by what it found, not by a copy that cannot run.
    assert done.returncode == 1, f"{bug.test} does not notice: {bug.name}\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert re.search(rf"FAILED.* {re.escape(bug.test)}", done.stdout), done.stdout[-3000:]
    assert "SyntaxError" not in done.stdout
