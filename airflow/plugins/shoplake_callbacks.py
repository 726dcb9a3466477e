"""Whom the DAGs tell when a run failed or is late, or sales have left the forecasts: `airflow.webhook_url`.

The message is one small JSON object: dag_id, run_id, state (failed, late or drifting), reason, task, log_url. Whatever
goes wrong with the webhook is logged and harms no run. Failures are told by the DAG processor, lateness by the
triggerer, drift by the worker.
"""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from shoplake.settings import Settings, load_settings

LOG = logging.getLogger(__name__)


def report_failed_run(context: Any) -> None:
    """Tell the webhook of a failed run; a DAG's `on_failure_callback`.

    `task` and `log_url` are of the task that decided the run, and null where Airflow names none.
    """
    task = context.get("ti")
    tell({
        "dag_id": context["dag"].dag_id, "run_id": context["run_id"], "state": "failed",
        "reason": context.get("reason"), "task": getattr(task, "task_id", None),
        "log_url": getattr(task, "log_url", None),
    })


async def report_late_run(context: Any) -> None:
    """Tell the webhook of a run that missed its deadline; the triggerer calls it by its path."""
    run, deadline = context["dag_run"], context["deadline"]
    await asyncio.to_thread(tell, {
        "dag_id": run["dag_id"], "run_id": run["dag_run_id"], "state": "late",
        "reason": f"not done by {deadline['deadline_time']}; it is {run['state']}", "task": None, "log_url": None,
    })


def report_drift(context: Any) -> None:
    """Tell the webhook that sales have left a model's forecasts; the `on_success_callback` of the step `accuracy`.

    It reads that step's output, the JSON of ml/accuracy.py; one message names all models.
    """
    task = context["ti"]
    drifting = json.loads(task.xcom_pull(task_ids=task.task_id) or "{}").get("drifting", [])
    if not drifting:
        return
    models = ", ".join(f"{drift['model']} ({'more' if drift['drift_score'] > 0 else 'less'} was sold than forecast)"
                       for drift in drifting)
    tell({
        "dag_id": context["dag"].dag_id, "run_id": context["run_id"], "state": "drifting",
        "reason": f"up to {drifting[-1]['target_date']} sales have left the forecasts of {models}",
        "task": task.task_id, "log_url": getattr(task, "log_url", None),
    })


def deadline_alert(settings: Settings) -> DeadlineAlert | None:
    """Give the alert of a run that is not done `airflow.deadline` seconds after it was queued; None where that is 0.

    Counted from there and not from the day it is for, so that a backfill of old days is not late by birth.
    """
    if not settings.airflow.deadline:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(seconds=settings.airflow.deadline),
        callback=AsyncCallback(report_late_run))


def tell(message: dict[str, Any]) -> None:
    """Log the message, and post it to the webhook if there is one."""
    import httpx

    settings = load_settings().airflow
    address = settings.webhook_url.get_secret_value()
    LOG.error("%s %s is %s: %s%s", message["dag_id"], message["run_id"], message["state"], message["reason"],
              "" if address else "; nobody was told: SHOPLAKE_AIRFLOW__WEBHOOK_URL is not set")
    if not address:
        return
    try:
        httpx.post(address, json=message, timeout=settings.webhook_timeout).raise_for_status()
    except httpx.HTTPStatusError as error:
        LOG.error("the webhook answered HTTP %d", error.response.status_code)
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # its address is a secret, so the message stays out
        LOG.error("the webhook did not take the message: %s", type(error).__name__)
