"""Readers of outside files: each gives the records that a shop would have sent to the topic."""

from shoplake.sources.records import SourceReader, SourceRecord, file_sha256
from shoplake.sources.registry import find_beside, find_files, holds_users, list_sources, look_at, open_source

__all__ = [
    "SourceReader", "SourceRecord", "file_sha256", "find_beside", "find_files", "holds_users",
    "list_sources", "look_at", "open_source",
]
