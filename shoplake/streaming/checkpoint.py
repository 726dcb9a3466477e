"""What a streaming query's checkpoint says, and whether the lake may go on with it."""

import json

from shoplake.errors import SourceError
from shoplake.lake.addresses import Lake
from shoplake.lake.files import read_bytes
from shoplake.lake.ledger import find_broken_off, origins_of
from shoplake.topics import Topic


def find_query_id(lake: Lake, query: str) -> str | None:
    """Give the id of the checkpoint's query, or None where there is no checkpoint yet."""
    metadata = read_bytes(lake, f"{lake.checkpoint(query)}/metadata")
    return None if metadata is None else str(json.loads(metadata)["id"])


def check_checkpoint(lake: Lake, query: str, topic: Topic) -> None:
    """Refuse a checkpoint of another topic, and a lake whose broken-off batch no checkpoint will repeat.

    Raises:
        SourceError: one of the two; nothing was read.
    """
    place = lake.checkpoint(query)
    query_id = find_query_id(lake, query)
    strangers = origins_of(lake, query_id) - {topic.id} if query_id else set()
    if strangers:
        raise SourceError(
            f"the checkpoint {place} holds offsets of the topic id {', '.join(strangers)}, but {topic.name!r} "
            f"is {topic.id}: it was made anew, or kafka.topic changed. Nothing was read. Set kafka.topic back, "
            "or give the new topic a lake of its own: SHOPLAKE_LAKE__ROOT=<new folder>"
        )
    broken_off = find_broken_off(lake, topic.id)
    if broken_off and broken_off.query_id != query_id:
        raise SourceError(
            f"batch {broken_off.batch_id} of the query {broken_off.query_id} broke off before its ledger row, and the "
            f"checkpoint {place} is not the one that would repeat it. Nothing was read. Put that checkpoint back, or "
            "read the topic into a lake of its own: SHOPLAKE_LAKE__ROOT=<new folder>"
        )
