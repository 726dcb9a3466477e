"""What a file of the landing folder is worth: can it be read, and by which way it goes in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoplake.errors import SourceError
from shoplake.settings import Settings
from shoplake.sources.records import MAX_LINE_BYTES
from shoplake.sources.registry import holds_users, is_part_of_set, open_source

Route = Literal["kafka", "historical"]


@dataclass(frozen=True)
class Inspection:
    """What one reading of the whole file found; nothing was sent.

    Attributes:
        largest_bytes: key and value of its largest record.
        warnings: what a person should know of it.
    """

    record_count: int
    bad_line_count: int
    largest_bytes: int
    warnings: tuple[str, ...]


def inspect_file(path: Path, source: str, settings: Settings) -> Inspection:
    """Read the file once through its source's reader.

    A file that is damaged further on, or of which no line can be read, is known before its first record is sent; what
    fails after that is not the file's fault, and is tried again.

    Raises:
        SourceError: the file is broken, of another format, or of no use without others.
        ConfigError: the settings do not fit the source.
    """
    if is_part_of_set(path, source):
        raise SourceError(f"{path} is one file of a set, and the landing folder's files come one by one: put the "
                          "whole set there as one ZIP archive")
    reader = open_source(path, source, settings)
    largest = max(len(record.key or b"") + len(record.value) for record in reader)
    return Inspection(reader.record_count, reader.bad_lines, largest, tuple(reader.warnings()))


def choose_route(inspection: Inspection, source: str, byte_count: int, settings: Settings) -> Route:
    """Choose Kafka, the only way in for small files; a large one, or one with a record too large for it, goes past it.

    A few files make the topic's length; one of millions of records would only pass through it to no one's use. Where
    Spark runs on Dataproc none is here that could take a large one, so it goes through Kafka too. Users are no events.
    """
    if holds_users(source):
        return "historical"
    is_small = byte_count <= settings.sources.replay_max_bytes or settings.spark.runner == "dataproc"
    return "kafka" if is_small and inspection.largest_bytes <= MAX_LINE_BYTES else "historical"
