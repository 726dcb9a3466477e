"""Whole files in the lake: their untouched copies, and ops.files, which remembers what became of each."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from shoplake.arrivals import clean_name
from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import FILES
from shoplake.errors import SourceError, StorageError
from shoplake.lake.addresses import BUCKETS, Lake
from shoplake.lake.arrow import read_table, replace_rows, table_exists, text_literal
from shoplake.lake.buckets import NEW, StoredObject, download_file, find_object, read_object, upload_file, write_object
from shoplake.lake.locks import hold_lock
from shoplake.sources import file_sha256
from shoplake.sources.records import open_regular

KEPT_RATES = "exchange_rates"  # in place of a source: files of exchange rates, which name nobody
INGESTED = "ingested"
REJECTED = "rejected"


@dataclass(frozen=True)
class KeptFile:
    """A file whose untouched copy is in the lake, and when it came: later readings take that moment for now.

    Attributes:
        path: where it is read on this machine: the copy, or for a lake in a bucket the file itself.
    """

    path: Path
    sha256: str
    kept_at_ms: int


def keep_file(path: Path, lake: Lake, source: str, expected: str | None = None) -> KeptFile:
    """Copy the file into the lake, under the SHA-256 of the copy; one that is there already is left alone.

    Args:
        expected: the SHA-256 of the file that is meant; of another one no copy stays in the lake.

    Raises:
        SourceError: the file changed while it was uploaded.
    """
    if not lake.is_local:
        return _upload_copy(path, lake, source, expected)
    folder = Path(lake.kept_files(source))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".") as copy:
        partial = Path(copy.name)
        with open_regular(path) as original:
            shutil.copyfileobj(original, copy)
        copy.flush()
        sha256 = file_sha256(partial)
        if expected not in (None, sha256):
            return KeptFile(path, sha256, 0)
        kept = folder / sha256
        if not kept.exists():
            os.link(partial, kept)
    return KeptFile(kept, sha256, kept.stat().st_mtime_ns // 1_000_000)


def _upload_copy(path: Path, lake: Lake, source: str, expected: str | None) -> KeptFile:
    sha256 = file_sha256(path)
    if expected not in (None, sha256):
        return KeptFile(path, sha256, 0)
    stored = upload_file(lake, path, f"{lake.kept_files(source)}/{sha256}")
    if stored is None or file_sha256(path) != sha256:
        raise SourceError(f"{path} changed while its copy was made; run the command again when it is whole")
    return KeptFile(path, sha256, int(stored.updated_at.timestamp() * 1000))


@contextmanager
def fetch_file(lake: Lake, stored: StoredObject) -> Iterator[Path | None]:
    """Give a file of this machine with the bytes of an object, for the block; None where it is no longer the newest."""
    with tempfile.TemporaryDirectory(prefix="shoplake-") as folder:
        path = Path(folder) / clean_name(stored.address.rsplit("/", 1)[1])
        yield path if download_file(lake, stored, path) else None


@contextmanager
def open_file(lake: Lake, address: str) -> Iterator[Path]:
    """Give a path of this machine to a file that is named by a path or as gs://bucket/name, for the block.

    Raises:
        SourceError: no such object is in the bucket.
    """
    if not address.startswith(BUCKETS):
        yield Path(address)
        return
    stored = find_object(lake, address)
    if stored is None:
        raise SourceError(f"there is no object {address}; look with: python gcp/gcs_client.py list")
    with fetch_file(lake, stored) as path:
        if path is None:
            raise SourceError(f"{address} changed while it was fetched; run the command again")
        yield path


def read_bytes(lake: Lake, address: str) -> bytes | None:
    """Read a small file of the lake whole; None where there is none."""
    if lake.is_local:
        file = Path(address)
        return file.read_bytes() if file.exists() else None
    found = read_object(lake, address)
    return None if found is None else found[0]


def write_bytes(lake: Lake, address: str, content: bytes) -> None:
    """Write a small file of the lake whole, in the place of one before; the caller holds a lock that keeps others out.

    Raises:
        StorageError: another writer was there all the same.
    """
    if lake.is_local:
        file = Path(address)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}")
        unfinished.write_bytes(content)
        os.replace(unfinished, file)
        return
    before = find_object(lake, address)
    if write_object(lake, address, content, before.generation if before else NEW) is None:
        raise StorageError(f"{address} was written by another at the same moment; run the command again")


def is_ingested(lake: Lake, source: str, sha256: str) -> bool:
    """Tell whether a file of this source and these bytes was taken in before, under whatever name."""
    if not table_exists(lake, FILES):
        return False
    rows = read_table(lake, FILES, ["source", "file_sha256", "status"])
    row = {"source": source, "file_sha256": sha256, "status": INGESTED}
    return row in rows.filter(pc.equal(rows["file_sha256"], sha256)).to_pylist()


def record_file(lake: Lake, row: Mapping[str, Any], lock_timeout: float) -> None:
    """Write the row of a file to ops.files; the same file again replaces its row."""
    with hold_lock(lake, FILES.name, lock_timeout) as lock:
        replace_rows(
            lake, FILES, pa.Table.from_pylist([dict(row)], schema=arrow_schema(FILES)),
            f"source = {text_literal(row['source'])} AND file_sha256 = {text_literal(row['file_sha256'])}",
            lock)


def last_ingested_at(lake: Lake) -> datetime | None:
    """Give when the newest file that was taken in was recorded, UTC; None if there was none."""
    if not table_exists(lake, FILES):
        return None
    rows = read_table(lake, FILES, ["status", "recorded_at"])
    newest = pc.max(rows.filter(pc.equal(rows["status"], INGESTED))["recorded_at"]).as_py()
    return cast("datetime | None", newest)
