"""Services that lie, dawdle, swell or lead elsewhere, as real servers on this machine: what holds, by which bound."""

import gzip
import json
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from fuzz_bounds import fuzz
from hypothesis import given
from hypothesis import strategies as st
from secure_broker import make_certificates

from shoplake.errors import ConfigError, ShoplakeError, SourceError
from shoplake.fetching import connections, delivery, http_api
from shoplake.fetching.connections import is_allowed, look_up
from shoplake.fetching.definitions import HttpSource, load_definitions
from shoplake.fetching.delivery import Bookmarks, deliver_pages
from shoplake.settings import Settings, load_settings

Talk = Callable[[socket.socket], None]
FIELDS = {name: name for name in ("event_id", "event_time", "user_id", "product_id", "category", "price", "quantity",
                                  "event_type")}
RECORD = {**dict.fromkeys(FIELDS, "x"), "at": "1"}
PAGE = json.dumps({"rows": [RECORD]}).encode()


class Server:
    """Speaks what it is told to whoever connects, byte by byte; `asked` are the requests."""

    def __init__(self, talk: Talk) -> None:
        self.asked: list[bytes] = []
        self._talk = talk
        self.first_bytes = 65536
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self.first_bytes:
                    self.asked.append(connection.recv(self.first_bytes))
                self._talk(connection)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was hung up on, as it should be

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Talk | bytes], Server]]:
    servers: list[Server] = []

    def serve(talk: Talk | bytes) -> Server:
        servers.append(Server(talk if callable(talk) else lambda connection: connection.sendall(talk)))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return load_settings()


def source(address: str, **other: Any) -> HttpSource:
    return HttpSource(**{"kind": "http_api", "url": address, "private_network": True, "records": "rows", "next": "next",
                         "bookmark_parameter": "since", "bookmark_field": "at", "fields": FIELDS, "page_seconds": 2.0,
                         "page_bytes": 100_000, "requests_per_second": 10_000, **other})


def read(server: Server, **other: Any) -> list[Any]:
    pages = http_api.read_pages(source(f"http://127.0.0.1:{server.port}/", **other), None, os.environ, lambda _: None)
    return [row for rows, _ in pages for row in rows]


def ok(body: bytes, *headers: str, length: int | None = None) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *headers,
                                              f"Content-Length: {len(body) if length is None else length}", ""))
    return head.encode() + body


# --- which addresses


PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8")
PRIVATE = ("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "::1", "fc00::1", "fd12::1",
           "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::a00:1", "fec0::1",
           "2002:7f00:1::", "2002:c0a8:101::", "64:ff9b::7f00:1")
NEVER = ("169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
         "192.88.99.1", "2002:a9fe:a9fe::",
         "fe80::1", "fe80::1%lo", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
         "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0")


@pytest.mark.parametrize(("addresses", "by_default", "if_private"), [
    (PUBLIC, True, False), (PRIVATE, False, True), (NEVER, False, False)], ids=["public", "private", "never"])
def test_addresses_by_their_kind(addresses: tuple[str, ...], by_default: bool, if_private: bool) -> None:
    for one in addresses:
        assert (is_allowed(ip_address(one), False), is_allowed(ip_address(one), True)) == (by_default, if_private), one


@pytest.mark.parametrize("host", [
    "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "0.0.0.0", "0", "LOCALHOST", "127.0.0.1.", "ⓛocalhost", "１２７.0.0.1"])
def test_this_machine_is_refused_however_it_is_written(serve: Any, host: str) -> None:
    server = serve(ok(PAGE))
    with pytest.raises(SourceError) as refused:
        list(http_api.read_pages(source(f"http://{host}:{server.port}/", private_network=False), None, {},
                                 lambda _: None))
    assert server.asked == []
    said = str(refused.value)
    assert [one for one in ("nothing was sent", "is not known", "no address can be made of") if one in said], said
    if host in ("127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0"):
        assert "nothing was sent" in said


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Put a name server in the place of the machine's: each question gets the next answer, the last one stays."""
    told, asked = list(answers), list[str]()

    def answer(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host[0].isdigit():
            addresses = [host]
        else:
            asked.append(host)
            addresses = told.pop(0) if len(told) > 1 else told[0]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize("addresses", [
    ["10.1.2.3"], ["169.254.169.254"], ["93.184.216.34", "127.0.0.1"], ["::ffff:192.168.0.1"]])
def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    names(monkeypatch, addresses)
    with pytest.raises(SourceError, match=r"shop\.example is at .*nothing was sent"):
        list(http_api.read_pages(source("https://shop.example/", private_network=False), None, {}, lambda _: None))


def test_a_name_that_changes_after_the_check_does_not_change_where_it_connects(
    monkeypatch: pytest.MonkeyPatch, serve: Any,
) -> None:
    """The first answer is taken for public here; the second one would lead to another server of this machine."""
    meant, other = serve(ok(PAGE)), serve(ok(PAGE))
    asked = names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    judged: list[str] = []
    monkeypatch.setattr(connections, "is_allowed", lambda address, _: not judged.append(str(address)))
    assert len(list(http_api.read_pages(source(f"http://shop.example:{meant.port}/", private_network=False), None, {},
                                        lambda _: None))) == 2
    assert (asked, judged, len(meant.asked), other.asked) == (["shop.example"], ["127.0.0.1"], 1, [])
    assert b"Host: shop.example" in meant.asked[0]
    assert look_up("shop.example", 80, True) == ["127.0.0.2"]


def test_metadata_is_refused_also_where_private_networks_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["169.254.169.254"])
    with pytest.raises(SourceError, match="which no source may be at"):
        list(http_api.read_pages(source("http://metadata.google.internal/"), None, {}, lambda _: None))


def test_the_certificate_must_be_the_names(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checked address does not take the place of the name: TLS still asks for it, and for who vouches."""
    _, certificate = make_certificates(tmp_path)

    def talk(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(ok(PAGE))

    server = serve(talk)
    server.first_bytes = 0  # the handshake is the talk's
    monkeypatch.setattr(http_api, "ATTEMPTS", 1)
    with pytest.raises(SourceError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        list(http_api.read_pages(source(f"https://localhost:{server.port}/"), None, {}, lambda _: None))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:{port}/",
                                    "file:///etc/passwd", "//127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/"])
def test_no_redirect_is_followed(serve: Any, status: int, target: str) -> None:
    inside = serve(ok(PAGE))
    place = target.format(port=inside.port)
    outside = serve(f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
    with pytest.raises(SourceError, match="redirects are not followed"):
        read(outside)
    assert (len(outside.asked), inside.asked) == (1, [])


def test_no_proxy_of_the_environment_is_taken(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(ok(PAGE)), serve(ok(PAGE))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert len(read(server)) == 1
    assert proxy.asked == []


@pytest.mark.parametrize(("change", "said"), [
    ("url: 'ftp://shop.example/'", "url"), ("url: 'file:///etc/passwd'", "url"), ("url: 'http:///x'", "url must have"),
    ("url: 'https://shop.example@10.0.0.1/'", "no login"),
    ("url: 'https://user:word@shop.example/'", "no login"),  # pragma: allowlist secret
    ("url: 'http://shop.example\\@10.0.0.1/'", "url"), ("url: \"http://shop.example/\\r\\nHost: x\"", "url"),
    ("url: 'http://shop.example/', token_env: SHOP_TOKEN", "must be https where a token is sent"),
    ("url: 'https://shop.example/', page_seconds: 0", "page_seconds"),
    ("url: 'https://shop.example/', private_network: {}", "private_network"),
])
def test_a_definition_that_could_lead_astray_is_refused(tmp_path: Path, change: str, said: str) -> None:
    fields = json.dumps(FIELDS)
    (tmp_path / "sources.yaml").write_text(
        f"a: {{kind: http_api, bookmark_parameter: s, bookmark_field: f, fields: {fields}, {change}}}")
    with pytest.raises(ConfigError, match=said):
        load_definitions(tmp_path / "sources.yaml")


# --- size, time, memory


def drip(first: bytes, again: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(again)
            time.sleep(0.05)

    return talk


@pytest.mark.parametrize("talk", [
    drip(b"", b"H"), drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"), drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), drip(ok(b"", length=99_000), b" "),
    drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"x"),
], ids=["status", "header", "headers", "continue", "body", "chunks", "chunk"])
def test_who_dawdles_is_left_after_page_seconds(
    serve: Any, monkeypatch: pytest.MonkeyPatch, talk: Talk,
) -> None:
    monkeypatch.setattr(http_api, "ATTEMPTS", 1)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"page_seconds|time|disconnected|attempts"):
        read(serve(talk), page_seconds=0.6)
    assert 0.5 < time.monotonic() - began < 10, "not the 30 s of a single wait, nor for ever"


@pytest.mark.parametrize(("answer", "said"), [
    (ok(PAGE, length=len(PAGE) + 5), "could not be read in 5 attempts"),
    (ok(PAGE, length=10**15), "could not be read"), (ok(PAGE, length=5), "JSON|could not be read"),
    (ok(b"x" * 100_001), "more than 100,000 bytes"), (ok(b" " * 100_001, length=10), "JSON|could not be read"),
    (ok(PAGE, "Content-Length: 3"), "could not be read"), (b"", "could not be read"),
    (b"\x00" * 100, "could not be read"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000, "could not be read"),
    (b"SSH-2.0-OpenSSH\r\n", "could not be read"),
    (ok(b"[" * 99_000), "JSON"), (ok(b'{"rows":' * 9_000), "JSON"), (ok(b"9" * 99_000), "JSON|without a list"),
    (ok(b"\xff\xfe" + b"\x00" * 9), "JSON"), (ok(PAGE, "Content-Encoding: br"), "packed by 'br'"),
    (ok(PAGE, "Content-Encoding: gzip, gzip"), "packed by 'gzip, gzip'"),
    (ok(PAGE, "Content-Encoding: gzip"), "does not answer with gzip"),
    (ok(gzip.compress(PAGE, mtime=0)[:20], "Content-Encoding: gzip"), "JSON"),
    (ok(b'{"rows": [{"at": {}}]}'), "can be no bookmark"),
    (ok(b'{"rows": [{"at": "' + b"9" * 9000 + b'"}]}'), "no bookmark"),
    (ok(b'{"rows": [], "next": {"a": 1}}'), "names a next page"),
    (ok(b'{"rows": [], "next": "a"}'), "that it gave before"),
    (ok(b'{"rows": [], "next": "' + b"a" * 70_000 + b'"}'), "no text of up to 1,000"),
    (ok(b'{"rows": [], "next": "\\ud800"}'), "no address can be made|could not be read|gave before"),
], ids=str)
def test_an_answer_that_lies_is_refused_in_our_words(serve: Any, answer: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read(serve(answer))


@pytest.mark.parametrize("pack", [
    lambda zeros: gzip.compress(zeros, 9), lambda zeros: gzip.compress(gzip.compress(zeros, 9), 9),
    lambda zeros: b"".join(gzip.compress(zeros[: 1 << 20], 9) for _ in range(16))], ids=["once", "twice", "members"])
def test_a_packed_bomb_is_left_before_it_has_grown(
    serve: Any, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes],
) -> None:
    """64 MB in 64 kB: never more than page_bytes of it are unpacked."""
    unpacked = [0]
    honest = zlib.decompressobj

    class Counting:
        def __init__(self, **arguments: Any) -> None:
            self._inner = honest(**arguments)

        @property
        def unconsumed_tail(self) -> bytes:
            return self._inner.unconsumed_tail

        def decompress(self, data: bytes, limit: int) -> bytes:
            given = self._inner.decompress(data, limit)
            unpacked[0] += len(given)
            return given

    monkeypatch.setattr(http_api.zlib, "decompressobj", Counting)
    body = pack(b" " * (64 << 20))
    with pytest.raises(SourceError, match=r"more than 100,000 bytes|JSON"):
        read(serve(ok(body, "Content-Encoding: gzip")))
    assert 0 < unpacked[0] <= 100_001 or unpacked[0] <= len(body)


def test_a_packed_answer_is_read(serve: Any) -> None:
    assert read(serve(ok(gzip.compress(PAGE), "Content-Encoding: gzip"))) == [RECORD]


def test_more_objects_than_the_memory_takes_are_refused(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_api, "MOST_OBJECTS", 1000)
    with pytest.raises(SourceError, match="more than 1,000 objects and lists"):
        read(serve(ok(b'{"rows": [' + b"[]," * 1000 + b"[]]}")))


# --- what stands in a record


@pytest.mark.parametrize(("cell", "text"), [
    ('"\\ud800 half"', "\\ud800 half"), ("1e999999999", "1E+999999999"), ("-1e-999999999", "-1E-999999999"),
    ("0e999999999", "0E+999999999"), ("1.50", "1.50"), ("1e3", "1000"), ("NaN", "nan"), ('"a\\u0000b"', "a\0b"),
    ('{"a": ["\\udc00"]}', '{"a": ["\\udc00"]}'), ("1e9999999999999999999", None),
])
def test_a_value_that_no_file_could_hold_does_not_stop_the_others(
    serve: Any, settings: Settings, cell: str, text: str | None,
) -> None:
    import pyarrow.parquet as pq

    body = PAGE.replace(b'"price": "x"', f'"price": {cell}'.encode())
    if text is None:
        with pytest.raises(SourceError, match="JSON"):
            read(serve(ok(body)))
        return
    rows = read(serve(ok(body)))
    assert deliver(rows, settings) == 1
    (path,) = (settings.landing_path / "events").glob("*.parquet")
    (row,) = pq.read_table(path).to_pylist()
    assert row["price"] == text


def deliver(rows: list[dict[str, Any]], settings: Settings) -> int:
    pages = [(rows, None), ([], "1")]
    given = deliver_pages("shop", source("https://shop.example/"), pages, settings, Bookmarks(settings, "shop"))
    return sum(count for _, count in given)


def test_fields_without_end_make_no_table_without_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_COLUMNS", 50)
    rows = [{**RECORD, f"field {number}": 1} for number in range(60)]
    with pytest.raises(SourceError, match="different fields; allowed are 50"):
        deliver(rows, settings)
    assert not list((settings.landing_path / "events").glob("*"))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec=None), max_size=9),
              st.sampled_from(["", "1", "-1", "--1", "²", "2026-03-01", "9" * 50])),
    lambda inner: st.one_of(st.lists(inner, max_size=4),
                            st.dictionaries(st.sampled_from([*FIELDS, "rows", "next", "at", "\ud800", "é"]), inner)),
    max_leaves=12)


@fuzz(30)
@given(st.one_of(
    st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys([*FIELDS, "at"], JSON)), max_size=3).map(
        lambda rows: json.dumps({"rows": rows}).encode()),
    JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)), st.integers(0, 400),
    st.binary(max_size=3))
def test_no_body_leaves_another_error_than_ours(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, at: int, noise: bytes,
) -> None:
    """Over the wire as they are, and with some bytes put in."""
    for sent in (ok(body), ok(body)[:at] + noise + ok(body)[at:]):
        server = Server(lambda connection, sent=sent: connection.sendall(sent))  # type: ignore[misc]
        settings = load_settings().model_copy(update={"data_dir": tmp_path_factory.mktemp("fuzz")})
        with suppress(ShoplakeError):
            deliver(read(server), settings)
        server.close()
