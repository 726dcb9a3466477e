"""Copies of a lake table for people without a lake."""

from pathlib import Path

import pyarrow.parquet as pq

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table


def export_parquet(lake: Lake, table: Table, path: Path) -> int:
    """Write a table's newest version to one Parquet file, batch by batch; give the number of rows."""
    dataset = open_table(lake, table).to_pyarrow_dataset()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    rows = 0
    with delta_errors(lake), pq.ParquetWriter(partial, dataset.schema) as writer:
        for batch in dataset.to_batches():
            writer.write_batch(batch)
            rows += batch.num_rows
    partial.replace(path)
    return rows
