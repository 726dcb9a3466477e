"""The dashboard as one HTML file, whenever gold was published.

Wiring only: the step runs a shell by its path, as a command.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG
from shoplake_callbacks import report_failed_run
from shoplake_steps import GOLD, command, shell_step, step_defaults

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### A report for each publication of gold

**write_report** writes the dashboard's figures as one self-contained HTML file into the data folder's `reports/`,
named after the run that published. It needs no server and no network to be read.
"""


def reported_run(triggering_asset_events: Any, run_id: str) -> str:
    """Give the newest run that published gold; for a run by hand, its own."""
    sources = [event.source_run_id for events in triggering_asset_events.values() for event in events]
    return next((source for source in reversed(sources) if source), run_id)


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
    user_defined_macros={"reported_run": reported_run},
    doc_md=DOC,
    tags=["shoplake"],
) as dag:
    RUN = "{{ reported_run(triggering_asset_events, run_id) }}"
    shell_step("write_report", command("python", "dashboard/report.py", "--run-id", RUN),
               execution_timeout=timedelta(seconds=SETTINGS.airflow.short_task_timeout))
