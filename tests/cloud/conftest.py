"""A server that stands for Google's BigQuery and says only what a test gives it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shoplake.warehouse.bigquery import jobs

Reply = tuple[int, dict[str, Any]]


class Google:
    """A server whose replies the test gives one after the other, the last one for ever; it keeps what it was sent.

    With `respond` it asks the test for the reply to a method and a path.
    """

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.respond: Callable[[str, str], Reply] | None = None
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.contents: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        google = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_json = "json" in self.headers.get("Content-Type", "")
                google.requests.append((self.command, self.path, json.loads(sent) if sent and is_json else {}))
                google.contents.append(sent)
                if google.respond:
                    status, body = google.respond(self.command, self.path)
                else:
                    status, body = google.replies.pop(0) if len(google.replies) > 1 else google.replies[0]
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Location", google.address + "/upload")  # where a file's content goes
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    server = Google()
    monkeypatch.setenv("SHOPLAKE_PROFILE", "dev")
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", server.address)
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "lake")
    # The waits between two tries are ours; nobody wants to wait for them here.
    monkeypatch.setattr(jobs, "RETRY", jobs.RETRY.with_delay(0.01, 0.02, 2).with_timeout(0.5))
    monkeypatch.setattr(jobs, "_JOB_RETRY", jobs._JOB_RETRY.with_delay(0.01, 0.02, 2).with_timeout(0.5))
    yield server
    server.close()
