"""What the DAGs' tests share: an Airflow home of their own, and stand-ins for the cloud's providers."""

import os
import sys
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

GOOGLE_MODULE = "airflow.providers.google.cloud.operators.dataproc"
MESSAGING_MODULE = "airflow.providers.common.messaging.triggers.msg_queue"


# Airflow reads these when it is imported first; the tests' processes keep away from the machine's own home.
_HOME = TemporaryDirectory(prefix="shoplake-airflow-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture
def google_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the providers that only Composer has; tests/live runs the real one in an environment of its own."""
    from airflow.sdk import BaseOperator
    from airflow.triggers.base import BaseEventTrigger

    class DataprocCreateBatchOperator(BaseOperator):
        template_fields = ("batch", "batch_id")

        def __init__(self, *, project_id: str, region: str, batch: dict[str, Any], batch_id: str,
                     deferrable: bool, **options: Any) -> None:
            super().__init__(**options)
            self.project_id, self.region, self.batch, self.batch_id = project_id, region, batch, batch_id
            self.deferrable = deferrable

    class MessageQueueTrigger(BaseEventTrigger):
        def __init__(self, **options: Any) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.options = options

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return f"{MESSAGING_MODULE}.MessageQueueTrigger", self.options

        async def run(self) -> Any:
            yield

    for module, known in ((GOOGLE_MODULE, 2), (MESSAGING_MODULE, 3)):
        names = module.split(".")
        for depth in range(known + 1, len(names) + 1):
            monkeypatch.setitem(sys.modules, ".".join(names[:depth]), ModuleType(".".join(names[:depth])))
    sys.modules[GOOGLE_MODULE].DataprocCreateBatchOperator = DataprocCreateBatchOperator  # type: ignore[attr-defined]
    sys.modules[MESSAGING_MODULE].MessageQueueTrigger = MessageQueueTrigger  # type: ignore[attr-defined]
