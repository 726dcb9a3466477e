"""The dashboard as one HTML file, whenever gold was published.

Wiring only: the step runs a shell by its path, as a command.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from shoplake_steps import GOLD, command, dag_options, shell_step

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
    user_defined_macros={"reported_run": reported_run},
    doc_md=DOC,
    **dag_options(SETTINGS),
) as dag:
    RUN = "{{ reported_run(triggering_asset_events, run_id) }}"
    shell_step("write_report", command("python", "dashboard/report.py", "--run-id", RUN),
               execution_timeout=timedelta(seconds=SETTINGS.airflow.short_task_timeout))
