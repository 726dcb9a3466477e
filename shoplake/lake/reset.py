"""What a reset deletes in a lake on the local disk: folders of known names under its root, and nothing else."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoplake.contract.tables import AUDIT, TABLES
from shoplake.errors import ConfigError, StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.partitions import read_state
from shoplake.lake.repair import ASIDE

_CHECKPOINTS = "_checkpoints"
# The locks stay: their files are open while a reset runs. The audit log stays: it tells of the reset.
_OPERATION = tuple(table.name.replace(".", "/") for table in TABLES if table.layer == "ops" and table is not AUDIT)
_FOLDERS = ("bronze", "silver", "gold", *_OPERATION, "gold_export", "_rates", "_spill", "_rebuild", ASIDE)


@dataclass(frozen=True)
class ResetPlan:
    """The folders to delete, and how many rows of which table go with them."""

    folders: tuple[Path, ...]
    rows: dict[str, int]


def plan_reset(lake: Lake, is_whole: bool) -> ResetPlan:
    """List what is there of the stream's checkpoint, and of the whole lake if that is asked for.

    Raises:
        ConfigError: one of the folders is a link, and what lies behind it is not the lake's.
    """
    names = (_CHECKPOINTS, *_FOLDERS) if is_whole else (_CHECKPOINTS,)
    folders = tuple(folder for name in names if (folder := Path(lake.root) / name).is_dir())
    for folder in folders:
        if folder.is_symlink() or (folder.parent.is_symlink() and folder.parent != Path(lake.root)):
            raise ConfigError(f"{folder} is a link to {folder.resolve()}, outside of the lake: nothing was deleted. "
                              "Remove the link, or what is behind it, by hand")
    return ResetPlan(folders, _count_rows(lake) if is_whole else {})


def _count_rows(lake: Lake) -> dict[str, int]:
    counts = {}
    for table in TABLES:
        if table is AUDIT:
            continue
        with suppress(StorageError, OSError):  # a table that cannot be read is deleted like the others
            if state := read_state(lake, table):
                counts[table.name] = state.row_count
    return counts


def delete_folders(folders: Iterable[Path]) -> None:
    """Delete folders with all that is in them; links in them are removed, not followed."""
    for folder in folders:
        shutil.rmtree(folder)
