"""Lines of CSV files, plain or gzip, as bytes: one line is one record.

A line break inside quotes is not supported, on purpose: one stray quote would swallow the good lines after it, and the
contract takes no control characters in texts anyway.
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from shoplake.errors import SourceError
from shoplake.sources.records import MAX_LINE_BYTES, unreadable

UTF8 = "utf-8"
WINDOWS = "cp1252"
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TextFile:
    """What a first pass over a CSV file found.

    Attributes:
        header: the first line's cells.
        encoding: utf-8 if the whole file is, else cp1252.
        is_truncated: a gzip file that ends before its end mark.
    """

    path: Path
    is_gzip: bool
    header: tuple[str, ...]
    encoding: str
    is_truncated: bool


def inspect_text(path: Path) -> TextFile:
    """Read the file once through, so that a damaged one is refused before its first record is sent.

    The encoding is one decision for the whole file: the published Online Retail file is cp1252, where most lines
    are plain ASCII, and deciding line by line would read one file in two encodings.

    Raises:
        SourceError: missing, unreadable, empty, binary, damaged, or no gzip file though named .gz.
    """
    try:
        is_gzip = _is_gzip(path)
        encoding, is_truncated = _scan(path, is_gzip)
        first = next(_raw_lines(path, is_gzip), b"")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{path} is a damaged gzip file: {error}; nothing was taken. Get the file again") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not first.strip():
        raise SourceError(f"{path} is empty, or its first line is; a header line with the columns' names is needed")
    header = split_cells(first.removeprefix(codecs.BOM_UTF8), encoding)
    if header is None or b"\x00" in first:
        raise SourceError(f"the first line of {path} is no CSV header; is it a text file?")
    return TextFile(path, is_gzip, tuple(cell.strip() for cell in header), encoding, is_truncated)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(len(_GZIP_MAGIC))
    if path.suffix == ".gz" and magic and magic != _GZIP_MAGIC:
        raise SourceError(f"{path} is named .gz but is no gzip file; rename it, or compress it with gzip")
    return magic == _GZIP_MAGIC


class _CutGzip(io.RawIOBase):
    """A gzip file that simply ends where its bytes do; `gzip` alone would throw the cut line away."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.GzipFile(path, "rb")
        self.is_truncated = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read1(len(buffer))
        except EOFError:
            self.is_truncated = True
            return 0
        buffer[:len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(path: Path, is_gzip: bool) -> BinaryIO:
    return io.BufferedReader(_CutGzip(path), _CHUNK) if is_gzip else path.open("rb")


def _scan(path: Path, is_gzip: bool) -> tuple[str, bool]:
    decoder = codecs.getincrementaldecoder(UTF8)()
    encoding = UTF8
    with _open(path, is_gzip) as file:
        while chunk := file.read(_CHUNK):
            if encoding == UTF8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    encoding = WINDOWS
        raw = getattr(file, "raw", None)
        return encoding, isinstance(raw, _CutGzip) and raw.is_truncated


def read_lines(file: TextFile) -> Iterator[bytes]:
    """Give the lines after the header, without their line ends and without blank lines.

    A line of more than MAX_LINE_BYTES comes in pieces of that length, so that memory stays bounded and nothing is lost.

    Raises:
        SourceError: the file became unreadable.
    """
    lines = _raw_lines(file.path, file.is_gzip)
    try:
        next(lines, None)
        for line in lines:
            bare = line.rstrip(b"\r\n")
            if bare and not bare.isspace():
                yield bare
    except OSError as error:
        raise unreadable(file.path, error) from error


def _raw_lines(path: Path, is_gzip: bool) -> Iterator[bytes]:
    with _open(path, is_gzip) as file:
        while line := file.readline(MAX_LINE_BYTES):
            yield line


def split_cells(line: bytes, encoding: str) -> list[str] | None:
    """Split one CSV line into its cells; None if it cannot be decoded, or a quote in it is not closed."""
    try:
        text = line.decode(encoding)
        if '"' not in text:
            return text.rstrip("\r\n").split(",")
        return next(csv.reader([text], strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
