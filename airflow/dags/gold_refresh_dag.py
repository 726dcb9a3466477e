"""Gold anew when files have come into silver between two daily runs.

Wiring only: every step runs a shell by its path, as a command.
"""

from airflow.sdk import DAG
from shoplake_steps import GOLD, GOLD_POOL, SILVER, command, dag_options, shell_step, spark_step

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
    doc_md=DOC,
    **dag_options(SETTINGS),
) as dag:
    build_gold = spark_step(SETTINGS, "build_gold", "spark/batch_processing.py", pool=GOLD_POOL)
    reconcile = shell_step("reconcile", command("python", "utils/reconcile.py"))
    publish = shell_step(
        "publish", command("python", "gcp/bigquery_client.py", "publish"), pool=GOLD_POOL, outlets=[GOLD])
    build_gold >> reconcile >> publish
