"""Where things lie in the lake; the root is a local folder or `gs://bucket/prefix`."""

from dataclasses import dataclass
from pathlib import Path

from shoplake.contract.tables import Table


@dataclass(frozen=True)
class Lake:
    """Addresses under one root; opens nothing."""

    root: str

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self.root

    def table(self, table: Table) -> str:
        """Give a Delta table's folder, `<root>/<layer>/<table>`."""
        return f"{self.root}/{table.name.replace('.', '/')}"

    def checkpoint(self, query: str) -> str:
        """Give a streaming query's checkpoint folder."""
        return f"{self.root}/_checkpoints/{query}"

    def lock(self, name: str) -> Path:
        """Give a lock's file on the local disk."""
        return Path(self.root) / "_locks" / f"{name}.lock"

    def kept_file(self, source: str, sha256: str) -> str:
        """Give the place where the untouched bytes of an ingested file are kept."""
        return f"{self.root}/bronze/files/{source}/{sha256}"
