"""Lines of CSV files as bytes: one line is one record.

A line break inside quotes is not supported, on purpose: one stray quote would swallow the good lines after it, and the
contract takes no control characters in texts anyway.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from shoplake.errors import SourceError
from shoplake.sources.packed import CHUNK, CutStream, PackedFile, check_expansion, open_bytes
from shoplake.sources.records import MAX_LINE_BYTES, unreadable

UTF8 = "utf-8"
WINDOWS = "cp1252"


@dataclass(frozen=True)
class TextFile:
    """What a first pass over a CSV file found.

    Attributes:
        header: the first line's cells.
        encoding: utf-8 if the whole file is, else cp1252.
        is_ascii: nothing in it tells the two encodings apart.
        is_truncated: a compressed file that ends before its end mark.
    """

    file: PackedFile
    header: tuple[str, ...]
    encoding: str
    is_ascii: bool
    is_truncated: bool
    separator: str


def inspect_text(file: PackedFile, separator: str = ",", header_encoding: str | None = None) -> TextFile:
    """Read the file once through, so that a damaged one is refused before its first record is sent.

    The encoding is one decision for the whole file: the published Online Retail file is cp1252, where most lines
    are plain ASCII, and deciding line by line would read one file in two encodings.

    Args:
        header_encoding: that of the format; the file's own if not given.

    Raises:
        SourceError: missing, unreadable, empty, binary, damaged, or a bomb.
    """
    try:
        encoding, is_ascii, is_truncated = _scan(file)
        first = next(_raw_lines(file), b"")
    except OSError as error:
        raise unreadable(file, error) from error
    if not first.strip():
        raise SourceError(f"{file} is empty, or its first line is; a header line with the columns' names is needed")
    header = split_cells(first.removeprefix(codecs.BOM_UTF8), header_encoding or encoding, separator)
    if header is None or b"\x00" in first:
        raise SourceError(f"the first line of {file} is no CSV header; is it a text file?")
    return TextFile(file, tuple(cell.strip() for cell in header), encoding, is_ascii, is_truncated, separator)


def _scan(packed: PackedFile) -> tuple[str, bool, bool]:
    decoder = codecs.getincrementaldecoder(UTF8)()
    encoding, is_ascii, byte_count, packed_bytes = UTF8, True, 0, packed.path.stat().st_size
    with open_bytes(packed) as file:
        while chunk := file.read(CHUNK):
            byte_count += len(chunk)
            is_ascii = is_ascii and chunk.isascii()
            if packed.packing != "none":
                check_expansion(packed, packed_bytes, byte_count)
            if encoding == UTF8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    encoding = WINDOWS
        raw = file.raw if isinstance(file, io.BufferedReader) else None
        return encoding, is_ascii, isinstance(raw, CutStream) and raw.is_truncated


def read_rows(file: TextFile, encoding: str | None = None) -> Iterator[tuple[bytes, list[str] | None]]:
    """Give each line after the header with its cells; None for them where they are not as many as the header's.

    Args:
        encoding: that of the format; the file's own if not given.

    Raises:
        SourceError: the file became unreadable.
    """
    width = len(file.header)
    for line in read_lines(file):
        cells = split_cells(line, encoding or file.encoding, file.separator)
        yield line, cells if cells is not None and len(cells) == width else None


def read_lines(file: TextFile) -> Iterator[bytes]:
    """Give the lines after the header, without their line ends and without blank lines.

    A line of more than MAX_LINE_BYTES comes in pieces of that length, so that memory stays bounded and nothing is lost.

    Raises:
        SourceError: the file became unreadable.
    """
    lines = _raw_lines(file.file)
    try:
        next(lines, None)
        for line in lines:
            bare = line.rstrip(b"\r\n")
            if bare and (not bare.isspace() or file.separator.encode() in bare):
                yield bare
    except OSError as error:
        raise unreadable(file.file, error) from error


def _raw_lines(packed: PackedFile) -> Iterator[bytes]:
    with open_bytes(packed) as file:
        while line := file.readline(MAX_LINE_BYTES):
            yield line


def split_cells(line: bytes, encoding: str, separator: str) -> list[str] | None:
    """Split one CSV line into its cells; None if it cannot be decoded, or a quote in it is not closed."""
    try:
        text = line.decode(encoding)
        if '"' not in text:
            return text.rstrip("\r\n").split(separator)
        return next(csv.reader([text], strict=True, delimiter=separator))
    except (UnicodeDecodeError, csv.Error):
        return None
