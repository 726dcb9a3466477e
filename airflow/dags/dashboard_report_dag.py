"""The dashboard as one HTML file, whenever gold was published.

Wiring only: the step runs a shell by its path, as a command.
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG
from shoplake_callbacks import report_failed_run
from shoplake_steps import GOLD, command, shell_step, step_defaults

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### A report for each publication of gold

**write_report** writes the dashboard's figures as one self-contained HTML file into the data folder's `reports/`,
named after this run. It needs no server and no network to be read.
"""

with DAG(
    "dashboard_report",
    description="The dashboard as one HTML file, whenever gold was published",
    schedule=[GOLD],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=step_defaults(SETTINGS),
    on_failure_callback=report_failed_run,
    doc_md=DOC,
    tags=["shoplake"],
) as dag:
    shell_step("write_report", command("python", "dashboard/report.py", "--run-id", "{{ run_id }}"),
               execution_timeout=timedelta(seconds=SETTINGS.airflow.short_task_timeout))
