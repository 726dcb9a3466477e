"""Logs that were set aside: the line of the next log that says so holds what was in them, and its key keeps that."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from shoplake.lake.addresses import Lake

ARCHIVE = "_audit"
SET_ASIDE, MOVED_TO, CONTENT = "set_aside", "moved_to", "content"


def digest_content(folder: Path) -> str | None:
    """Give the SHA-256 of a log's lines, in their order; None where they cannot be read."""
    try:
        lines = DeltaTable(str(folder)).to_pyarrow_table().sort_by([("sequence", "ascending"), ("digest", "ascending")])
    except (DeltaError, OSError, pa.ArrowException, ValueError):
        return None
    return hashlib.sha256(json.dumps(lines.to_pylist(), sort_keys=True, default=str).encode()).hexdigest()


def check_set_aside(lake: Lake, lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Give in words which logs that lines set aside are gone, or not what they were."""
    for line in lines:
        details = json.loads(line["details"]) if line["action"] == SET_ASIDE else {}
        if not details.get(CONTENT):  # it could not be read when it was set aside
            continue
        folder = Path(lake.root) / ARCHIVE / Path(details[MOVED_TO]).name  # the lake may have been moved
        if digest_content(folder) != details[CONTENT]:
            yield f"the log that line {line['sequence']} set aside, {folder}, is gone or not as it was"
