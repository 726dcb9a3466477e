"""Fetching from a database and a service: every row arrives, twice at most, and a run that dies loses none."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from shoplake.errors import ConfigError, LockError, SourceError
from shoplake.fetching import database, delivery, http_api
from shoplake.fetching.definitions import DatabaseSource, HttpSource, PublicSet, load_definitions
from shoplake.fetching.delivery import Bookmarks, deliver_file, deliver_pages, map_row
from shoplake.fetching.public_sets import download
from shoplake.settings import PROJECT_ROOT, Settings, load_settings
from shoplake.sources import open_source

FIELDS = {"event_id": "id", "event_time": "at", "user_id": "who", "product_id": "sku", "category": "dep",
          "price": "price", "quantity": "n"}
CONSTANTS: dict[str, str | int] = {"event_type": "order_created", "schema_version": 2}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return load_settings()


def fetched(settings: Settings) -> list[dict[str, Any]]:
    """Give all rows in the landing folder, file by file."""
    return [row for path in sorted((settings.landing_path / "events").glob("*.parquet"))
            for row in pq.read_table(path).to_pylist()]


# --- definitions


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_shipped_definitions_are_right_and_read_by_sources_that_there_are() -> None:
    from shoplake.sources import list_sources

    shipped = load_definitions(PROJECT_ROOT / "configs" / "sources.yaml")
    assert {name: one.source for name, one in shipped.items() if isinstance(one, PublicSet)} == {
        name: name for name in ("online_retail_2", "retailrocket", "rees46")}
    assert set(shipped) <= set(list_sources(load_settings()))


def test_the_examples_are_right_once_they_are_uncommented(tmp_path: Path) -> None:
    text = (PROJECT_ROOT / "configs" / "sources.yaml").read_text()
    examples = text[text.index("# shop_orders:"):]
    bare = "\n".join(line.removeprefix("#").removeprefix(" ") for line in examples.splitlines())
    loaded = load_definitions(write(tmp_path / "sources.yaml", bare))
    assert [type(one) for one in loaded.values()] == [DatabaseSource, HttpSource]


@pytest.mark.parametrize(("text", "said"), [
    ("a: {kind: ftp}", "ftp"),
    ("a: [", "is no valid YAML"),
    ("a: {kind: public_set, dataset: x/y, source: rees46, token: s}", "token: Extra inputs are not permitted"),
    ("a: {kind: database, url_env: X, table: 't; DROP TABLE t', cursor: c, fields: {}}", "table"),
    ("a: {kind: database, url_env: X, table: t, cursor: c, fields: {event_id: i}}", "fields or constants lack"),
    ("a: {kind: database, url_env: X, table: t, cursor: c, fields: {event_id: i, prize: p}}", "no fields of the"),
    ("a: {kind: http_api, url: 'file:///etc/passwd', bookmark_parameter: s, bookmark_field: f, fields: {}}", "url"),
])
def test_a_mistake_in_a_definition_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_definitions(write(tmp_path / "sources.yaml", text))


# --- a database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.nightly)])
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'shop.db'}"
    else:
        address = request.getfixturevalue("postgres").make_database(f"shop_{tmp_path.name[-8:].replace('-', '_')}_x")
    monkeypatch.setenv("SHOP_DATABASE_URL", address)
    engine = sa.create_engine(address)
    yield engine
    engine.dispose()


ORDERS = sa.Table(
    "orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("who", sa.String), sa.Column("sku", sa.String), sa.Column("dep", sa.String),
    sa.Column("price", sa.Numeric(18, 4)), sa.Column("n", sa.Integer), sa.Column("note", sa.String),
    sa.Column("changed", sa.DateTime(timezone=True)))


def order(number: int, minutes: float, **other: Any) -> dict[str, Any]:
    moment = NOON + timedelta(minutes=minutes)
    return {"id": number, "at": moment, "who": f"u{number}", "sku": "p", "dep": "toys", "price": Decimal("2.5"),
            "n": 3, "note": None, "changed": moment, **other}


def of_database(**other: Any) -> DatabaseSource:
    return DatabaseSource(**{"kind": "database", "url_env": "SHOP_DATABASE_URL", "table": "orders", "cursor": "changed",
                             "overlap": 600, "fields": FIELDS, "constants": CONSTANTS, **other})


def insert(engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
    ORDERS.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(ORDERS.insert(), rows)


def fetch(source: DatabaseSource, settings: Settings) -> list[int]:
    bookmarks = Bookmarks(settings, "shop")
    pages = database.read_pages(source, bookmarks.read(), os.environ)
    return [count for _, count in deliver_pages("shop", source, pages, settings, bookmarks)]


def test_rows_of_a_database_come_in_the_order_of_its_cursor_and_new_ones_once_more(
    engine: sa.Engine, settings: Settings,
) -> None:
    insert(engine, [order(number, number, note="line\nbreak, and \"quotes\"") for number in range(60)])
    assert fetch(of_database(), settings) == [60]
    rows = fetched(settings)
    assert [row["event_id"] for row in rows] == [str(number) for number in range(60)]
    assert rows[1]["event_time"].startswith("2026-03-01T12:01:00")
    assert (rows[1]["price"], rows[1]["quantity"], rows[1]["schema_version"]) == ("2.5000", "3", "2")
    assert "source.changed" in rows[1]

    assert fetch(of_database(), settings) == [], "nothing new makes no file, though ten minutes were read again"
    # One that was written before, and committed after the others: it lies within the overlap.
    insert(engine, [order(100, 55), order(101, 61)])
    assert fetch(of_database(), settings) == [11 + 2]
    counts = Counter(row["event_id"] for row in fetched(settings))
    assert set(counts) == {*map(str, range(60)), "100", "101"}
    assert counts["100"] == counts["101"] == 1
    assert max(counts.values()) == 2


def test_what_was_fetched_are_events_of_the_contract(engine: sa.Engine, settings: Settings) -> None:
    insert(engine, [order(1, 0)])
    fetch(of_database(), settings)
    (path,) = (settings.landing_path / "events").glob("*.parquet")
    (record,) = open_source(path, "events", settings)
    assert json.loads(record.value) == {
        "event_id": "1", "event_time": "2026-03-01T12:00:00+00:00", "user_id": "u1", "product_id": "p",
        "category": "toys", "price": "2.5000", "quantity": "3", "event_type": "order_created", "schema_version": "2",
        "source.changed": "2026-03-01T12:00:00+00:00"} | {
            key: value for key, value in json.loads(record.value).items() if value is None}


def test_a_run_that_dies_between_two_files_repeats_and_loses_nothing(
    engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "FILE_ROWS", 10)
    monkeypatch.setattr(database, "PAGE_ROWS", 7)
    insert(engine, [order(number, number) for number in range(40)])
    source, bookmarks = of_database(overlap=0), Bookmarks(settings, "shop")
    dying = deliver_pages("shop", source, database.read_pages(source, None, os.environ), settings, bookmarks)
    assert next(dying)[1] == 14
    assert next(dying)[1] == 14  # it dies before the second file's bookmark
    del dying
    assert sum(fetch(source, settings)) == 40 - 13, "from the last row of the first file on"
    counts = Counter(row["event_id"] for row in fetched(settings))
    assert set(counts) == set(map(str, range(40)))
    assert max(counts.values()) == 2


def test_a_whole_number_may_be_the_cursor(engine: sa.Engine, settings: Settings) -> None:
    insert(engine, [order(number, 0) for number in range(5)])
    assert fetch(of_database(cursor="id", overlap=2), settings) == [5]
    insert(engine, [order(9, 0)])
    assert fetch(of_database(cursor="id", overlap=2), settings) == [4]


@pytest.mark.parametrize(("change", "error", "said"), [
    ({"table": "no_such"}, ConfigError, "has no table no_such"),
    ({"cursor": "stamp"}, ConfigError, "the table orders lacks stamp; it has id, at"),
    ({"cursor": "who"}, ConfigError, "neither a time nor a whole number"),
    ({"url_env": "SHOP_NO_SUCH"}, ConfigError, "SHOP_NO_SUCH is not set"),
    ({"cursor": "note"}, SourceError, "holds a NULL"),
])
def test_a_database_that_is_not_as_defined_is_named(
    engine: sa.Engine, settings: Settings, change: dict[str, str], error: type[Exception], said: str,
) -> None:
    insert(engine, [order(1, 0)])
    bookmark = "2026-03-01T12:00:00" if change.get("cursor") == "who" else None
    with pytest.raises(error, match=said):
        list(database.read_pages(of_database(**change), bookmark, os.environ))


def test_a_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    person = ":".join(("shop", "hidden-word"))
    for address in (f"postgresql+psycopg2://{person}@127.0.0.1:1/shop", f"nothing://{person}@host/x", "hidden-word"):
        monkeypatch.setenv("SHOP_DATABASE_URL", address)
        with pytest.raises((ConfigError, SourceError)) as raised:
            list(database.read_pages(of_database(), None, os.environ))
        assert "hidden-word" not in str(raised.value)


# --- a service


class Service:
    """A service of 23 records in pages of 5, newest first; `faults` are answers that come before the right ones."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = [
            {"id": f"r{number}", "at": (NOON + timedelta(minutes=number)).isoformat(), "visitor": {"id": "v"},
             "sku": "p", "dep": "c", "price": 2.675, "n": 1, "kind": "product_viewed", "extra": [1, "é"]}
            for number in range(23)]
        self.asked: list[dict[str, str]] = []
        self.faults: list[tuple[int, bytes]] = []
        self.token: str | None = None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                service.asked.append(asked)
                service.token = self.headers.get("Authorization")
                status, body = service.faults.pop(0) if service.faults else (200, service.answer(asked))
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, asked: dict[str, str]) -> bytes:
        since = asked.get("since", "")
        found = [record for record in reversed(self.records) if str(record["at"]) >= since]
        start = 5 * (int(asked.get("page", 1)) - 1)
        following = start // 5 + 2 if start + 5 < len(found) else None
        return json.dumps({"data": {"events": found[start:start + 5], "next": following}}).encode()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def of_service(service: Service, **other: Any) -> HttpSource:
    return HttpSource(**{
        "kind": "http_api", "url": f"http://127.0.0.1:{service.server.server_address[1]}/events",
        "records": "data.events", "next": "data.next", "bookmark_parameter": "since", "bookmark_field": "at",
        "requests_per_second": 1000, "private_network": True,
        "fields": {**FIELDS, "user_id": "visitor.id", "event_type": "kind"}, **other})


def call(source: HttpSource, settings: Settings, sleep: Callable[[float], None] = lambda seconds: None) -> list[int]:
    bookmarks = Bookmarks(settings, "clicks")
    pages = http_api.read_pages(source, bookmarks.read(), os.environ, sleep)
    return [count for _, count in deliver_pages("clicks", source, pages, settings, bookmarks)]


@pytest.mark.parametrize("following", ["data.next", ""])
def test_all_pages_of_a_service_come_and_later_what_is_new(
    service: Service, settings: Settings, following: str,
) -> None:
    source = of_service(service, next=following, parameters={"shop": "1"})
    assert call(source, settings) == [23]
    rows = fetched(settings)
    assert {row["event_id"] for row in rows} == {f"r{number}" for number in range(23)}
    assert {row["price"] for row in rows} == {"2.675"}, "no float on the way"
    assert {row["source.extra"] for row in rows} == {'[1, "é"]'}
    assert all(asked["shop"] == "1" for asked in service.asked)
    assert call(source, settings) == []
    service.records.append({**service.records[-1], "id": "new", "at": (NOON + timedelta(hours=1)).isoformat()})
    assert call(source, settings) == [2], "the new one, and the last one again"
    assert service.asked[-1]["since"] == (NOON + timedelta(minutes=22)).isoformat()


def test_a_busy_service_is_asked_again_and_a_dead_one_is_named(service: Service, settings: Settings) -> None:
    waits: list[float] = []
    service.faults = [(503, b""), (429, b"slow down")]
    assert call(of_service(service), settings, waits.append) == [23]
    assert all(wait <= http_api.LONGEST_WAIT for wait in waits)
    service.faults = [(500, b"")] * http_api.ATTEMPTS
    with pytest.raises(SourceError, match="in 5 attempts: it answers 500"):
        call(of_service(service), settings, waits.append)


def test_a_service_that_fails_half_way_is_read_again_from_the_same_bookmark(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "FILE_ROWS", 5)
    service.faults = []
    honest = service.answer

    def fail_on_the_third(asked: dict[str, str]) -> bytes:
        return b"<html>" if asked.get("page") == "3" else honest(asked)

    monkeypatch.setattr(service, "answer", fail_on_the_third)
    with pytest.raises(SourceError, match="does not answer with JSON"):
        call(of_service(service), settings)
    assert Bookmarks(settings, "clicks").read() is None, "its newest records came first: older ones are to come"
    monkeypatch.setattr(service, "answer", honest)
    call(of_service(service), settings)
    assert {row["event_id"] for row in fetched(settings)} == {f"r{number}" for number in range(23)}


@pytest.mark.parametrize(("fault", "said"), [
    ((302, b""), "redirects are not followed"), ((401, b""), "is the token in"), ((200, b"[]"), "without a list"),
    ((200, b'{"data": {"events": [1]}}'), "without a list of objects"), ((200, b"x" * 2001), "more than 2,000 bytes"),
    ((200, b'{"data": {"events": [{"id": "r1"}]}}'), "no record of .* has at"), ((404, b""), "answers 404"),
])
def test_an_answer_that_is_none_is_refused(
    service: Service, settings: Settings, fault: tuple[int, bytes], said: str,
) -> None:
    service.faults = [fault]
    with pytest.raises(SourceError, match=said):
        call(of_service(service, page_bytes=2000), settings)
    assert fetched(settings) == []


def test_the_token_is_sent_and_no_more_requests_than_allowed(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_API_TOKEN", "for-tests")
    waits: list[float] = []
    call(of_service(service, token_env="SHOP_API_TOKEN", requests_per_second=0.5), settings, waits.append)
    assert service.token == "Bearer for-tests"
    assert len([wait for wait in waits if 1.5 < wait <= 2]) == len(service.asked) - 1


# --- both, and public sets


def test_nested_and_unknown_values_keep_their_text(service: Service) -> None:
    mapped = map_row({"id": 7, "visitor": {"id": None}, "at": NOON, "price": Decimal("1E+2"), "flag": True},
                     of_service(service))
    more = map_row({"id": 7, "visitor": {"id": "u1", "device": "phone", "seen": {"at": "page"}}}, of_service(service))
    assert mapped["event_id"] == "7"
    assert mapped["user_id"] is None
    assert mapped["price"] == "100"
    assert mapped["source.flag"] == "true"
    assert "source.visitor" not in mapped
    assert more["user_id"] == "u1"
    assert json.loads(more["source.visitor"]) == {"device": "phone", "seen": {"at": "page"}}
    assert map_row({"visitor": "u1"}, of_service(service))["source.visitor"] == "u1", "no object, so no field took it"


def test_two_runs_at_once_are_refused(settings: Settings) -> None:
    with Bookmarks(settings, "shop").hold(), pytest.raises(LockError, match="is fetching shop now"), \
            Bookmarks(settings, "shop").hold():
        pass


@pytest.mark.parametrize(("environment", "said"), [
    ({}, "wants a token in the environment: KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"),
    ({"KAGGLE_USERNAME": "u"}, "wants a token"),
    ({"KAGGLE_API_TOKEN": "t"}, r"pip install 'shoplake\[kaggle\]'"),
])
def test_a_download_that_cannot_be_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str,
) -> None:
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)  # as if it were not installed
    wanted = PublicSet(kind="public_set", dataset="owner/name", source="rees46")
    with pytest.raises(ConfigError, match=said) as raised:
        download("rees46", wanted, tmp_path, environment)
    assert "python utils/fetch_source.py rees46 --file ARCHIVE.zip" in str(raised.value)


def test_a_given_archive_is_put_there_and_a_wrong_one_is_not(settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"PK\x03\x04 and more")
    path, sha256 = deliver_file(archive, "rees46", settings, None)
    assert path == settings.landing_path / "rees46" / "archive.zip"
    assert path.read_bytes() == archive.read_bytes()
    path.unlink()
    with pytest.raises(SourceError, match="expected is 00"):
        deliver_file(archive, "rees46", settings, "0" * 64)
    assert list(path.parent.iterdir()) == []
    assert deliver_file(archive, "rees46", settings, sha256)[1] == sha256
