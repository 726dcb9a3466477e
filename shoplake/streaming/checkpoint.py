"""What a streaming query's checkpoint says, and whether the lake may go on with it."""

import json

from shoplake.contract.tables import INGEST_TABLES
from shoplake.errors import SourceError
from shoplake.lake.addresses import Lake
from shoplake.lake.files import read_bytes
from shoplake.lake.ledger import find_broken_off, origins_of
from shoplake.lake.repair import find_cut_file
from shoplake.topics import Topic


def find_query_id(lake: Lake, query: str) -> str | None:
    """Give the id of the checkpoint's query, or None where there is no checkpoint yet.

    Raises:
        SourceError: the checkpoint does not say.
    """
    file = f"{lake.checkpoint(query)}/metadata"
    metadata = read_bytes(lake, file)
    if metadata is None:
        return None
    try:
        return str(json.loads(metadata)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file} was cut short: {metadata[:60]!r} names no query. Nothing was read. "
                          "Run: python utils/repair.py --checkpoint") from error


def check_checkpoint(lake: Lake, query: str, topic: Topic) -> None:
    """Refuse to go on where rows would go missing or double.

    That is: a table whose newest log entry or checkpoint was cut short, a checkpoint of another topic, and a lake whose
    broken-off batch no checkpoint will repeat.

    Raises:
        SourceError: one of the three; nothing was read.
    """
    cut = find_cut_file(lake, INGEST_TABLES)
    if cut:
        raise SourceError(f"a file of {cut[0].name}'s log was cut short: {cut[1]}. Nothing was read, as rows could be "
                          f"missing without a word. Run: python utils/repair.py --table {cut[0].name}")
    place = lake.checkpoint(query)
    query_id = find_query_id(lake, query)
    strangers = origins_of(lake, query_id) - {topic.id} if query_id else set()
    if strangers:
        raise SourceError(
            f"the checkpoint {place} holds offsets of the topic id {', '.join(strangers)}, but {topic.name!r} "
            f"is {topic.id}: it was made anew, or kafka.topic changed. Nothing was read. Set kafka.topic back; "
            "or begin the new topic beside what the old one brought: python utils/repair.py --topic"
        )
    broken_off = next(iter(find_broken_off(lake, topic.id)), None)
    if broken_off and broken_off.query_id != query_id:
        raise SourceError(
            f"batch {broken_off.batch_id} of the query {broken_off.query_id} broke off before its ledger row, and the "
            f"checkpoint {place} is not the one that would repeat it. Nothing was read. Put that checkpoint back, or "
            "finish the batch: spark-submit utils/rebuild.py --from bronze"
        )
