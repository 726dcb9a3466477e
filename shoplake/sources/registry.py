"""All sources by name, and the one way to open a file."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shoplake.arrivals import DONE, REJECTED
from shoplake.contract.events import FIELD_NAMES, V1_FIELDS
from shoplake.errors import ConfigError, SourceError
from shoplake.sections import FileFormat
from shoplake.settings import Settings
from shoplake.sources import c2c_users, events, formats, online_retail, rees46, retailrocket
from shoplake.sources.columns import check_header
from shoplake.sources.lines import UTF8, WINDOWS, TextFile, inspect_text
from shoplake.sources.packed import PackedFile, find_packed
from shoplake.sources.records import ParsedRecord, SourceReader, unreadable


@dataclass(frozen=True)
class _CsvSource:
    """A CSV format.

    Attributes:
        format: what a file of it is called.
        columns: those that it must have.
        more: those that it may have.
        read: gives the records of a file; takes the files of `beside` too.
        currency: the money that all its lines are in; None if it is the shop's, or each line says its own.
        is_product: tells the codes of goods from those of postage and fees; None if all are goods.
        beside: names of files that hold no events, but something of each event; they lie beside the file.
        aside: names of files that a set has, and no event needs.
        holds_users: a line is a user and no event: its records go to bronze.users and not through Kafka.
        separator: between two cells of a line.
        encoding: that of all its files; None if each file shows its own.
    """

    format: str
    columns: tuple[str, ...]
    read: Callable[..., Iterator[ParsedRecord]]
    currency: str | None = None
    is_product: Callable[[str], bool] | None = None
    beside: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    holds_users: bool = False
    separator: str = ","
    encoding: str | None = None
    more: tuple[str, ...] = ()


EVENTS = "events"
_PARQUET = ".parquet"
_PACKINGS = ("", ".gz", ".zst")
_TABLES = (".csv", ".csv.gz", ".csv.zst", ".zip", _PARQUET)
_WORKBOOK = "[Content_Types].xml"
_SOURCES = {
    EVENTS: _CsvSource(events.FORMAT, V1_FIELDS, events.read_csv_events, more=FIELD_NAMES),
    online_retail.SOURCE: _CsvSource(
        "Online Retail file", online_retail.COLUMNS, online_retail.read_online_retail,
        online_retail.CURRENCY, online_retail.is_product),
    online_retail.SOURCE_2: _CsvSource(
        "Online Retail II file", online_retail.COLUMNS_2, online_retail.read_online_retail_2,
        online_retail.CURRENCY, online_retail.is_product),
    retailrocket.SOURCE: _CsvSource(
        "file of RetailRocket's events", retailrocket.COLUMNS, retailrocket.read_retailrocket,
        beside=retailrocket.PROPERTY_FILES, aside=(retailrocket.CATEGORY_FILE,)),
    rees46.SOURCE: _CsvSource("file of a REES46 store's events", rees46.COLUMNS, rees46.read_rees46),
    c2c_users.SOURCE: _CsvSource(
        "file of a C2C store's users", c2c_users.COLUMNS, c2c_users.read_c2c_users, holds_users=True),
}
_RESERVED = {*_SOURCES, DONE, REJECTED}


def list_sources(settings: Settings) -> tuple[str, ...]:
    """Give the names of all sources: the platform's, and those that `sources.formats` describes.

    Raises:
        ConfigError: one of the latter has a name that is taken, or describes what could be no event.
    """
    return tuple(_all_sources(settings))


def is_product(source: str, product_id: str) -> bool:
    """Tell whether a product_id of a source stands for goods, which can be forecast."""
    test = _look_up(source).is_product
    return test is None or test(product_id)


def holds_users(source: str) -> bool:
    """Tell whether a file of the source tells of users, and of no events."""
    return _look_up(source).holds_users


def is_part_of_set(path: Path, source: str) -> bool:
    """Tell whether a file of the source needs others beside it: an archive has them in itself."""
    return bool(_look_up(source).beside) and not any(file.member for file in _packed(path))


def find_beside(path: Path, source: str) -> list[Path]:
    """Give the files that a file of the source needs beside it.

    Raises:
        SourceError: one is missing.
    """
    found = []
    for name in _look_up(source).beside if is_part_of_set(path, source) else ():
        there = next((file for packing in _PACKINGS if (file := path.with_name(name + packing)).is_file()), None)
        if there is None:
            raise SourceError(f"{path} needs {name} (or {name}.gz, {name}.zst) in the same folder: it tells what the "
                              "events do not. Put it there, or give the whole set as one ZIP archive")
        found.append(there)
    return found


def find_files(folder: Path, source: str) -> tuple[list[Path], list[Path]]:
    """Give the files of events in a folder, in the order of their names, and those that are of no use.

    Raises:
        SourceError: there is no file of events, or a name in it is a link.
    """
    known = _look_up(source)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    linked = [path.name for path in files if path.is_symlink()]
    if linked:
        raise SourceError(f"{', '.join(linked)[:300]} in {folder} leads elsewhere; put the files themselves there")
    others = {name + packing for name in (*known.beside, *known.aside) for packing in _PACKINGS}
    rest = [path for path in files if path.name not in others]
    tables = [path for path in rest if path.name.lower().endswith(_TABLES)]
    if not tables:
        raise SourceError(f"{folder} holds no file of the source {source} (names end in {', '.join(_TABLES)})")
    return tables, [path for path in rest if path not in tables]


def open_source(
    path: Path, source: str, settings: Settings, now_ms: int | None = None, beside: Sequence[Path] | None = None,
) -> SourceReader:
    """Open a file through its source's reader: the same values in the same order, whoever reads.

    The files are CSV, also packed by gzip, zstd or ZIP (of an archive all tables in the order of their names), or, for
    the source `events`, Parquet. All checks that need no reading of records are made here, before anything is sent.

    Args:
        now_ms: milliseconds since 1970 that no record's timestamp goes beyond; the present moment if not given.
        beside: the files that `find_beside` gives, for a copy that lies elsewhere.

    Raises:
        SourceError: an unknown source, or a file that is missing, unreadable, empty, damaged or of another format.
        ConfigError: the source is in another currency than the shop, and no file of exchange rates is set: every record
            would be quarantined.
    """
    csv_source = _find_source(source, settings)
    if csv_source.currency not in (None, settings.shop.currency) and settings.rates_address is None:
        raise ConfigError(
            f"the source {source} is in {csv_source.currency}, but shop.currency is {settings.shop.currency}: without "
            "exchange rates every record would be quarantined. "
            f"Set SHOPLAKE_SHOP__RATES_FILE=<file of rates>, or SHOPLAKE_SHOP__CURRENCY={csv_source.currency}"
        )
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    if source == EVENTS and (path.suffix == _PARQUET or events.is_parquet(path)):
        parquet = events.open_parquet(path)
        return SourceReader(path, partial(events.read_parquet_events, path, parquet), now_ms, is_truncated=False)
    texts, helpers, unread = _open_texts(path, csv_source)
    helpers += [_packed(file)[0] for file in (find_beside(path, source) if beside is None else beside)]

    def read() -> Iterator[ParsedRecord]:
        for text in texts:
            yield from csv_source.read(text, *helpers)

    return SourceReader(path, read, now_ms, any(text.is_truncated for text in texts), unread)


def _look_up(source: str) -> _CsvSource:
    """Give what is true of a source's files; those that only the settings know hold events as those of EVENTS do."""
    return _SOURCES.get(source, _SOURCES[EVENTS])


def _find_source(source: str, settings: Settings) -> _CsvSource:
    known = _all_sources(settings)
    if source not in known:
        raise SourceError(f"unknown source {source!r}; there are {', '.join(known)}")
    return known[source]


def _all_sources(settings: Settings) -> dict[str, _CsvSource]:
    if taken := _RESERVED & set(settings.sources.formats):
        raise ConfigError(f"sources.formats describes {', '.join(sorted(taken))}, but the platform itself uses that "
                          "name; choose another one")
    return {**_SOURCES, **{name: _own_source(name, own) for name, own in settings.sources.formats.items()}}


def _own_source(name: str, own: FileFormat) -> _CsvSource:
    formats.check_format(name, own)
    return _CsvSource(f"file of the format sources.formats.{name}", tuple(own.fields.values()),
                      partial(formats.read_own_events, name=name, file_format=own),
                      separator=own.separator, encoding=own.encoding)


def _packed(path: Path) -> list[PackedFile]:
    try:
        return find_packed(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _open_texts(path: Path, source: _CsvSource) -> tuple[list[TextFile], list[PackedFile], list[str]]:
    """Give a file's tables of events, inspected; of an archive also what goes beside them, and names of no use."""
    files, helpers, unread = _packed(path), list[PackedFile](), list[str]()
    if any(file.member for file in files):
        files, helpers, unread = _sort_members(path, files, source)
    texts = [inspect_text(file, source.separator, source.encoding) for file in files]
    for text in texts:
        if source.encoding == WINDOWS and text.encoding == UTF8 and not text.is_ascii:
            raise SourceError(f"{text.file} is UTF-8, but a {source.format} is said to be {WINDOWS}: its names would "
                              "be misread. Set the format's encoding to utf-8")
        check_header(text.file, text.header, source.columns, source.format)
    return texts, helpers, unread


def _sort_members(
    path: Path, members: Sequence[PackedFile], source: _CsvSource,
) -> tuple[list[PackedFile], list[PackedFile], list[str]]:
    held = ", ".join(str(member.member) for member in members)[:300]
    if any(member.name == _WORKBOOK for member in members):
        raise SourceError(f"{path} is an Excel workbook; save each of its sheets as a CSV file, one after the other")
    beside = {member.name: member for member in members if member.name in source.beside}
    missing = [name for name in source.beside if name not in beside]
    if missing:
        raise SourceError(f"the archive {path} lacks {', '.join(missing)}; it holds {held}")
    rest = [member for member in members if member.name not in (*source.beside, *source.aside)]
    tables = [member for member in rest if member.name.lower().endswith(".csv")]
    if not tables:
        raise SourceError(f"the archive {path} holds no CSV file of events; it holds {held}")
    return tables, [beside[name] for name in source.beside], [str(one.member) for one in rest if one not in tables]


@dataclass(frozen=True)
class Looked:
    """What the first look at a file tells, before a record is read.

    Attributes:
        source: whose columns it has; None if those of none.
        others: columns that the source does not have; they travel along as `source.<column>`.
    """

    source: str | None
    packing: str
    encoding: str
    columns: tuple[str, ...]
    others: tuple[str, ...]


def look_at(path: Path, settings: Settings, source: str | None = None) -> Looked:
    """Tell what a file is, by its bytes and its header.

    Args:
        source: the one that it should be of; found by the header if not given.

    Raises:
        SourceError: it cannot be read at all.
    """
    if events.is_parquet(path):
        columns = tuple(events.open_parquet(path).schema_arrow.names)
        return Looked(EVENTS, "parquet", "binary", columns, tuple(name for name in columns if name not in FIELD_NAMES))
    files = _packed(path)
    aside = {name for known in _SOURCES.values() for name in (*known.beside, *known.aside)}
    tables = [file for file in files if file.name.lower().endswith(".csv") and file.name not in aside]
    known = {source: _find_source(source, settings)} if source else _all_sources(settings)
    texts = _inspect_in_all_ways((tables or files)[0], {(one.separator, one.encoding) for one in known.values()})
    for name, one in known.items():
        text = texts.get((one.separator, one.encoding))
        if text and (source or set(one.columns) <= set(text.header)):
            return Looked(name, text.file.packing, one.encoding or text.encoding, text.header,
                          tuple(column for column in text.header if column not in (*one.columns, *one.more)))
    text = texts.get((",", None)) or next(iter(texts.values()))
    return Looked(None, text.file.packing, text.encoding, text.header, ())


def _inspect_in_all_ways(
    file: PackedFile, ways: set[tuple[str, str | None]],
) -> dict[tuple[str, str | None], TextFile]:
    """Give what a file is by each separator and encoding; a way in which its first line is no header is left out."""
    texts, refused = dict[tuple[str, str | None], TextFile](), None
    for separator, encoding in sorted(ways, key=str):
        try:
            texts[separator, encoding] = inspect_text(file, separator, encoding)
        except SourceError as error:
            refused = error
    if refused and not texts:
        raise refused
    return texts
