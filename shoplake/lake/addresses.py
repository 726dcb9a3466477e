"""Where things lie in the lake."""

from dataclasses import dataclass
from pathlib import Path

from shoplake.contract.tables import Table
from shoplake.errors import ConfigError
from shoplake.settings import Settings


@dataclass(frozen=True)
class Lake:
    """Addresses under one root, a folder of this machine; opens nothing."""

    root: str

    def table(self, table: Table) -> str:
        """Give a Delta table's folder, `<root>/<layer>/<table>`."""
        return f"{self.root}/{table.name.replace('.', '/')}"

    def checkpoint(self, query: str) -> str:
        """Give a streaming query's checkpoint folder."""
        return f"{self.root}/_checkpoints/{query}"

    def lock(self, name: str) -> Path:
        """Give a lock's file on the local disk."""
        return Path(self.root) / "_locks" / f"{name}.lock"

    def kept_files(self, source: str) -> str:
        """Give the folder where the untouched bytes of a source's files are kept, each under its SHA-256."""
        return f"{self.root}/bronze/files/{source}"


def locate_lake(settings: Settings) -> Lake:
    """Give the lake that the settings name.

    Raises:
        ConfigError: it is not on a local disk; locks and look-ups would not hold there.
    """
    if "://" in settings.lake_root:
        raise ConfigError(
            f"lake.root of the profile {settings.profile} is {settings.lake_root}, but this version keeps its lake on "
            "a local disk. Use --profile local, or set SHOPLAKE_LAKE__ROOT to a folder"
        )
    return Lake(settings.lake_root)
