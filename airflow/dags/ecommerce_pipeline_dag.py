"""The shop's daily run: the order of the platform's steps is written here, and only here.

Wiring only: every step runs a shell by its path, as a command, in the platform's virtual environment.
"""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable
from shoplake_callbacks import deadline_alert, report_drift
from shoplake_steps import (
    GOLD,
    GOLD_POOL,
    INGEST_POOL,
    PREDICTIONS_POOL,
    command,
    dag_options,
    shell_step,
    spark_step,
)

from shoplake.forecasting.names import HORIZONS, LEARNED_MODELS
from shoplake.settings import load_settings

SETTINGS = load_settings()
ZONE = ZoneInfo(SETTINGS.shop.time_zone)
SHORT = timedelta(seconds=SETTINGS.airflow.short_task_timeout)
IS_SIMULATED = SETTINGS.profile in ("local", "dev")

DOC = """
### The shop's day, from events to forecasts

1. **simulate** the events of the run's day (local and dev only), and first the `history_days` before it where the
   lake has none of them
2. **drain** the topic into bronze, silver, duplicates, quarantine, live windows and ledger; beside the endless stream
   it waits until that has read the topic to the end
3. **build_gold**: the changed days of the gold tables; customers and products as of the day
4. **reconcile**: offsets = bronze = silver + duplicates + quarantine, or the run fails
5. **publish** gold to the warehouse
6. **train** weekly, or when there is no model yet; else straight on
7. **predict** the demand of the next day or week
8. **accuracy** of the forecasts whose days are over; if sales have left them for good, the webhook is told
9. **analytics**, and one row in `ops.runs`: the asset `gold` changes, and the report is written with this forecast

A run repeated for the same day changes no gold row. The day is the shop's day of the run's logical date, at the latest
yesterday: today is not complete. Past days: `airflow backfill create --dag-id ecommerce_pipeline --from-date D
--to-date D`. Where events are simulated this DAG comes paused: nobody wants invented events unasked. Unpaused, it runs
the last complete day at once, and then every night.

A step is tried again with growing delays, but not after a wrong setting (exit code 2) or a refused gate (3). A failed
run, and one that is not done `airflow.deadline` seconds after it was queued, are told to the webhook.
"""


def run_day(dag_run: Any) -> date:
    """Give the shop day that a run is for."""
    moment: datetime = dag_run.logical_date or dag_run.run_after
    yesterday: date = dag_run.run_after.astimezone(ZONE).date() - timedelta(days=1)
    return min(moment.astimezone(ZONE).date(), yesterday)


def days_before(day: date, count: int) -> date:
    """Give the day `count` days before `day`."""
    return day - timedelta(days=count)


def day_seed(day: date) -> int:
    """Give the simulation's seed for a day: the same day is always the same events."""
    return day.toordinal()


def training_is_due(day: str) -> bool:
    """Say whether to train: on the weekly training day, or when a model is missing that may know this day and serves.

    A model of other features does not serve, such as after an update of the code.
    """
    from shoplake.forecasting.artifact import can_serve

    as_of = date.fromisoformat(day)
    has_models = all(can_serve(SETTINGS.model_path, model, as_of, SETTINGS.ml.features) for model in LEARNED_MODELS)
    return not has_models or as_of.weekday() == SETTINGS.airflow.train_weekday


def next_step_of_models(day: str) -> str:
    """Give the task that follows publish: training, or straight on to the forecast."""
    return "train" if training_is_due(day) else "predict"


def history_is_due(day: str, history_days: str) -> bool:
    """Say whether none of the days before this one has events yet; a lake with today's alone has no history."""
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.ledger import days_with_events

    first = days_before(date.fromisoformat(day), int(history_days))
    return int(history_days) > 0 and not any(
        first <= known < date.fromisoformat(day) for known in days_with_events(locate_lake(SETTINGS)))


def is_turn(ti: Any) -> bool:
    """Say whether no earlier day's run is running.

    The runs of a backfill go at the same time (`--max-active-runs`, 10 unless given), but a forecast must know the day
    before it, and one run alone makes the history.
    """
    return ti.get_previous_dagrun(state="running") is None


def share_of_days(events: int, days: int, history_days: int) -> int:
    """Give how many of the `events` of the history and the run's day fall on `days` of them."""
    return max(1, round(events * days / (history_days + 1)))


def simulation(days: str, first: str, last: str) -> str:
    """Write the producer's command line for `days` days; the arguments are template expressions."""
    return command(
        "python", "kafka/producer.py",
        "--events", f"{{{{ share_of_days(params.events, {days}, params.history_days) }}}}",
        "--from", f"{{{{ {first} }}}}", "--to", f"{{{{ {last} }}}}", "--seed", "{{ day_seed(run_day(dag_run)) }}")


with DAG(
    "ecommerce_pipeline",
    description="Events of one shop day: lake, gold, warehouse, forecast, analytics",
    schedule=CronDataIntervalTimetable(SETTINGS.airflow.schedule, timezone=SETTINGS.airflow.time_zone),
    deadline=deadline_alert(SETTINGS),
    params={
        "events": Param(SETTINGS.airflow.events, type="integer", minimum=100, maximum=10_000_000,
                        description="Events of the history and the run's day together; a day alone gets its share"),
        "history_days": Param(SETTINGS.airflow.history_days, type="integer", minimum=0, maximum=3650,
                              description="Days simulated before the run's own where the lake has none of them"),
        "horizon": Param("next_week", type="string", enum=list(HORIZONS), description="How far the forecast goes"),
    },
    user_defined_macros={
        "run_day": run_day, "days_before": days_before, "day_seed": day_seed, "share_of_days": share_of_days},
    doc_md=DOC,
    **dag_options(SETTINGS, start_date=datetime(2026, 1, 1, tzinfo=ZONE), is_paused_upon_creation=IS_SIMULATED),
) as dag:
    DAY = "{{ run_day(dag_run) }}"

    drain = spark_step(SETTINGS, "drain", "spark/streaming_pipeline.py", "--drain", pool=INGEST_POOL)
    build_gold = spark_step(SETTINGS, "build_gold", "spark/batch_processing.py", "--as-of", DAY, pool=GOLD_POOL)
    reconcile = shell_step("reconcile", command("python", "utils/reconcile.py"))
    publish = shell_step("publish", command("python", "gcp/bigquery_client.py", "publish"), pool=GOLD_POOL)
    is_training_due = BranchPythonOperator(
        task_id="is_training_due", python_callable=next_step_of_models, op_args=[DAY])
    train = shell_step("train", command("python", "ml/train.py", "--as-of", DAY))
    predict = shell_step(
        "predict",
        *(command("python", "ml/inference.py", "--as-of", DAY, "--model", model,
                  "--horizon", "{{ params.horizon }}", "--save-bq") for model in ("seasonal_naive", "xgboost")),
        pool=PREDICTIONS_POOL, trigger_rule="none_failed_min_one_success",
    )
    # Its one line of JSON is what the callback reads.
    accuracy = shell_step(
        "accuracy", command("python", "ml/accuracy.py", "--as-of", DAY, "--save-bq", "--json"), pool=PREDICTIONS_POOL,
        on_success_callback=report_drift, execution_timeout=SHORT)
    analytics = shell_step("analytics", command("python", "sql/run_analytics.py"), execution_timeout=SHORT)
    # The last step announces gold: a report started by publish would show the forecast of the run before.
    record_run = shell_step("record_run", command(
        "python", "utils/record_run.py", "--run-id", "{{ run_id }}", "--dag-id", "{{ dag.dag_id }}", "--day", DAY),
        execution_timeout=SHORT, outlets=[GOLD])

    wait_for_turn = PythonSensor(
        task_id="wait_for_turn", python_callable=is_turn, mode="reschedule", poke_interval=10,
        timeout=timedelta(days=1).total_seconds())
    if IS_SIMULATED:
        HISTORY_DAYS = "{{ params.history_days }}"
        is_history_due = ShortCircuitOperator(
            task_id="is_history_due", python_callable=history_is_due, op_args=[DAY, HISTORY_DAYS],
            ignore_downstream_trigger_rules=False)
        simulate_history = shell_step("simulate_history", simulation(
            "params.history_days", "days_before(run_day(dag_run), params.history_days)",
            "days_before(run_day(dag_run), 1)"))
        simulate_day = shell_step(
            "simulate_day", simulation("1", "run_day(dag_run)", "run_day(dag_run)"), trigger_rule="none_failed")
        wait_for_turn >> is_history_due >> simulate_history >> simulate_day >> drain
    else:
        wait_for_turn >> drain
    drain >> build_gold >> reconcile >> publish >> is_training_due
    is_training_due >> train >> predict
    is_training_due >> predict >> accuracy >> analytics >> record_run
