"""Read all DAGs as Composer does, and print as JSON what they are; run by test_composer.py in its environment."""

import json
import runpy
import sys

from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.version import version
from google.cloud.dataproc_v1 import Batch


def describe(task: object) -> dict[str, object]:
    """Give the operator's name, and the seconds that its batch lives; a batch that the API does not know is refused."""
    batch = getattr(task, "batch", None)
    ttl = Batch(batch).environment_config.execution_config.ttl if batch else None
    return {"operator": type(task).__name__, "ttl": ttl.total_seconds() if ttl else None}


dags = [dag for file in sys.argv[1:] for dag in runpy.run_path(file).values() if isinstance(dag, DAG)]
for dag in dags:
    DagSerialization.serialize_dag(dag)
print(json.dumps({"version": version, "dags": {
    dag.dag_id: {task.task_id: describe(task) for task in dag.tasks} for dag in dags}}))
