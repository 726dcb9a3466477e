"""The endless stream, and the watch over it. Nothing but `spark_streaming` starts, supervises or restarts the stream.

Wiring only: every step runs a shell by its path, as a command.
"""

import os
from datetime import timedelta

from airflow.sdk import DAG
from shoplake_steps import command, dag_options, shell_step, spark_step

from shoplake.settings import STREAM_STOP_SECONDS, load_settings

SETTINGS = load_settings()
LONGEST_PAUSE = timedelta(seconds=30)
START_SECONDS = 300
FAILED_RUNS_UNTIL_PAUSED = 3

STREAM_DOC = """
### The endless stream

**run_stream** takes the topic's events into the lake, for `spark.stream_runtime` seconds; then it ends after its batch,
and the next run starts a fresh driver. One that dies is back within a minute. While trouble lasts, the tries come
further apart, up to half a minute.

A wrong setting fails at once, and three failed runs in a row pause this DAG, so that it does not loop: mend what the
log says, then unpause it. Each failed run is told to the webhook.

A second driver cannot write: the checkpoint's lock refuses it and names the holder. A driver that outlives its task
(the worker was killed) sees that within a second, ends its batch and goes; the tries until then are refused.
"""
HEALTH_DOC = """
### Does the stream keep up?

Every two minutes. Fails, and tells the webhook, when records have waited in the topic for `spark.max_batch_age` seconds
without a batch. A topic that is read to its end is healthy however old the last batch is. Look at the DAG
`spark_streaming`, then at docs/runbook.md.
"""

with DAG(
    "spark_streaming",
    description="The endless stream: started, supervised and restarted here",
    schedule="@continuous",
    max_consecutive_failed_dag_runs=FAILED_RUNS_UNTIL_PAUSED,
    user_defined_macros={"task_pid": os.getpid},
    doc_md=STREAM_DOC,
    **dag_options(SETTINGS),
) as stream_dag:
    # A batch in the cloud lives on without its task, until its ttl.
    supervised = ("--stop-with", "{{ task_pid() }}") if SETTINGS.spark.runner == "submit" else ()
    spark_step(
        SETTINGS, "run_stream", "spark/streaming_pipeline.py",
        "--stop-after", str(SETTINGS.spark.stream_runtime), *supervised,
        retries=SETTINGS.airflow.stream_retries,
        retry_delay=timedelta(seconds=SETTINGS.airflow.stream_retry_delay),
        max_retry_delay=LONGEST_PAUSE,
        execution_timeout=timedelta(seconds=SETTINGS.spark.stream_runtime + STREAM_STOP_SECONDS + START_SECONDS),
    )

with DAG(
    "stream_health",
    description="Does the stream keep up? Fails loudly if not",
    schedule="*/2 * * * *",
    doc_md=HEALTH_DOC,
    **dag_options(SETTINGS),
) as health_dag:
    shell_step(
        "check_stream", command("python", "utils/check_stream.py"), retries=0,
        execution_timeout=timedelta(seconds=SETTINGS.spark.max_batch_age + START_SECONDS))
