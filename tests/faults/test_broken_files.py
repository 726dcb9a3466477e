"""A file of the lake or of the checkpoint is cut short: the stream repairs it or refuses, and never has fewer rows."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from lake_oracle import COORDINATES, RECORDS, Oracle, rows_of
from shells_on_lake import Shells

from shoplake.contract import tables
from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.settings import ENV_PREFIX

if TYPE_CHECKING:
    from conftest import Pipeline

pytestmark = pytest.mark.faults
STREAM = "spark/streaming_pipeline.py"


@pytest.fixture(scope="module")
def grown(make_pipeline: "Callable[..., Pipeline]", fault_seed: int) -> "Pipeline":
    """Give a pipeline of several batches, with a checkpoint in the middle of a Delta log; 100 records wait."""
    pipeline = make_pipeline(SPARK__MAX_OFFSETS_PER_TRIGGER="300")
    for number in (0, 1):
        pipeline.produce(600, fault_seed + number)
        pipeline.here(STREAM, "--drain")
        if number == 0:
            DeltaTable(pipeline.lake.table(tables.BRONZE_EVENTS)).create_checkpoint()
    pipeline.produce(100, fault_seed + 2)
    return replace(pipeline, truth=None)


def newest(lake: Lake, table: Table, pattern: str) -> Path:
    return max((Path(lake.table(table)) / "_delta_log").glob(pattern))


def newest_of_checkpoint(lake: Lake, kind: str) -> Path:
    return max((Path(lake.checkpoint("events")) / kind).glob("[0-9]*"), key=lambda path: int(path.name))


DAMAGES: dict[str, Callable[[Lake], Path]] = {
    **{f"log entry of {table.name}": lambda lake, table=table: newest(lake, table, "*.json")
       for table in (tables.BRONZE_EVENTS, tables.SILVER_EVENTS, tables.LEDGER)},
    "_last_checkpoint": lambda lake: newest(lake, tables.BRONZE_EVENTS, "_last_checkpoint"),
    "Delta checkpoint": lambda lake: newest(lake, tables.BRONZE_EVENTS, "*.checkpoint*.parquet"),
    "stream's offsets": lambda lake: newest_of_checkpoint(lake, "offsets"),
    "stream's commit": lambda lake: newest_of_checkpoint(lake, "commits"),
    "stream's metadata": lambda lake: Path(lake.checkpoint("events")) / "metadata",
}
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2], "empty": lambda _: b""}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_cut_short_is_repaired_or_refused(
    damage: str, cut: str, grown: "Pipeline", spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = replace(grown, folder=tmp_path)
    for name in ("lake", "keys"):
        shutil.copytree(grown.folder / name, tmp_path / name)
    for name, value in {**pipeline.environment, "SHOPLAKE_DATA_DIR": str(tmp_path)}.items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value)
    shells = Shells(pipeline.lake, pipeline.environment["SHOPLAKE_KAFKA__TOPIC"])
    before = {table: rows_of(pipeline.lake, table, COORDINATES) for table in RECORDS}
    broken = DAMAGES[damage](pipeline.lake)
    content = broken.read_bytes()
    broken.write_bytes(CUTS[cut](content))
    checksum = broken.with_name(f".{broken.name}.crc")
    if checksum.exists():  # of Hadoop's; the storage that cuts a file short may know none
        checksum.unlink()

    code = shells.run(STREAM, "--drain")
    said = capsys.readouterr().err.splitlines()[-1]
    print(f"{damage}, {cut}: exit {code}; {said}")
    if code == 0:
        after = {table: rows_of(pipeline.lake, table, COORDINATES) for table in RECORDS}
        assert all(not before[table] - after[table] for table in RECORDS), "rows were lost"
    else:
        assert "utils/repair.py" in said
        broken.write_bytes(content)
        shells.ok(STREAM, "--drain")
    Oracle(None, pipeline.acks).check(pipeline.lake)
