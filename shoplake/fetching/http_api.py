"""Records of a service that answers with JSON, page by page."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shoplake.errors import SourceError
from shoplake.fetching.definitions import HttpSource, look_into, read_secret

ATTEMPTS = 5
LONGEST_WAIT = 60.0
MOST_PAGES = 100_000
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
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
    headers = {"Accept": "application/json"}
    if source.token_env:
        headers["Authorization"] = f"Bearer {read_secret(source.token_env, environment)}"
    parameters: dict[str, Any] = dict(source.parameters)
    if bookmark is not None:
        parameters[source.bookmark_parameter] = bookmark
    page: Any = None if source.next else 1
    newest, last = bookmark, -1e9
    with httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
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
            page = look_into(answer, source.next) if source.next else page + 1
            if page in (None, "") or (not source.next and not records):
                yield [], newest
                return
    raise SourceError(f"{source.url} does not end after {MOST_PAGES:,} pages; is `next` right?")


def _ask(
    client: httpx.Client, source: HttpSource, parameters: dict[str, Any], sleep: Callable[[float], None],
) -> Any:
    """Ask once and, where the service is busy or does not answer, again: later each time."""
    retrying = Retrying(
        retry=retry_if_exception_type((_BusyError, httpx.TransportError)), stop=stop_after_attempt(ATTEMPTS),
        wait=_wait, sleep=sleep, reraise=True)
    try:
        return retrying(_ask_once, client, source, parameters)
    except (_BusyError, httpx.TransportError) as error:
        raise SourceError(f"{source.url} could not be read in {ATTEMPTS} attempts: {error or type(error).__name__}. "
                          "What was read so far is kept; run the command again") from error


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _BusyError) else None
    return min(LONGEST_WAIT, wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)(state) if asked is None
               else asked)


def _ask_once(client: httpx.Client, source: HttpSource, parameters: dict[str, Any]) -> Any:
    with client.stream("GET", source.url, params=parameters) as response:
        if response.status_code in _BUSY:
            said = response.headers.get("Retry-After", "")
            raise _BusyError(response.status_code, float(said) if said.isdecimal() else None)
        if response.status_code in (401, 403):
            raise SourceError(f"{source.url} refuses the request ({response.status_code}); is the token in "
                              f"{source.token_env or 'token_env (none is named)'} right?")
        if not response.is_success:
            raise SourceError(f"{source.url} answers {response.status_code}; 200 is expected, and redirects are not "
                              "followed")
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > source.page_bytes:
                raise SourceError(f"a page of {source.url} has more than {source.page_bytes:,} bytes; ask for smaller "
                                  "pages, or raise page_bytes")
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError as error:
        raise SourceError(f"{source.url} does not answer with JSON: {error}") from error


def _newest(source: HttpSource, records: list[dict[str, Any]], newest: str | None) -> str | None:
    """Give the greatest bookmark of the records and of those before: numbers by size, texts by their order."""
    marks = [mark for record in records if (mark := look_into(record, source.bookmark_field)) is not None]
    if records and not marks:
        raise SourceError(f"no record of {source.url} has {source.bookmark_field}, from which the next run would go on")
    found = [*map(str, marks), *([newest] if newest is not None else [])]
    is_number = all(mark.lstrip("-").isdecimal() for mark in found)
    return max(found, key=(lambda mark: (int(mark), mark)) if is_number else (lambda mark: (0, mark)), default=None)
