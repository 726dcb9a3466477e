"""How the DAGs run the platform's commands: the one factory of steps, its rule for retries, and what all DAGs share.

Airflow puts the plugins folder on the search path of every process that reads DAGs. The DAGs target Airflow 3.3
(this repository) and Cloud Composer 3 with `composer-3-airflow-3.2.2-build.2`, so nothing here is newer than 3.2.
"""

import os
import shlex
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from shoplake_callbacks import report_failed_run

from shoplake.airflow_environment import command_environment
from shoplake.errors import EXIT_REFUSED, EXIT_USAGE
from shoplake.settings import PROJECT_ROOT, Settings

# Trying again mends neither a wrong setting nor data that a gate has refused.
FINAL_EXIT_CODES = (EXIT_USAGE, EXIT_REFUSED)

LANDING = Asset("landing", uri="shoplake://landing")
SILVER = Asset("silver", uri="shoplake://silver")
GOLD = Asset("gold", uri="shoplake://gold")

# Those lines of spark/spark-defaults.conf that are not the laptop's own; a test keeps them equal.
SESSION_PROPERTIES = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.delta.logStore.gs.impl": "io.delta.storage.GCSLogStore",
    "spark.sql.codegen.cache.maxEntries": "2000",
    "spark.python.sql.dataFrameDebugging.enabled": "false",
}

# One slot each (airflow/pools.json): whatever DAG they stand in, the steps of a pool write one after the other.
INGEST_POOL = "ingest"
GOLD_POOL = "gold"
PREDICTIONS_POOL = "predictions"


class ShellStep(BashOperator):  # type: ignore[misc]  # the providers ship no types
    """Run a command line in the project's root; usage errors and refusals fail at once, all else is retried."""

    def execute(self, context: Any) -> Any:
        """Run it and give the last line of its output.

        Raises:
            AirflowFailException: it ended with a code of FINAL_EXIT_CODES.
        """
        try:
            return super().execute(context)
        except AirflowException as error:
            process = self.subprocess_hook.sub_process
            if process is not None and process.returncode in FINAL_EXIT_CODES:
                raise AirflowFailException(
                    f"the command ended with {process.returncode}, which trying again does not mend; "
                    "its message stands above") from error
            raise


def step_defaults(settings: Settings) -> dict[str, Any]:
    """Give the `default_args` of a DAG: retries with a growing delay, and a time-out."""
    return {
        "retries": settings.airflow.retries,
        "retry_delay": timedelta(seconds=settings.airflow.retry_delay),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(seconds=settings.airflow.max_retry_delay),
        "execution_timeout": timedelta(seconds=settings.airflow.task_timeout),
    }


def dag_options(settings: Settings, **own: Any) -> dict[str, Any]:
    """Give what every DAG has in common: one run at a time, none for the past, and a failed one is told.

    Args:
        own: what is otherwise in this DAG, such as is_paused_upon_creation.
    """
    # Not paused: a file that is put into the landing folder is to be taken in without a click first.
    return {
        "start_date": datetime(2026, 1, 1), "catchup": False, "max_active_runs": 1, "is_paused_upon_creation": False,
        "default_args": step_defaults(settings), "on_failure_callback": report_failed_run, "tags": ["shoplake"], **own,
    }


def command(*words: str) -> str:
    """Write a shell's command line; templates in double braces stay as they are."""
    return " ".join(word if "{{" in word else shlex.quote(word) for word in words)


def shell_step(task_id: str, *commands: str, **options: Any) -> ShellStep:
    """Make a step that runs commands one after the other in the project's root, with this environment's programs.

    Args:
        options: the operator's own, such as pool, retries, outlets.
    """
    return ShellStep(
        task_id=task_id, bash_command=" && ".join(commands), cwd=str(PROJECT_ROOT), append_env=True,
        env=command_environment(os.environ, Path(sys.executable).parent), **options,
    )


def spark_step(settings: Settings, task_id: str, script: str, *arguments: str, **options: Any) -> BaseOperator:
    """Make a step that runs one of the Spark shells: by spark-submit here, or as a Dataproc Serverless batch.

    `spark.runner` decides. A batch's end does not tell its exit code, so there every failure is retried.

    Args:
        script: the shell's path in the project, such as spark/batch_processing.py.
        options: the operator's own, such as pool, retries, outlets.
    """
    if settings.spark.runner == "submit":
        line = command("spark-submit", *settings.spark.submit_options, script, *arguments)
        return shell_step(task_id, line, **options)
    # The provider is installed in Composer only; importing it costs seconds.
    from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator

    operator: BaseOperator = DataprocCreateBatchOperator(
        task_id=task_id, project_id=settings.gcp.project_id, region=settings.gcp.location, deferrable=True,
        # Airflow gives each try a new id, so a retry is a batch of its own.
        batch_id="shoplake-{{ ti.id }}",
        batch=describe_batch(settings, task_id, script, *arguments), **options,
    )
    return operator


def describe_batch(settings: Settings, task_id: str, script: str, *arguments: str) -> dict[str, Any]:
    """Give the Dataproc Serverless batch that runs a Spark shell from the uploaded code, as the API wants it."""
    dataproc = settings.gcp.dataproc
    code = dataproc.code_uri.rstrip("/")
    return {
        "pyspark_batch": {
            "main_python_file_uri": f"{code}/{script}",
            "python_file_uris": [f"{code}/shoplake.zip"],
            "jar_file_uris": [f"{code}/jars/{jar}" for jar in dataproc.jars],
            "args": [*arguments, "--profile", settings.profile],
        },
        "labels": {"step": task_id.replace("_", "-"), "profile": settings.profile},
        "runtime_config": {
            "version": dataproc.runtime_version,
            **({"container_image": dataproc.container_image} if dataproc.container_image else {}),
            "properties": {**SESSION_PROPERTIES,
                           "spark.dynamicAllocation.maxExecutors": str(dataproc.max_executors)},
        },
        "environment_config": {"execution_config": {
            "service_account": dataproc.service_account,
            **({"subnetwork_uri": dataproc.subnetwork} if dataproc.subnetwork else {}),
            # Without it a batch runs for four hours, and a stream is ended wherever it is.
            "ttl": {"seconds": dataproc.ttl},
        }},
    }
