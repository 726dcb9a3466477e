"""A door in front of bqemulator: what a load job reads is fetched from Cloud Storage's emulator, the rest passed on.

bqemulator takes `gs://bucket/name` for a file of a folder. The storage emulator that Spark and delta-rs need keeps its
objects in memory, so each is brought there before the job begins.
"""

import http.client
import json
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}


class Gateway(ThreadingHTTPServer):
    """The server, what it stands before, and the addresses that load jobs have named."""

    daemon_threads = True

    def __init__(self, port: int, upstream: str, storage: str, buckets: Path) -> None:
        super().__init__(("127.0.0.1", port), Door)
        self.upstream = urlsplit(upstream).netloc
        self.storage, self.buckets = storage, buckets
        self.loaded: list[str] = []

    def fetch(self, address: str) -> None:
        """Bring one object into the emulator's folder."""
        bucket, _, name = address.removeprefix("gs://").partition("/")
        path = f"{self.storage}/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media"
        with urllib.request.urlopen(path, timeout=30) as answer:
            file = self.buckets / bucket / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(answer.read())
        self.loaded.append(address)


class Door(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    server: Gateway

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        """Take one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "POST" and self.path.startswith("/bigquery/") and b"sourceUris" in body:
            for address in json.loads(body)["configuration"]["load"]["sourceUris"]:
                self.server.fetch(address)
        behind = http.client.HTTPConnection(self.server.upstream, timeout=120)
        sent = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
        behind.request(self.command, self.path, body or None, sent)
        response = behind.getresponse()
        content = response.read()
        self.send_response_only(response.status)
        for key, value in response.getheaders():
            if key.lower() not in HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        behind.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = answer
