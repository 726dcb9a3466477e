"""Files as somebody careless or hostile makes them: refused with a reason, or read; no hang, no crash.

Landing files are judged by `inspect_file`, which reads each one whole.
"""

import gzip
import io
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_bounds import fuzz
from hypothesis import given
from hypothesis import strategies as st

from shoplake.errors import ConfigError, SourceError
from shoplake.settings import PROJECT_ROOT, Settings, load_settings
from shoplake.sources import events, file_sha256, open_source
from shoplake.sources.landing import inspect_file
from shoplake.sources.packed import MAX_LIST_BYTES, find_packed

HEADER = "event_time,user_id,product_id,category,price,quantity,event_type,event_id"
LINES = [HEADER,
         *(f"2026-03-01T10:00:{second:02}Z,ü{second},p1,toys,2.50,3,order_created,e{second}" for second in range(40))]
TABLE = "\n".join(LINES).encode()


SETTINGS = load_settings("local")


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def parquet() -> bytes:
    names = HEADER.split(",")
    columns = list(zip(*(line.split(",") for line in LINES[1:]), strict=True))
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), buffer, compression="none",
                   use_dictionary=False)
    return buffer.getvalue()


SEEDS = {"a.csv": TABLE, "a.csv.gz": gzip.compress(TABLE), "a.zip": archive(("a.csv", TABLE), ("b.csv", TABLE)),
         "a.parquet": parquet(), "a.csv.zst": bytes(pa.compress(TABLE, codec="zstd", asbytes=True)),
         "stored.zip": archive(("a.csv", TABLE), method=zipfile.ZIP_STORED)}
INSERTED = [b"\x00", b"\xff" * 4, b"\r", b"\n", b'"', b",", b"\xef\xbb\xbf", b"PK\x03\x04", b"PK\x01\x02",
            b"PK\x05\x06", b"PAR1",
            b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"9" * 5000, b"1e999999999", b"0001-01-01T00:00:00+14:00",
            b"9999-12-31T23:59:59-14:00", "\u2028\u202e".encode(), b"\xed\xa0\x80", b"=cmd", b"x" * 70_000]


@fuzz(150)
@given(st.sampled_from(sorted(SEEDS)), st.randoms(use_true_random=False),
       st.lists(st.one_of(st.sampled_from(INSERTED), st.binary(max_size=4)), min_size=1, max_size=5))
def test_no_file_leaves_another_error_than_ours(
    tmp_path_factory: pytest.TempPathFactory, name: str, draw: random.Random, pieces: list[bytes],
) -> None:
    content = bytearray(SEEDS[name])
    for piece in pieces:
        at = draw.randrange(len(content) + 1)
        content[at:at + draw.choice((0, len(piece), len(piece), 1, 50))] = piece
    path = tmp_path_factory.mktemp("fuzz") / draw.choice((name, "kept"))
    path.write_bytes(content)
    for source in ("events", "online_retail", "rees46", "c2c_users", "retailrocket"):
        with suppress(SourceError, ConfigError):
            inspect_file(path, source, SETTINGS)


def refused(path: Path, settings: Settings) -> str:
    with pytest.raises(SourceError) as error:
        inspect_file(path, "events", settings)
    return str(error.value)


def renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """Give an archive with another name of the same length in both of its places."""
    assert (len(old), content.count(old)) == (len(new), 2)
    return content.replace(old, new)


@pytest.mark.parametrize(("content", "said"), [
    (archive(("a.csv", TABLE), method=zipfile.ZIP_BZIP2), "packed by method 12"),
    (archive(("a.csv", TABLE), method=zipfile.ZIP_LZMA), "packed by method 14"),
    (renamed(archive(("a.csv", TABLE), ("b.csv", TABLE)), b"b.csv", b"a.csv"), "two files of one name"),
    (archive(*((f"{number}.csv", b"0" * (60 << 20)) for number in range(2)), ("x.csv", TABLE)), "more than 200 times"),
    (archive(*((f"{number}", b"") for number in range(1001))), "1 to 1000 are read"),
    (archive(*((f"{number:060000}", b"") for number in range(20))), "its list of files has"),
    (renamed(archive(("abcde", TABLE)), b"abcde", b"./../"), "holds 0 files"),
    (renamed(archive(("abcde", TABLE)), b"abcde", b"././."), "holds 0 files"),
    (archive(("", TABLE)), "holds 0 files"), (archive((".", TABLE)), "holds 0 files"),
    (archive(("a\x1b[2J.csv", b"")), "is empty"),
    (b"PK\x05\x06" + b"\x00" * 18, "holds 0 files"), (b"PK\x05\x06" + b"\xff" * 18, ""),
], ids=["bzip2", "lzma", "one name", "bomb of many", "many", "long list", "up", "dots", "no name", "dot", "escape",
"none",
        "ones"])
def test_an_archive_that_is_none_of_tables_is_refused(
    tmp_path: Path, settings: Settings, content: bytes, said: str,
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    assert said in refused(path, settings)


def test_an_archive_that_lies_of_its_sizes_gives_no_more_than_it_says(tmp_path: Path, settings: Settings) -> None:
    """A member that says 100 bytes and holds 300 MB: what is read of it ends at the 100, or is damaged."""
    content = bytearray(archive(("a.csv", b"0" * (300 << 20))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at:at + 4] = struct.pack("<I", 100)
    (tmp_path / "a.zip").write_bytes(content)
    assert "damaged" in refused(tmp_path / "a.zip", settings)


MEMORY = """
import resource, sys
from pathlib import Path
from shoplake.errors import SourceError
from shoplake.settings import load_settings
from shoplake.sources.landing import inspect_file
settings = load_settings()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(inspect_file(Path(sys.argv[1]), "events", settings))
except SourceError as error:
    print(str(error)[:200])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def long_list() -> bytes:
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = record * (4 * MAX_LIST_BYTES // len(record))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(listed), 4, 0)
    return b"PK\x03\x04" + listed + end


@pytest.mark.parametrize(("name", "make"), [
    ("a.csv", lambda: TABLE + b"\n" + b"," * (60 << 20)), ("a.csv", lambda: TABLE + b"\n" + b'"' * (60 << 20)),
    ("a.csv", lambda: b"a," * (30 << 20)), ("a.csv.gz", lambda: gzip.compress(TABLE + b"\n" + b"x" * (60 << 20), 9)),
    ("a.zip", long_list),
], ids=["commas", "quotes", "header", "packed", "list of files"])
def test_memory_stays_bounded(tmp_path: Path, name: str, make: Callable[[], bytes]) -> None:
    """Of 60 MB in one line never more than a few pieces are held; in a process of its own, whose peak tells."""
    path = tmp_path / name
    path.write_bytes(make())
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, timeout=120,
                          cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}, check=True)
    assert int(done.stdout.splitlines()[-1]) < 150, done.stdout[:500]


def test_a_parquet_file_of_more_rows_than_it_can_hold_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MAX_EXPANSION", 20)
    path = tmp_path / "a.parquet"
    names = HEADER.split(",")
    with pq.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names])) as writer:
        for _ in range(3):
            writer.write_table(pa.table({name: pa.nulls(2_000_000, pa.string()) for name in names}))
    assert path.stat().st_size < 200_000
    assert "says that it holds 6,000,000 rows" in refused(path, settings)


def test_a_parquet_text_that_is_not_utf8_is_named(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet().replace("ü7".encode(), b"\xff\xfe7"))
    assert "is damaged" in refused(path, settings)


# --- special files


@pytest.mark.parametrize("make", [
    os.mkfifo, lambda path: os.mknod(path, 0o600 | 0o140000), lambda path: path.symlink_to("/dev/zero"), Path.mkdir,
    lambda path: path.symlink_to(path.name), lambda path: path.symlink_to("/dev/tty"),
], ids=["pipe", "socket", "device", "folder", "circle", "terminal"])
def test_what_is_no_file_is_refused_and_keeps_nobody_waiting(tmp_path: Path, settings: Settings, make: Any) -> None:
    path = tmp_path / "a.csv"
    make(path)
    began = time.monotonic()
    for read in (file_sha256, find_packed, lambda one: open_source(one, "events", settings)):
        with pytest.raises((SourceError, OSError)):
            read(path)
    assert time.monotonic() - began < 10
