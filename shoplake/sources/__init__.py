"""Readers of outside files: each gives the records that a shop would have sent to the topic."""

from shoplake.sources.records import SourceReader, SourceRecord, file_sha256
from shoplake.sources.registry import SOURCES, open_source

__all__ = ["SOURCES", "SourceReader", "SourceRecord", "file_sha256", "open_source"]
