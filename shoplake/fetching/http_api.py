"""Records of a service that answers with JSON, page by page."""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any

import httpcore
import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shoplake.errors import SourceError
from shoplake.fetching.connections import GuardedBackend
from shoplake.fetching.definitions import HttpSource, look_into, read_variable

ATTEMPTS = 5
LONGEST_WAIT = 60.0
MOST_PAGES = 100_000
MOST_OBJECTS = 2_000_000  # objects and lists of a page: the memory takes some hundred bytes for each
MAX_MARK = 1_000  # characters of a bookmark, or of a page's name: both travel in an address
_TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}
_NO_ANSWER = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class _BusyError(Exception):
    """The service asks to be left alone for a while.

    Attributes:
        wait: seconds, where it says so.
    """

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__(f"it answers {status}")
        self.wait = wait


def read_pages(
    source: HttpSource, bookmark: str | None, environment: Mapping[str, str],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
    """Give records from the bookmark on, page by page; at the end no records and the greatest bookmark of all.

    Not before the end, because nobody promises in which order a service answers.

    Args:
        environment: holds the token.

    Raises:
        ConfigError: the token is not set.
        SourceError: the service refuses, or fails for good, or answers with something else.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "shoplake"}
    if source.token_env:
        headers["Authorization"] = f"Bearer {read_variable(source.token_env, environment)}"
    parameters: dict[str, Any] = dict(source.parameters)
    if bookmark is not None:
        parameters[source.bookmark_parameter] = bookmark
    page: Any = None if source.next else 1
    newest, last, seen = bookmark, -1e9, set[str]()
    with closing(_Client(source, headers)) as client:
        for _ in range(MOST_PAGES):
            if page is not None:
                parameters[source.page_parameter] = page
            sleep(max(0.0, last + 1 / source.requests_per_second - time.monotonic()))
            last = time.monotonic()
            answer = _ask(client, source, parameters, sleep)
            records = look_into(answer, source.records)
            if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
                raise SourceError(f"{source.url} answers without a list of objects at {source.records or 'its root'!r}")
            newest = _newest(source, records, newest)
            yield records, None
            page = _next_page(source, look_into(answer, source.next), seen) if source.next else page + 1
            if page in (None, "") or (not source.next and not records):
                yield [], newest
                return
    raise SourceError(f"{source.url} does not end after {MOST_PAGES:,} pages; is `next` right?")


class _Client:
    """Asks one service, where it may be; it follows no redirect, and takes no proxy of the environment."""

    def __init__(self, source: HttpSource, headers: Mapping[str, str]) -> None:
        self._backend = GuardedBackend(source.page_seconds, source.private_network)
        self._pool = httpcore.ConnectionPool(max_connections=1, network_backend=self._backend)
        self._headers = headers
        self._source = source

    def close(self) -> None:
        self._pool.close()

    def get(self, parameters: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Give status, headers and unpacked body; within page_seconds and page_bytes."""
        try:
            asked = httpx.Request("GET", self._source.url, params=parameters, headers=self._headers)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise SourceError(f"no address can be made of {self._source.url} and its parameters: {error}") from error
        address = httpcore.URL(scheme=asked.url.raw_scheme, host=asked.url.raw_host, port=asked.url.port,
                               target=asked.url.raw_path)
        self._backend.begin()
        with self._pool.stream("GET", address, headers=asked.headers.raw, extensions={"timeout": _TIMEOUTS}) as answer:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            return answer.status, headers, _read_body(answer, headers, self._source) if _is_good(answer.status) else b""


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _read_body(answer: httpcore.Response, headers: Mapping[str, str], source: HttpSource) -> bytes:
    """Read a body, and unpack it by pieces, so that one that grows without end does not fill the memory."""
    packing = headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", ""):
        raise SourceError(f"{source.url} answers packed by {packing[:50]!r}; asked for was gzip, or not packed")
    gzip = zlib.decompressobj(wbits=31) if packing == "gzip" else None
    body = bytearray()
    try:
        for part in answer.iter_stream():
            while part:
                body += gzip.decompress(part, source.page_bytes + 1 - len(body)) if gzip else part
                part = gzip.unconsumed_tail if gzip else b""
                if len(body) > source.page_bytes:
                    raise SourceError(f"a page of {source.url} has more than {source.page_bytes:,} bytes; ask for "
                                      "smaller pages, or raise page_bytes")
    except zlib.error as error:
        raise SourceError(f"{source.url} does not answer with gzip, as it says: {error}") from error
    return bytes(body)


def _next_page(source: HttpSource, page: Any, seen: set[str]) -> Any:
    """Give the next page's name; None at the end."""
    if page in (None, ""):
        return None
    if not isinstance(page, str | int | Decimal) or len(str(page)) > MAX_MARK or str(page) in seen:
        what = "that it gave before" if str(page) in seen else f"that is no text of up to {MAX_MARK:,} characters"
        raise SourceError(f"{source.url} names a next page at {source.next!r} {what}: {str(page)[:60]!r}; is `next` "
                          "right?")
    seen.add(str(page))
    return page


def _ask(
    client: _Client, source: HttpSource, parameters: dict[str, Any], sleep: Callable[[float], None],
) -> Any:
    """Ask once and, where the service is busy or does not answer, again: later each time."""
    retrying = Retrying(
        retry=retry_if_exception_type((_BusyError, *_NO_ANSWER)), stop=stop_after_attempt(ATTEMPTS),
        wait=_wait, sleep=sleep, reraise=True)
    try:
        return retrying(_ask_once, client, source, parameters)
    except (_BusyError, *_NO_ANSWER) as error:
        raise SourceError(f"{source.url} could not be read in {ATTEMPTS} attempts: {error or type(error).__name__}. "
                          "What was read so far is kept; run the command again") from error


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _BusyError) else None
    return min(LONGEST_WAIT, wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)(state) if asked is None
               else asked)


def _ask_once(client: _Client, source: HttpSource, parameters: dict[str, Any]) -> Any:
    status, headers, body = client.get(parameters)
    if status in _BUSY:
        said = headers.get("retry-after", "")
        raise _BusyError(status, float(said) if said.isdecimal() else None)
    if status in (401, 403):
        raise SourceError(f"{source.url} refuses the request ({status}); is the token in "
                          f"{source.token_env or 'token_env (none is named)'} right?")
    if not _is_good(status):
        raise SourceError(f"{source.url} answers {status}; 200 is expected, and redirects are not followed")
    if body.count(b"{") + body.count(b"[") > MOST_OBJECTS:
        raise SourceError(f"a page of {source.url} has more than {MOST_OBJECTS:,} objects and lists; ask for smaller "
                          "pages")
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise SourceError(f"{source.url} does not answer with JSON: {error}") from error


def _newest(source: HttpSource, records: list[dict[str, Any]], newest: str | None) -> str | None:
    """Give the greatest bookmark of the records and of those before: numbers by size, texts by their order."""
    marks = [mark for record in records if (mark := look_into(record, source.bookmark_field)) is not None]
    if records and not marks:
        raise SourceError(f"no record of {source.url} has {source.bookmark_field}, from which the next run would go on")
    if any(not isinstance(mark, str | int | Decimal) or len(str(mark)) > MAX_MARK for mark in marks):
        raise SourceError(f"a record of {source.url} has something at {source.bookmark_field} that is no number or "
                          f"text of up to {MAX_MARK:,} characters: it can be no bookmark")
    found = [*map(str, marks), *([newest] if newest is not None else [])]
    is_number = all(re.fullmatch("-?[0-9]+", mark) for mark in found)
    return max(found, key=(lambda mark: (int(mark), mark)) if is_number else (lambda mark: (0, mark)), default=None)
