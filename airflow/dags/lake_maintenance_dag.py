"""Fewer, larger files every hour, beside whatever writes.

Wiring only: the step runs a shell by its path, as a command.
"""

from datetime import datetime

from airflow.sdk import DAG
from shoplake_callbacks import report_failed_run
from shoplake_steps import command, shell_step, step_defaults

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### A stream leaves a file for each batch and day, and each batch reads the files of its days

**compact** makes one file of each day of each table, and deletes files that were replaced more than a week ago. It
changes no row. It stands in no pool: it takes each table's write lock for some seconds, and writers go in between.
"""

with DAG(
    "lake_maintenance",
    description="Each day of each table becomes one file",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    on_failure_callback=report_failed_run,
    default_args=step_defaults(SETTINGS),
    doc_md=DOC,
    tags=["shoplake"],
) as dag:
    shell_step("compact", command("python", "utils/compact.py"))
