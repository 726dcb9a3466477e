"""The dashboard's door before the real server: what passes with a login, what without, and with which headers."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import streamlit
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from shoplake.settings import PROJECT_ROOT

Run = Callable[..., AbstractContextManager[Any]]
PATHS = ["/", "/sales", "/ask", "/static/js/x.js", "/_stcore/health", "/_stcore/host-config", "/media/x", "/login",
         "/nothing.here", "/_stcore/agent/openapi.json", "/_stcore/metrics"]


@pytest.fixture
def door(as_person: Callable[[str, str], None], run_dashboard: Run) -> Iterator[str]:
    """Give the address of a dashboard that ada may see."""
    as_person("ada", "viewer")
    with run_dashboard() as (address, _):
        yield address


def open_stream(address: str, **headers: str) -> int:
    """Give the status of the answer to a WebSocket's greeting; 101 opens it."""
    try:
        with connect(f"ws{address.removeprefix('http')}/_stcore/stream", additional_headers=headers, proxy=None,
                     subprotocols=["streamlit"]):  # type: ignore[list-item]
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def log_in(address: str, name: str = "ada", password: str = "the password of ada", to: str = "",
           **headers: str) -> httpx.Response:
    return httpx.post(f"{address}/login", data={"name": name, "password": password, "to": to}, headers=headers,
                      timeout=60)


def test_nobody_passes_without_a_login(door: str) -> None:
    for path in PATHS:
        answer = httpx.get(door + path)
        if path in ("/", "/sales", "/ask"):
            assert (answer.status_code, answer.headers["location"]) == (303, f"login?to={path[1:]}")
        else:
            assert answer.status_code == (200 if path in ("/_stcore/health", "/login") else 401), path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert re.search(r"script-src 'self' 'sha256-[A-Za-z0-9+/=]{44}'(;|$)", policy)
        assert not re.search(r"https?:|\*", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-frame-options"] == "DENY"
    assert httpx.post(f"{door}/sales").status_code == 401
    assert httpx.post(f"{door}/_stcore/agent/interact", json={}).status_code == 401
    # Streamlit's own answers for what nobody is may not be what the door lets through.
    assert "login?to=" in httpx.get(f"{door}/", headers={"X-Forwarded-User": "ada", "Authorization": "Basic eDp4"}
                                    ).headers["location"]
    assert open_stream(door) == 403
    assert open_stream(door, Cookie="shoplake_session=guessed") == 403

    token = log_in(door).cookies["shoplake_session"]
    known = {"Cookie": f"shoplake_session={token}"}
    page = httpx.get(f"{door}/", headers=known)
    assert page.text == (Path(streamlit.__file__).parent / "static" / "index.html").read_text()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert open_stream(door, **known) == 101
    assert open_stream(door, Origin="https://evil.test", **known) == 403
    left = httpx.get(f"{door}/logout", headers=known)
    assert left.headers["location"] == "login"
    assert httpx.get(f"{door}/", headers=known).status_code == 303
    assert open_stream(door, **known) == 403


def test_the_form_takes_what_it_should(door: str) -> None:
    welcome = log_in(door, to="sales")
    assert (welcome.status_code, welcome.headers["location"]) == (303, "sales")
    cookie = welcome.headers["set-cookie"]
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {"httponly", "path=/", "samesite=lax"}
    assert len(welcome.cookies["shoplake_session"]) >= 43
    assert "secure" in log_in(door, Host="shop.example").headers["set-cookie"].lower()
    for elsewhere in ("https://evil.test", "//evil.test", "/evil", "sales/../x", "SALES\r\nX: y", "\\evil.test"):
        assert log_in(door, to=elsewhere).headers["location"] == "./"
        shown = httpx.get(f"{door}/login", params={"to": elsewhere + '"><script>'}).text
        assert "<script>" not in shown
    assert log_in(door, Origin="https://evil.test").status_code == 403
    assert log_in(door, Origin=door).status_code == 303
    assert log_in(door, Origin="null").status_code == 403
    assert log_in(door, password="x" * 5000).status_code == 413
    assert httpx.post(f"{door}/login", content=b"\xff=%ff&" * 3).status_code == 403
    tries = [log_in(door, name="bo", password="guess") for _ in range(6)]  # pragma: allowlist secret
    assert [answer.status_code for answer in tries] == [403] * 5 + [429]
    assert "set-cookie" not in tries[0].headers
    assert "Too many tries" in tries[-1].text
    assert log_in(door).status_code == 303, "another name is not kept out"


def test_the_laptops_own_pages_are_for_its_own_name_only(run_dashboard: Run) -> None:
    with run_dashboard() as (address, _):
        assert httpx.get(f"{address}/").status_code == 200
        assert open_stream(address) == 101
        assert "frame-ancestors 'none'" in httpx.get(f"{address}/").headers["content-security-policy"]
        port = address.rsplit(":", 1)[1]
        # A name of another site that was made to point here; Streamlit itself would take it for its own.
        for host in (f"evil.test:{port}", "127.0.0.1.evil.test", "192.168.1.2", ""):
            assert httpx.get(f"{address}/", headers={"Host": host}).status_code == 403
            assert httpx.get(f"{address}/_stcore/host-config", headers={"Host": host}).status_code == 403
        assert open_stream(address, Host=f"evil.test:{port}", Origin=f"http://evil.test:{port}") == 403
        assert httpx.get(f"{address}/", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(("profile", "flags", "message"), [
    ("prod", [], "asks for a login"), ("local", ["--server.address", "0.0.0.0"], "without a login")])
def test_where_a_login_is_missing_no_server_starts(
    profile: str, flags: list[str], message: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_PROFILE", profile)
    command = [Path(sys.executable).with_name("streamlit"), "run", "dashboard/app.py", "--server.port", "48690", *flags]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr
    assert "utils/dashboard_user.py set NAME" in done.stderr
    assert "Traceback" not in done.stderr
