"""A DAG made by the platform's own factory, for the tests: steps that heal, that nothing mends, and that tell drift."""

import json
from datetime import datetime

from airflow.sdk import DAG
from shoplake_callbacks import report_drift, report_failed_run
from shoplake_steps import shell_step, step_defaults

from shoplake.settings import load_settings

with DAG(
    "tiny", schedule=None, start_date=datetime(2026, 1, 1), default_args=step_defaults(load_settings()),
    on_failure_callback=report_failed_run,
) as dag:
    # Each try leaves a line; $TRIES is the tests' folder.
    shell_step("heals", "echo try >> $TRIES/heals", '[ "$(wc -l < $TRIES/heals)" -ge 2 ]')
    shell_step("is_killed_once", "echo try >> $TRIES/is_killed_once",
               'if [ "$(wc -l < $TRIES/is_killed_once)" -lt 2 ]; then kill -9 $$; fi')
    shell_step("is_refused", "echo try >> $TRIES/is_refused", "exit 3")
    shell_step("is_misused", "echo try >> $TRIES/is_misused", "exit 2")
    # As ml/accuracy.py ends: with its JSON, after what it logged.
    for name, drifting in (("drifts", [{"target_date": "2026-03-01", "model": "xgboost", "drift_score": -6.1}]),
                           ("is_steady", [])):
        answer = json.dumps({"drifting": drifting})
        shell_step(name, f"echo scored >&2; echo '{answer}'", on_success_callback=report_drift)
    shell_step("says_nothing", "echo no JSON", on_success_callback=report_drift)
