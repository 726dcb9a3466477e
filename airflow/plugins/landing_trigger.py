"""What tells Airflow that a file has arrived: a look into the landing folder, or the bucket's notification.

Airflow's triggerer imports this file by its name, so it stands in the plugins folder and imports little.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from shoplake.arrivals import Arrival, find_arrivals, is_settled
from shoplake.settings import Settings


class LandingTrigger(BaseEventTrigger):
    """Fire when whole files lie in the landing folder that were not there, or not whole, at the look before.

    A file is announced once for as long as it lies there unchanged: where taking it in fails, the clock starts the next
    try, not this trigger. It keeps what it has announced in memory, so a triggerer that starts anew announces once more
    what lies there; a run that then finds nothing new starts nothing after it.
    """

    def __init__(self, landing: str, poll_seconds: float, settle_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.landing = landing
        self.poll_seconds = poll_seconds
        self.settle_seconds = settle_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give the name and the arguments by which another process makes this trigger; they are its identity too."""
        return "landing_trigger.LandingTrigger", {
            "landing": self.landing, "poll_seconds": self.poll_seconds, "settle_seconds": self.settle_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every `poll_seconds`, for ever; an event says how many files are new."""
        announced: frozenset[Arrival] = frozenset()
        while True:
            try:
                whole = await asyncio.to_thread(self._find_whole)
            except OSError as error:
                # A trigger that raises is not started again; the scheduled run says the same loudly.
                self.log.warning("cannot look into %s: %s", self.landing, error)
            else:
                if new := whole - announced:
                    yield TriggerEvent({"new_files": len(new)})  # type: ignore[no-untyped-call]
                announced = whole
            await asyncio.sleep(self.poll_seconds)

    def _find_whole(self) -> frozenset[Arrival]:
        found = find_arrivals(Path(self.landing))
        return frozenset(arrival for arrival in found if is_settled(arrival, self.settle_seconds))


def watch_landing(landing: Asset, settings: Settings) -> Asset:
    """Give the asset with what watches it: the folder, or the Pub/Sub subscription if the settings name one."""
    sources = settings.sources
    if not sources.landing_subscription:
        trigger = LandingTrigger(str(settings.landing_path), sources.landing_poll, sources.landing_settle)
        return Asset(landing.name, uri=landing.uri, watchers=[AssetWatcher("landing_folder", trigger=trigger)])
    # The provider is installed in Composer only.
    from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

    queue = MessageQueueTrigger(
        scheme="google+pubsub", gcp_conn_id="google_cloud_default", project_id=settings.gcp.project_id,
        subscription=sources.landing_subscription,
        ack_messages=True, max_messages=100, poke_interval=float(sources.landing_poll))
    return Asset(landing.name, uri=landing.uri, watchers=[AssetWatcher("landing_bucket", trigger=queue)])
