"""The lines of ops.audit, read by delta-rs alone."""

from typing import Any

from deltalake import DeltaTable

from shoplake.contract.tables import AUDIT
from shoplake.lake.addresses import Lake

Lines = list[dict[str, Any]]


def read_lines(lake: Lake) -> Lines:
    """Give all lines in the order of their numbers."""
    lines: Lines = DeltaTable(lake.table(AUDIT)).to_pyarrow_table().sort_by("sequence").to_pylist()
    return lines
