"""The dashboard's door: nobody passes without a login where one is needed, and every answer has strict headers.

It stands before Streamlit's own server, as ASGI middleware.
"""

import base64
import hashlib
import re
import sys
from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from shoplake.dashboards.logins import COOKIE, Logins, TooManyTries, check_address, open_logins
from shoplake.errors import EXIT_USAGE, ConfigError
from shoplake.settings import LOOPBACK, hide_secrets

LOGIN, LOGOUT, HEALTH = "/login", "/logout", "/_stcore/health"
_MOST_BYTES = 4096  # of a login's form
_PAGE = re.compile(r"[a-z]{0,30}")  # of the dashboard, to which a login leads
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_LOGIN_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0; }
form { display: grid; gap: .75rem; width: min(20rem, 90vw); }
h1 { font-size: 1.5rem; margin: 0; } p { margin: 0; }
input, button { font: inherit; padding: .5rem .7rem; border-radius: 8px; border: 1px solid #8a9a9c; }
button { background: #0f766e; color: #fff; border: 0; cursor: pointer; }
"""


def make_door(profile: str | None, address: str | None) -> list[Middleware]:
    """Give the door of a server that listens on `address`, or end the process, in words, where there may be none."""
    try:
        logins = open_logins(profile)
        check_address(address, logins)
    except ConfigError as error:
        print(f"error: {hide_secrets(str(error))}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    return [Middleware(Door, logins=logins)]


class Door:
    """ASGI middleware that lets in whom `logins` knows."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        """Take the app behind the door, and who may pass it."""
        self._app = app
        self._logins = logins
        self._headers = security_headers(_content_policy(_inline_scripts()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = await self._decide(HTTPConnection(scope), receive)
        await (answer or self._app)(scope, receive, send_with_headers)

    async def _decide(self, asked: HTTPConnection, receive: Receive) -> ASGIApp | None:
        """Give what answers in the app's place, if anything does."""
        path, is_page = asked.url.path, asked.scope["type"] == "http"
        if path == HEALTH:
            return None
        if not self._logins.is_needed and not _is_loopback(asked):
            # A page of another site whose name was made to point here could read everything through the browser.
            return _refuse(is_page, 403, "without a login the dashboard is at http://127.0.0.1 only")
        if self._logins.is_needed and is_page and path == LOGIN:
            return await self._log_in(Request(asked.scope, receive))
        if is_page and path == LOGOUT:
            self._logins.log_out(asked.cookies.get(COOKIE, ""))
            leave = RedirectResponse("login" if self._logins.is_needed else "./", 303, {"Cache-Control": "no-store"})
            leave.delete_cookie(COOKIE)
            return leave
        if self._logins.find_visitor(asked.cookies) is not None:
            return None
        if is_page and asked.scope["method"] == "GET" and _PAGE.fullmatch(path[1:]):
            return RedirectResponse(f"login?to={quote(path[1:])}", 303, {"Cache-Control": "no-store"})
        return _refuse(is_page, 401, "log in first")

    async def _log_in(self, asked: Request) -> Response:
        if asked.method != "POST":
            return _login_page(asked.query_params.get("to", ""))
        origin = asked.headers.get("origin")
        if origin and urlsplit(origin).netloc != asked.headers.get("host"):
            return PlainTextResponse("the form is of another site", 403)
        fields = await _read_form(asked)
        if fields is None:
            return PlainTextResponse("the form is too long", 413)
        to = fields.get("to", "")
        try:
            token = await run_in_threadpool(self._logins.log_in, fields.get("name", ""), fields.get("password", ""))
        except TooManyTries:
            return _login_page(to, "Too many tries. Wait some minutes, then try again.", 429)
        if token is None:
            return _login_page(to, "Name and password do not fit.", 403)
        welcome = RedirectResponse(to if _PAGE.fullmatch(to) and to else "./", 303, {"Cache-Control": "no-store"})
        # On this machine there may be no TLS; everywhere else a browser keeps the cookie only if there is.
        welcome.set_cookie(COOKIE, token, httponly=True, samesite="lax", secure=not _is_loopback(asked))
        return welcome


def security_headers(content_policy: str) -> dict[str, str]:
    """Give the headers of every answer."""
    return {
        "Content-Security-Policy": content_policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


def _content_policy(inline_scripts: list[str]) -> str:
    """Allow what Streamlit's pages are made of, from this server alone.

    Styles are written into the page while it runs, by Streamlit and for each figure, hence unsafe-inline for them.
    Scripts are files, and those of the page by their hash; none is made of text.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
                      for script in inline_scripts)
    return "; ".join((
        "default-src 'none'", f"script-src 'self' {hashes}".strip(), "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self'", "manifest-src 'self'",
        "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"))


def _inline_scripts() -> list[str]:
    """Find the scripts that Streamlit's page has in its text."""
    spec = find_spec("streamlit")
    page = Path(spec.origin).parent / "static" / "index.html" if spec and spec.origin else Path()
    return _INLINE.findall(page.read_text(encoding="utf-8"))


def _login_page(to: str, message: str = "", status: int = 200) -> Response:
    note = f'<p role="alert">{escape(message)}</p>' if message else ""
    return HTMLResponse(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>shoplake: log in</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_LOGIN_STYLE}</style></head>'
        f'<body><form method="post" action="login"><h1>shoplake</h1>{note}'
        f'<input type="hidden" name="to" value="{escape(to)}">'
        '<input name="name" placeholder="Name" aria-label="Name" autocomplete="username" required autofocus>'
        '<input name="password" type="password" placeholder="Password" aria-label="Password" '
        'autocomplete="current-password" required><button>Log in</button></form></body></html>\n',
        status, {"Cache-Control": "no-store"})


async def _read_form(asked: Request) -> Mapping[str, str] | None:
    """Read the fields; None if they are too long."""
    body = b""
    async for chunk in asked.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return None
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}


def _is_loopback(asked: HTTPConnection) -> bool:
    host = urlsplit(f"//{asked.headers.get('host', '')}").hostname or ""
    return host in LOOPBACK or host == "::1"


def _refuse(is_page: bool, status: int, text: str) -> ASGIApp:
    return PlainTextResponse(text, status) if is_page else WebSocketClose(reason=text)
