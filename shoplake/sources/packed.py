"""A file's own bytes, whatever it is packed with: plain, gzip, zstd, or a member of a ZIP archive.

Nothing is unpacked onto a disk: bytes come as they are read, so an archive can neither fill it nor write elsewhere.
"""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from shoplake.errors import SourceError
from shoplake.sources.records import open_regular

CHUNK = 1 << 20
# Of a zstd file that is cut off, what is read at once with its end is lost.
_SMALL_CHUNK = 1 << 12
MAX_MEMBERS = 1000
# Of an archive's list of its files, which is read whole.
MAX_LIST_BYTES = 1 << 20
# Tables of text pack to a tenth, of much repetition to a fiftieth; a bomb to a thousandth and less.
MAX_EXPANSION = 200
# However little of it is packed.
MAX_UNPACKED_BYTES = 200 * 10**9
# Below this it does not matter what a file expands to.
_HARMLESS_BYTES = 64 << 20

Packing = Literal["none", "gzip", "zstd", "zip"]
_MAGIC: dict[Packing, tuple[bytes, ...]] = {
    "gzip": (b"\x1f\x8b",), "zstd": (b"\x28\xb5\x2f\xfd",), "zip": (b"PK\x03\x04", b"PK\x05\x06")}
_SUFFIXES: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}


# What the readers raise for bytes that are none of theirs.
_DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError,
            ValueError, LookupError)


@dataclass(frozen=True)
class PackedFile:
    """A file, or one member of a ZIP archive."""

    path: Path
    packing: Packing
    member: str | None = None

    @property
    def name(self) -> str:
        """Its own name, without a packing's suffix."""
        name = PurePosixPath(self.member or self.path.name)
        return name.stem if name.suffix in _SUFFIXES else name.name

    def __str__(self) -> str:
        return f"{self.path}, member {self.member}" if self.member else str(self.path)


def find_packed(path: Path) -> list[PackedFile]:
    """Tell by its first bytes how a file is packed (a copy kept in the lake has no suffix); give it, or its members.

    Raises:
        SourceError: its name says otherwise, or it is an archive that may not be read.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        magic = file.read(4)
    seen: Packing = next((name for name, first in _MAGIC.items() if magic.startswith(first)), "none")
    named = _SUFFIXES.get(path.suffix)
    if named and magic and named != seen:
        raise SourceError(f"{path} is named {path.suffix} but is no {named} file; rename it, or pack it with {named}")
    return _find_members(path) if seen == "zip" else [PackedFile(path, seen)]


def _find_members(path: Path) -> list[PackedFile]:
    try:
        with _ArchiveFile(path) as file, zipfile.ZipFile(cast(Any, file)) as archive:
            named = [member for member in archive.infolist() if member.filename.strip("./\\")]
            members = [member for member in named if not member.is_dir()]
    except _DAMAGED as error:
        raise SourceError(f"{path} is a damaged ZIP archive: {error}; nothing was taken. Get the file again") from error
    if not 1 <= len(members) <= MAX_MEMBERS:
        raise SourceError(f"{path} holds {len(members)} files; 1 to {MAX_MEMBERS} are read from one archive")
    if len({member.filename for member in members}) != len(members):
        raise SourceError(f"{path} holds two files of one name, of which only one could be read; pack them again")
    check_expansion(path, path.stat().st_size, sum(member.file_size for member in members))
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or name.parts[0].endswith(":"):
            raise SourceError(f"{path} holds a file named {member.filename!r}, which leads out of its folder: such an "
                              "archive is not read. Pack the files again, by their names alone")
        if member.flag_bits & 1:
            raise SourceError(f"{member.filename} in {path} is encrypted; pack it without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(f"{member.filename} in {path} is packed by method {member.compress_type}, of which "
                              "nobody knows how much it unpacks to; pack it with deflate, as all programs do")
        check_expansion(f"{member.filename} in {path}", member.compress_size, member.file_size)
    return [PackedFile(path, "zip", member.filename) for member in sorted(members, key=lambda one: one.filename)]


class _ArchiveFile(io.FileIO):
    """A file that gives no piece larger than an archive's list of files may be."""

    def read(self, size: int | None = -1) -> Any:
        if size is not None and size > MAX_LIST_BYTES:
            raise zipfile.BadZipFile(f"its list of files has {size:,} bytes; allowed are {MAX_LIST_BYTES:,}")
        return super().read(size)


def check_expansion(what: object, packed_bytes: int, bytes_so_far: int) -> None:
    """Refuse a file that grows beyond what tables of text do.

    Raises:
        SourceError: it is beyond both limits.
    """
    if bytes_so_far > MAX_UNPACKED_BYTES:
        raise SourceError(f"{what} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes: split it")
    if bytes_so_far > max(_HARMLESS_BYTES, MAX_EXPANSION * packed_bytes):
        raise SourceError(f"{what} unpacks to more than {MAX_EXPANSION} times its {packed_bytes:,} bytes, which no "
                          "table does: it is not read. If it is one, unpack it yourself")


class CutStream(io.RawIOBase):
    """A packed file that simply ends where its bytes do, with what they still hold of the cut line."""

    def __init__(self) -> None:
        """Begin with a file that is not known to be cut off."""
        self.is_truncated = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes at once."""
        data = self._read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        raise NotImplementedError


class _CutGzip(CutStream):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = gzip.GzipFile(path, "rb")

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read1(size)
        except EOFError:
            self.is_truncated = True
            return b""

    def close(self) -> None:
        self._file.close()
        super().close()


class _CutZstd(CutStream):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = pa.input_stream(str(path), compression="zstd")

    def _read(self, size: int) -> bytes:
        if self.is_truncated:
            return b""
        try:
            return bytes(self._file.read(min(size, _SMALL_CHUNK)))
        except OSError as error:
            if "Truncated" not in str(error):
                raise
            self.is_truncated = True
            return b""

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_bytes(file: PackedFile) -> Iterator[BinaryIO]:
    """Open the bytes of a file or member.

    Raises:
        SourceError: they are damaged, here or while they are read.
    """
    try:
        if file.packing == "none":
            with open_regular(file.path) as plain:
                yield plain
        elif file.packing == "zip":
            with zipfile.ZipFile(file.path) as archive, archive.open(cast(str, file.member)) as member:
                yield cast(BinaryIO, member)
        else:
            packed = _CutGzip(file.path) if file.packing == "gzip" else _CutZstd(file.path)
            with io.BufferedReader(packed, CHUNK) as buffered:
                yield buffered
    except _DAMAGED as error:
        raise SourceError(f"{file} is a damaged {file.packing} file: {error}; nothing was taken. Get the file again"
                          ) from error
