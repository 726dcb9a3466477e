"""The files in which data keys lie, in a folder or in a bucket: each is written once, and replaced by another one.

They lie outside of the lake, so that a copy of the lake, however old, never holds a key that was destroyed since.
"""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shoplake.errors import StorageError
from shoplake.lake.addresses import Lake
from shoplake.lake.buckets import NEW, delete_object, find_object, list_objects, read_object, write_object
from shoplake.private_files import delete_private, make_private, write_private

SCHEMA = pa.schema([
    pa.field("data_key_id", pa.string(), nullable=False),
    pa.field("subject", pa.binary(), nullable=False),  # whose key it is: a keyed digest
    pa.field("wrapped_key", pa.binary()),  # encrypted with the master key; NULL once it is destroyed
    pa.field("sealed_owner", pa.binary()),  # whose key it is, encrypted with it; NULL once it is destroyed
])
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class KeyFiles:
    """The files below `place`, a folder of this machine or gs://bucket/prefix; whoever writes holds a lock.

    Attributes:
        lake: how Cloud Storage is reached.
    """

    place: str
    lake: Lake

    def make_place(self) -> None:
        """Make the folder, for its owner alone; a bucket is there.

        Raises:
            ConfigError: others may write there.
        """
        if self._is_local:
            make_private(Path(self.place))

    def names(self) -> frozenset[str]:
        """Give the names of all files."""
        if self._is_local:
            return frozenset(file.name for file in Path(self.place).glob(f"*{_SUFFIX}"))
        return frozenset(one.address.rsplit("/", 1)[1] for one in list_objects(self.lake, f"{self.place}/")
                         if one.address.endswith(_SUFFIX))

    def read(self, name: str) -> pa.Table | None:
        """Read a file; None where it has been replaced meanwhile.

        Raises:
            StorageError: it is damaged.
        """
        address = f"{self.place}/{name}"
        try:
            if self._is_local:
                content = Path(address).read_bytes()
            elif (found := read_object(self.lake, address)) is not None:
                content = found[0]
            else:
                return None
            return pq.read_table(pa.BufferReader(content), schema=SCHEMA)
        except FileNotFoundError:
            return None
        except pa.ArrowException as error:
            raise StorageError(f"the file of data keys {address} cannot be read: {type(error).__name__}. Put it back "
                               "from the newest copy of the keys, then erase again whoever was erased since") from error

    def write(self, rows: pa.Table) -> str:
        """Write a new file, durable when this returns; give its name."""
        name = f"{uuid.uuid4().hex}{_SUFFIX}"
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="none", use_dictionary=False)  # random bytes: nothing to gain
        content = sink.getvalue().to_pybytes()
        if self._is_local:
            write_private(Path(self.place) / name, content, replace=False)
        elif write_object(self.lake, f"{self.place}/{name}", content, NEW) is None:
            raise StorageError(f"{self.place}/{name} was written by another at the same moment; run the command again")
        return name

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone is fine."""
        address = f"{self.place}/{name}"
        if self._is_local:
            delete_private(Path(address))
        elif stored := find_object(self.lake, address):
            delete_object(self.lake, address, stored.generation)

    def delete_leftovers(self) -> None:
        """Delete what a killed writer left half-way; a key that is destroyed may be in it."""
        if self._is_local:
            for file in Path(self.place).glob(f".*{_SUFFIX}.*"):
                delete_private(file)

    @property
    def lock_place(self) -> Lake:
        """Where the lock of these files lies: with them, for several lakes may have the same."""
        return replace(self.lake, root=self.place)

    @property
    def _is_local(self) -> bool:
        return "://" not in self.place
