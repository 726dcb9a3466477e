"""The lines of ops.audit, read by delta-rs alone."""

import json
from typing import Any

from deltalake import DeltaTable

from shoplake.contract.tables import AUDIT
from shoplake.lake.addresses import Lake

Lines = list[dict[str, Any]]


def read_lines(lake: Lake) -> Lines:
    """Give all lines in the order of their numbers."""
    lines: Lines = DeltaTable(lake.table(AUDIT)).to_pyarrow_table().sort_by("sequence").to_pylist()
    return lines


def read_acts(lake: Lake) -> list[tuple[str, str, str]]:
    """Give action, subject and outcome of all lines but those that tell of settings."""
    return [(line["action"], line["subject"], line["outcome"]) for line in read_lines(lake)
            if line["action"] != "configuration"]


def read_details(lake: Lake) -> dict[str, Any]:
    """Give the details of the newest line."""
    details: dict[str, Any] = json.loads(read_lines(lake)[-1]["details"])
    return details
