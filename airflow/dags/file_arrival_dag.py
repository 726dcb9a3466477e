"""Files of the landing folder into the lake: as soon as they are whole, and every ten minutes.

Wiring only: every step runs a shell by its path, as a command.
"""

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from landing_trigger import watch_landing
from shoplake_steps import INGEST_POOL, LANDING, SILVER, command, dag_options, shell_step, spark_step

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### A file put into `<landing>/<source>/` is taken in once, and moved

1. **take_in**: each file that is whole is read through, kept, sent (through Kafka, or straight into the lake if it is
   large), recorded in `ops.files` and moved to `done/`; a broken one goes to `rejected/` with its reason
2. **is_anything_new**: was a file ingested that was not announced yet? Else the next two are skipped. It is asked also
   when a file could not be taken in, so that this one does not stop the others
3. **drain**: what went through Kafka is in silver
4. **announce**: the asset `silver` changes, and `gold_refresh` starts
5. **was_all_taken_in**: the run is red if a file could not be taken in, though the others went on

The watcher of the asset `landing` starts it within seconds, the clock every ten minutes: that is when a file is tried
again whose broker was down. What was taken in is announced by the first run that comes this far, also if that of the
file itself failed on the way.
"""


def newest_unannounced(inlet_events: Any) -> str | None:
    """Give when the newest file was ingested, if that is later than what `silver` was last announced with."""
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.files import last_ingested_at

    newest = last_ingested_at(locate_lake(SETTINGS))
    # Events made by hand in the UI say nothing of files; among so many there is one that does.
    events = inlet_events[SILVER].ascending(False).limit(100)
    announced = max((event.extra.get("files_until", "") for event in events), default="")
    return newest.isoformat() if newest and newest.isoformat() > announced else None


def announce_silver(files_until: str, outlet_events: Any) -> None:
    """Say with the asset's event which files it covers."""
    outlet_events[SILVER].extra = {"files_until": files_until}


with DAG(
    "file_arrival",
    description="Files of the landing folder: into the lake, once each",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
        assets=watch_landing(LANDING, SETTINGS)),
    doc_md=DOC,
    **dag_options(SETTINGS),
) as dag:
    take_in = shell_step("take_in", command("python", "utils/ingest_landing.py", "--json"), pool=INGEST_POOL)
    is_anything_new = ShortCircuitOperator(
        task_id="is_anything_new", python_callable=newest_unannounced, inlets=[SILVER], trigger_rule="all_done",
        ignore_downstream_trigger_rules=False)  # else it would skip was_all_taken_in too, and the run be green
    drain = spark_step(SETTINGS, "drain", "spark/streaming_pipeline.py", "--drain", pool=INGEST_POOL)
    announce = PythonOperator(
        task_id="announce", python_callable=announce_silver, outlets=[SILVER],
        op_kwargs={"files_until": "{{ ti.xcom_pull(task_ids='is_anything_new') }}"})
    # A run is as its last tasks are: this one fails with take_in, and is well when announce was skipped.
    was_all_taken_in = EmptyOperator(task_id="was_all_taken_in", trigger_rule="none_failed")
    take_in >> is_anything_new >> drain >> announce >> was_all_taken_in
    take_in >> was_all_taken_in
