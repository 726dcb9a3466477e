"""Gold anew when files have come into silver between two daily runs.

Wiring only: every step runs a shell by its path, as a command.
"""

from datetime import datetime

from airflow.sdk import DAG
from shoplake_callbacks import report_failed_run
from shoplake_steps import GOLD, GOLD_POOL, SILVER, command, shell_step, spark_step, step_defaults

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### What files have changed in silver is in gold and in the warehouse

1. **build_gold**: the days that gained events
2. **reconcile**: offsets = bronze = silver + duplicates + quarantine, or the run fails
3. **publish**: the asset `gold` changes, and the dashboard's report is written anew

Several files that come while it runs are one run after it: each build takes all days that changed.
"""

with DAG(
    "gold_refresh",
    description="Changed days of gold, as soon as a file was taken in",
    schedule=[SILVER],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    on_failure_callback=report_failed_run,
    default_args=step_defaults(SETTINGS),
    doc_md=DOC,
    tags=["shoplake"],
) as dag:
    build_gold = spark_step(SETTINGS, "build_gold", "spark/batch_processing.py", pool=GOLD_POOL)
    reconcile = shell_step("reconcile", command("python", "utils/reconcile.py"))
    publish = shell_step(
        "publish", command("python", "gcp/bigquery_client.py", "publish"), pool=GOLD_POOL, outlets=[GOLD])
    build_gold >> reconcile >> publish
