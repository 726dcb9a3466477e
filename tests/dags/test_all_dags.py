"""What holds for every DAG, here and in the cloud: how it is wired, what it imports, and that Airflow can store it."""

import json
import os
import re
import runpy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from shoplake.registry.names import MAX_REASON
from shoplake.settings import PROJECT_ROOT, load_settings

FILES = sorted((PROJECT_ROOT / "airflow" / "dags").glob("*_dag.py"))
DAG_IDS = {"ecommerce_pipeline", "spark_streaming", "stream_health", "file_arrival", "gold_refresh", "dashboard_report",
           "lake_maintenance", "model_promotion"}
POOLS = json.loads((PROJECT_ROOT / "airflow" / "pools.json").read_text())
# What may be imported by steps, but by no DAG: the DAG processor reads every file once a minute.
HEAVY = ("pyspark", "pandas", "pyarrow", "deltalake", "duckdb", "google.cloud", "airflow.providers.google", "kafka",
         "xgboost", "sklearn", "mlflow", "streamlit", "altair")
# The command that writes a table -> the pool that holds one writer
WRITERS = {
    r"streaming_pipeline\.py'? '?--drain": "ingest", r"ingest_landing\.py": "ingest",
    r"batch_processing\.py": "gold", r"bigquery_client\.py publish": "gold", r"(inference|accuracy)\.py": "predictions",
}


@pytest.fixture(params=["local", "prod"])
def dags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    if request.param == "prod":
        request.getfixturevalue("google_provider")
    monkeypatch.setenv("SHOPLAKE_PROFILE", request.param)
    return {dag.dag_id: dag for file in FILES for dag in runpy.run_path(str(file)).values() if isinstance(dag, DAG)}


def line_of(task: Any) -> str:
    """Give the command of a step, whoever runs it."""
    if batch := getattr(task, "batch", None):
        return " ".join([batch["pyspark_batch"]["main_python_file_uri"], *batch["pyspark_batch"]["args"]])
    return str(getattr(task, "bash_command", ""))


def test_these_are_all(dags: dict[str, DAG]) -> None:
    assert set(dags) == DAG_IDS


def test_sources_are_fetched_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__FETCH", '["shop_orders", "shop_clicks"]')
    dag = runpy.run_path(str(PROJECT_ROOT / "airflow" / "dags" / "source_fetch_dag.py"))["dag"]
    lines = {task.task_id: line_of(task) for task in dag.tasks}
    assert list(lines) == ["fetch_shop_orders", "fetch_shop_clicks"]
    assert lines["fetch_shop_orders"].endswith("python utils/fetch_source.py shop_orders")
    assert not any(task.upstream_task_ids for task in dag.tasks), "one that fails stops no other"
    test_every_dag_explains_itself_runs_alone_and_tells_of_its_failure({dag.dag_id: dag})
    test_airflow_can_store_every_dag({dag.dag_id: dag})


def test_every_dag_explains_itself_runs_alone_and_tells_of_its_failure(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert len(dag.doc_md or "") > 100, dag.dag_id
        assert dag.description
        assert dag.max_active_runs == 1
        assert dag.catchup is False
        assert dag.on_failure_callback.__name__ == "report_failed_run"  # type: ignore[union-attr]
        for task in dag.tasks:
            assert task.execution_timeout, f"{dag.dag_id}.{task.task_id} may hang for ever"


def test_only_invented_events_wait_to_be_asked_for(dags: dict[str, DAG]) -> None:
    simulates = any("producer.py --events" in line_of(task) for task in dags["ecommerce_pipeline"].tasks)
    paused = {dag_id for dag_id, dag in dags.items() if dag.is_paused_upon_creation}
    assert paused == ({"ecommerce_pipeline"} if simulates else set())


def test_whoever_writes_a_table_stands_in_its_pool(dags: dict[str, DAG]) -> None:
    used = set()
    for dag in dags.values():
        for task in dag.tasks:
            wanted = {pool for words, pool in WRITERS.items() if re.search(words, line_of(task))}
            assert {task.pool} - {"default_pool"} == wanted, f"{dag.dag_id}.{task.task_id}"
            used |= wanted
    assert used == set(POOLS), "a pool without a step, or a step in a pool that nobody makes"


def test_each_pool_holds_one_writer_also_while_it_waits_in_the_cloud() -> None:
    for name, pool in POOLS.items():
        assert pool["slots"] == 1, name
        assert pool["include_deferred"] is True, f"{name}: a deferred Dataproc batch would give its slot away"


def test_assets_lead_from_files_to_the_report(dags: dict[str, DAG]) -> None:
    gives = {dag_id: {asset.name for task in dag.tasks for asset in task.outlets} for dag_id, dag in dags.items()}
    assert gives == {"ecommerce_pipeline": {"gold"}, "gold_refresh": {"gold"}, "file_arrival": {"silver"},
                     "spark_streaming": set(), "stream_health": set(), "dashboard_report": set(),
                     "lake_maintenance": set(), "model_promotion": set()}
    announces = {task.task_id for task in dags["ecommerce_pipeline"].tasks if task.outlets}
    assert announces == {"record_run"}, "a report that starts before the forecast shows the one of the run before"
    takes = {dag_id: re.findall(r"name='(\w+)'", repr(getattr(dag.timetable, "asset_condition", "")))
             for dag_id, dag in dags.items()}
    assert takes["gold_refresh"] == ["silver"]
    assert takes["dashboard_report"] == ["gold"]


def test_a_promotion_is_of_the_version_that_was_shown_and_for_a_reason(dags: dict[str, DAG]) -> None:
    dag = dags["model_promotion"]
    reason = dag.params.get_param("reason")
    with pytest.raises(ParamValidationError, match="No value passed"):
        reason.resolve()  # first: a parameter keeps the value that it once had
    assert reason.resolve("lower error") == "lower error"
    for refused in ("", " \t", "x" * (MAX_REASON + 1)):
        with pytest.raises(ParamValidationError):
            reason.resolve(refused)
    line = line_of(dag.get_task("promote"))
    assert "--version {{ read(ti.xcom_pull(task_ids='show_verdict')).version }}" in line
    assert line.endswith("--reason {{ quote(params.reason) }}")


def test_every_step_may_be_tried_again(dags: dict[str, DAG]) -> None:
    retries = {f"{dag.dag_id}.{task.task_id}" for dag in dags.values() for task in dag.tasks if task.retries == 0}
    assert retries == {"stream_health.check_stream"}, "which the clock tries again; a final exit code ends any at once"


def test_airflow_can_store_every_dag(dags: dict[str, DAG]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dags.values():
        stored = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
        assert stored["dag_id"] == dag.dag_id


@pytest.mark.parametrize("profile", ["local", "prod"])
def test_no_field_that_airflow_shows_holds_a_secret(
    profile: str, monkeypatch: pytest.MonkeyPatch, google_provider: None,
) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    secrets = {"SHOPLAKE_GOVERNANCE__KEY": "9f86d081" * 8, "SHOPLAKE_AIRFLOW__WEBHOOK_URL": "https://h.test/Zq7xW2kP9v",
               "SHOPLAKE_KAFKA__SASL_PASSWORD": "Zq7xW2kP9vT4mB8a"}  # pragma: allowlist secret
    for name, value in {**secrets, "SHOPLAKE_PROFILE": profile}.items():
        monkeypatch.setenv(name, value)
    dags = [dag for file in FILES for dag in runpy.run_path(str(file)).values() if isinstance(dag, DAG)]
    stored = json.dumps([DagSerialization.serialize_dag(dag) for dag in dags])
    assert "bash_command" in stored
    assert [name for name, value in secrets.items() if value in stored] == []


def test_the_stream_is_tried_again_at_once_and_then_within_a_minute(dags: dict[str, DAG]) -> None:
    dag = dags["spark_streaming"]
    [stream] = dag.tasks
    assert stream.retry_delay <= timedelta(seconds=10)
    assert stream.max_retry_delay == timedelta(seconds=30), "with its start it is back within a minute"
    assert stream.retries >= 30
    assert dag.max_consecutive_failed_dag_runs == 3, "a wrong setting does not loop"
    runtime = load_settings().spark.stream_runtime
    assert f"--stop-after {runtime}" in line_of(stream)
    assert stream.execution_timeout > timedelta(seconds=runtime)  # type: ignore[operator]


@pytest.mark.usefixtures("google_provider")
def test_in_the_cloud_spark_runs_as_a_bounded_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_PROFILE", "prod")
    settings = load_settings()
    [stream] = runpy.run_path(str(PROJECT_ROOT / "airflow/dags/spark_streaming_dag.py"))["stream_dag"].tasks
    batch = stream.batch
    code = settings.gcp.dataproc.code_uri
    assert batch["pyspark_batch"]["main_python_file_uri"] == f"{code}/spark/streaming_pipeline.py"
    assert batch["pyspark_batch"]["args"] == ["--stop-after", str(settings.spark.stream_runtime), "--profile", "prod"]
    assert batch["environment_config"]["execution_config"]["ttl"]["seconds"] > settings.spark.stream_runtime
    assert batch["environment_config"]["execution_config"]["service_account"].endswith(".gserviceaccount.com")
    properties = batch["runtime_config"]["properties"]
    assert int(properties["spark.dynamicAllocation.maxExecutors"]) == settings.gcp.dataproc.max_executors
    assert stream.deferrable is True
    assert re.fullmatch(r"[a-z0-9-]{4,63}", stream.batch_id.replace("{{ ti.id }}", "0" * 36))


@pytest.mark.parametrize(("key", "value", "words"), [
    ("SPARK__STREAM_RUNTIME", "28500", "before it restarts by itself"),
    ("GCP__DATAPROC__CODE_URI", "", "code_uri is empty"),
])
def test_a_stream_that_dataproc_would_cut_off_is_refused(
    key: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from shoplake.errors import ConfigError

    monkeypatch.setenv(f"SHOPLAKE_{key}", value)
    with pytest.raises(ConfigError, match=words):
        load_settings("prod")


def test_a_batch_has_the_session_and_the_jars_of_the_laptop() -> None:
    import pyspark
    from shoplake_steps import SESSION_PROPERTIES

    shared = (PROJECT_ROOT / "spark/spark-defaults.conf").read_text().split("# The laptop's own")[0]
    lines = [line.split(None, 1) for line in shared.splitlines() if line and not line.startswith("#")]
    assert {name: value.strip() for name, value in lines} == SESSION_PROPERTIES
    jars = Path(pyspark.__file__).parent / "jars"
    assert all((jars / jar).is_file() for jar in load_settings("prod").gcp.dataproc.jars)


def test_reading_the_dags_imports_nothing_heavy() -> None:
    code = ("import runpy, sys; [runpy.run_path(file) for file in sys.argv[1:]]; "
            f"print([name for name in {HEAVY} if name in sys.modules])")
    shown = subprocess.run(
        [sys.executable, "-c", code, *map(str, FILES)], text=True, capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "airflow" / "plugins")}).stdout
    assert shown.splitlines()[-1] == "[]"


def test_a_late_run_is_told_unless_there_is_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def alert() -> Any:
        return runpy.run_path(str(PROJECT_ROOT / "airflow" / "dags" / "ecommerce_pipeline_dag.py"))["dag"].deadline

    monkeypatch.setenv("SHOPLAKE_AIRFLOW__DEADLINE", "60")
    [told] = alert()
    assert told.interval == timedelta(seconds=60)
    monkeypatch.setenv("SHOPLAKE_AIRFLOW__DEADLINE", "0")
    assert not alert()
