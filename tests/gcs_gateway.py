"""A door in front of fake-gcs-server that adds what it lacks of Cloud Storage's protocol, and passes on the rest.

Run it as a program: `python tests/gcs_gateway.py PORT http://127.0.0.1:UPSTREAM`. It adds

- uploads of the XML API (a plain PUT with `x-goog-if-generation-match`), by which delta-rs writes;
- lists of the XML API with `start-after`, `max-keys` and pages;
- `ifGenerationMatch` of resumable uploads, copies and deletes, which fake-gcs-server 1.54 takes for granted;
- 403 in Google's words for every object of a bucket whose name begins with `denied`.
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

JSON_API: Final = "/storage/v1/b/"
UPLOADS: Final = "/upload/storage/v1/b/"
DENIED: Final = "denied"
# A connection's own headers; all others are passed on.
HOP_BY_HOP: Final = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}
BOUNDARY: Final = "shoplake-gateway-part"

Answer = tuple[int, dict[str, str], bytes]


class Gateway(ThreadingHTTPServer):
    """The server, and what its threads share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, upstream: str) -> None:
        super().__init__(("127.0.0.1", port), Door)
        self.upstream = urlsplit(upstream).netloc
        # A condition and the write that hangs on it are one step.
        self.conditional = threading.Lock()
        # Resumable upload -> its object, and the generation that it may replace.
        self.sessions: dict[str, tuple[str, int | None]] = {}


class Door(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Gateway

    def setup(self) -> None:
        super().setup()
        self.behind = http.client.HTTPConnection(self.server.upstream, timeout=60)

    def finish(self) -> None:
        self.behind.close()
        super().finish()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: fake-gcs-server logs each request itself."""

    def answer(self) -> None:
        """Take one request."""
        body = self.read_body()
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, name = locate(parts.path, query)
        if bucket.startswith(DENIED) and not (bucket and parts.path == JSON_API.rstrip("/")):
            status, headers, content = deny(bucket, name)
        elif parts.path.startswith(("/storage/", "/upload/", "/download/", "/batch/", "/_internal/", "/resumable/")):
            status, headers, content = self.pass_json(parts.path, query, bucket, name, body)
        elif self.command == "PUT" and not query:
            status, headers, content = self.upload(bucket, name, body)
        elif self.command == "GET" and not name:
            status, headers, content = self.list_objects(bucket, query)
        else:
            # Under its own name only does fake-gcs-server find the bucket in the path.
            status, headers, content = self.ask(
                self.command, self.path, body, dict(self.headers), self.server.upstream)
        self.send_response_only(status)
        has_own_length = self.command == "HEAD" and "Content-Length" in headers
        for key, value in headers.items():
            if key.lower() not in HOP_BY_HOP or (has_own_length and key.lower() == "content-length"):
                self.send_header(key, value)
        if not has_own_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = answer

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, host: str = "",
    ) -> Answer:
        """Ask fake-gcs-server, under the client's own Host, so that the addresses in its answers lead here."""
        sent = {key: value for key, value in (headers or {}).items() if key.lower() not in HOP_BY_HOP}
        sent |= {"Host": host or self.headers["Host"], "Content-Length": str(len(body))}
        for attempt in (1, 2):
            try:
                self.behind.request(method, path, body, sent)
                response = self.behind.getresponse()
                return response.status, dict(response.getheaders()), response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.behind.close()  # an idle connection that the other side has given up
                if attempt == 2:
                    raise
        raise AssertionError

    def generation(self, bucket: str, name: str) -> int:
        """Give the object's generation; 0 where there is none."""
        status, _, content = self.ask("GET", f"{JSON_API}{bucket}/o/{quote(name, safe='')}")
        return int(json.loads(content)["generation"]) if status == 200 else 0

    def pass_json(self, path: str, query: dict[str, str], bucket: str, name: str, body: bytes) -> Answer:
        """Pass on a request of the JSON API, if its conditions hold."""
        headers = dict(self.headers)
        condition = query.get("ifGenerationMatch")
        expected = None if condition is None else int(condition)
        if "upload_id" in query:
            name, expected = self.server.sessions.get(query["upload_id"], (name, None))
        elif path.startswith(UPLOADS) and query.get("uploadType") == "resumable":
            answer = self.ask(self.command, self.path, body, headers)
            session = parse_qs(urlsplit(answer[1].get("Location", "")).query).get("upload_id", [""])[0]
            if expected is not None and session:
                self.server.sessions[session] = (name or json.loads(body)["name"], expected)
            return answer
        elif path.startswith(UPLOADS) and query.get("uploadType") == "multipart":
            expected = None  # the one condition that fake-gcs-server checks by itself
        source = query.get("ifSourceGenerationMatch")
        if expected is None and source is None:
            return self.ask(self.command, self.path, body, headers)
        with self.server.conditional:
            if expected is not None and self.generation(bucket, name) != expected:
                return refuse()
            if source is not None and self.generation(*locate_source(path)) != int(source):
                return refuse()
            return self.ask(self.command, self.path, body, headers)

    def upload(self, bucket: str, name: str, body: bytes) -> Answer:
        """Turn an upload of the XML API into one of the JSON API."""
        query = {"uploadType": "multipart", "name": name}
        if (condition := self.headers.get("x-goog-if-generation-match")) is not None:
            query["ifGenerationMatch"] = condition
        kind = self.headers.get("Content-Type", "application/octet-stream")
        metadata = json.dumps({"name": name, "contentType": kind}).encode()
        parts = (b"--%(b)s\r\nContent-Type: application/json\r\n\r\n%(metadata)s\r\n"
                 b"--%(b)s\r\nContent-Type: %(kind)s\r\n\r\n%(body)s\r\n--%(b)s--\r\n"
                 % {b"b": BOUNDARY.encode(), b"metadata": metadata, b"kind": kind.encode(), b"body": body})
        headers = {"Content-Type": f"multipart/related; boundary={BOUNDARY}"}
        with self.server.conditional:
            status, _, content = self.ask("POST", f"{UPLOADS}{bucket}/o?{urlencode(query)}", parts, headers)
        if status != 200:
            return xml_error(status, {412: "PreconditionFailed", 404: "NoSuchBucket"}.get(status, "InternalError"))
        stored = json.loads(content)
        return 200, {"ETag": f'"{stored["etag"]}"', "x-goog-generation": stored["generation"]}, b""

    def list_objects(self, bucket: str, query: dict[str, str]) -> Answer:
        """Answer a list of the XML API from one of the JSON API."""
        start = query.get("start-after", "")
        wanted = {"prefix": query.get("prefix", ""), "delimiter": query.get("delimiter", ""),
                  "maxResults": query.get("max-keys", "1000"), "startOffset": start,
                  "pageToken": query.get("continuation-token", "")}
        path = f"{JSON_API}{bucket}/o?{urlencode({key: value for key, value in wanted.items() if value})}"
        status, _, content = self.ask("GET", path)
        if status != 200:
            return xml_error(status, "NoSuchBucket" if status == 404 else "InternalError")
        found = json.loads(content)
        items = [item for item in found.get("items", []) if item["name"] > start]
        token = found.get("nextPageToken", "")
        rows = "".join(
            f"<Contents><Key>{escape(item['name'])}</Key><Generation>{item['generation']}</Generation>"
            f"<Size>{item['size']}</Size><LastModified>{item['updated']}</LastModified>"
            f"<ETag>&quot;{escape(item['etag'])}&quot;</ETag></Contents>" for item in items)
        rows += "".join(f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
                        for prefix in found.get("prefixes", []))
        rows += f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        return 200, {"Content-Type": "application/xml"}, (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{bucket}</Name>'
            f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>{rows}</ListBucketResult>").encode()


def locate(path: str, query: dict[str, str]) -> tuple[str, str]:
    """Give the bucket and the object that a request is for; a copy is for its target. A name's slashes are encoded."""
    for prefix in (JSON_API, UPLOADS, "/download/storage/v1/b/"):
        if path.startswith(prefix):
            target = path.rsplit("/b/", 1)[-1] if "/rewriteTo/" in path else path.removeprefix(prefix)
            bucket, _, name = target.partition("/o")
            return unquote(bucket), unquote(name.removeprefix("/").split("/")[0]) or query.get("name", "")
    bucket, _, name = path.removeprefix("/").partition("/")
    return unquote(bucket), unquote(name)


def locate_source(path: str) -> tuple[str, str]:
    """Give the bucket and the object that a copy reads."""
    bucket, _, name = path.removeprefix(JSON_API).split("/rewriteTo/")[0].partition("/o/")
    return unquote(bucket), unquote(name)


def refuse() -> Answer:
    """Give the JSON API's answer to a condition that does not hold."""
    return json_error(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")


def deny(bucket: str, name: str) -> Answer:
    """Give Google's answer to one who may not do it."""
    what = f"the Google Cloud Storage object {bucket}/{name}" if name else "the Google Cloud Storage bucket"
    return json_error(403, f"stranger@example.iam.gserviceaccount.com does not have storage.objects.get access to "
                           f"{what}. Permission 'storage.objects.get' denied on resource (or it may not exist).",
                      "forbidden")


def json_error(status: int, message: str, reason: str) -> Answer:
    """Give an error as the JSON API writes it."""
    error = {"code": status, "message": message,
             "errors": [{"message": message, "domain": "global", "reason": reason}]}
    return status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode()


def xml_error(status: int, code: str) -> Answer:
    """Give an error as the XML API writes it."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return status, {"Content-Type": "application/xml"}, text.encode()


if __name__ == "__main__":
    Gateway(int(sys.argv[1]), sys.argv[2]).serve_forever()
