"""Fewer, larger files every hour, beside whatever writes.

Wiring only: the step runs a shell by its path, as a command.
"""

from airflow.sdk import DAG
from shoplake_steps import command, dag_options, shell_step

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
    doc_md=DOC,
    **dag_options(SETTINGS),
) as dag:
    shell_step("compact", command("python", "utils/compact.py"))
