"""Where things lie in the lake."""

from dataclasses import dataclass
from pathlib import Path

from shoplake.contract.tables import Table
from shoplake.errors import ConfigError
from shoplake.settings import Settings

BUCKETS = "gs://"


@dataclass(frozen=True)
class Lake:
    """Addresses under one root, a folder of this machine or `gs://bucket/prefix`; opens nothing.

    Attributes:
        endpoint: where Cloud Storage is; empty for Google's own, which alone is shown credentials.
        timeout: seconds until a Cloud Storage that does not answer is an error.
        lease: seconds that a lock in a bucket holds without a sign of life of its holder.
    """

    root: str
    endpoint: str = ""
    timeout: float = 60
    lease: float = 45

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return not self.root.startswith(BUCKETS)

    def table(self, table: Table) -> str:
        """Give a Delta table's folder, `<root>/<layer>/<table>`."""
        return f"{self.root}/{table.name.replace('.', '/')}"

    def checkpoint(self, query: str) -> str:
        """Give a streaming query's checkpoint folder."""
        return f"{self.root}/_checkpoints/{query}"

    def lock(self, name: str) -> Path:
        """Give a lock's file on the local disk."""
        return Path(self.root) / "_locks" / f"{name}.lock"

    def lease_object(self, name: str) -> str:
        """Give the object that is a lock in a bucket."""
        return f"{self.root}/_locks/{name}.json"

    def rates_pin(self, query_id: str) -> str:
        """Give the file that says by which exchange rates the newest batch of a query counts."""
        return f"{self.root}/_rates/{query_id}.json"

    def kept_files(self, source: str) -> str:
        """Give the folder where the untouched bytes of a source's files are kept, each under its SHA-256."""
        return f"{self.kept_folder}/{source}"

    @property
    def kept_folder(self) -> str:
        """The folder of all kept files."""
        return f"{self.root}/bronze/files"


def locate_lake(settings: Settings) -> Lake:
    """Give the lake that the settings name.

    Raises:
        ConfigError: it is neither a folder nor a bucket of Cloud Storage.
    """
    root = settings.lake_root
    if "://" in root and (not root.startswith(BUCKETS) or not split_address(root)[0]):
        raise ConfigError(f"lake.root of the profile {settings.profile} is {root}; it may be a folder of this machine "
                          "or gs://bucket/prefix (SHOPLAKE_LAKE__ROOT)")
    return Lake(root, settings.gcp.storage_endpoint, settings.gcp.storage_timeout, settings.lake.lease)


def export_file(settings: Settings) -> Path:
    """Give the file that is a copy of gold.daily_sales, for tools that take one."""
    return settings.data_path / "daily_sales.parquet"


def split_address(address: str) -> tuple[str, str]:
    """Split `gs://bucket/name` into the bucket and the name, which may be empty."""
    bucket, _, name = address.removeprefix(BUCKETS).partition("/")
    return bucket, name
