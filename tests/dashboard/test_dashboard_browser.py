"""The dashboard in a real browser: light, dark, narrow; nothing from elsewhere; new data without a reload."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext

from shoplake.contract.tables import PRODUCT_REVENUE_5MIN, Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

pytestmark = pytest.mark.live
PAGES = {"": "Live", "sales": "Sales", "forecast": "Forecast", "customers": "Customers", "funnel": "Funnel",
         "products": "Products", "quality": "Quality", "pipeline": "Pipeline", "ask": "Ask"}
CHARTS = {"": 2, "sales": 2, "forecast": 1, "customers": 1, "funnel": 1, "quality": 1}
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 600), "narrow dark": ("dark", 600)}
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 21, 23)"}
WAIT = 60_000  # ms: a hang, not a slow machine


@pytest.fixture
def server(data_dir: Path, fill_lake: Callable[..., None]) -> Iterator[str]:
    """Give the address of a dashboard over the filled lake, started as its users start it."""
    fill_lake()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("streamlit")), "run", "dashboard/app.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=os.environ.copy())
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(f"{address}/_stcore/health", process)
        listening = {connection.laddr.ip for connection in psutil.Process(process.pid).net_connections()
                     if connection.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_healthy(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(120):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                assert answer.read() == b"ok"
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{address} did not answer")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Give `visit(scheme, width)`, a new visitor; in the end none may have asked another host or met an error."""
    contexts: list[BrowserContext] = []
    asked: list[str] = []
    errors: list[str] = []

    def visit_as(scheme: Literal["light", "dark"] = "light", width: int = 1280) -> BrowserContext:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 1000})
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: errors.append(str(error.error)))
        contexts.append(context)
        return context

    yield visit_as
    for context in contexts:
        context.close()
    hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in ("data", "blob", "file")}
    assert hosts <= {"127.0.0.1"}
    assert errors == []


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_drawn_in_every_look(server: str, visit: Callable[..., BrowserContext], look: str) -> None:
    scheme, width = LOOKS[look]
    page = visit(scheme, width).new_page()
    for path, title in PAGES.items():
        page.goto(f"{server}/{path}")
        page.get_by_role("heading", name=title, exact=True).wait_for(timeout=WAIT)
        page.locator(".sl").first.wait_for(timeout=WAIT)
        page.wait_for_function(
            "count => document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length >= count",
            arg=CHARTS.get(path, 0), timeout=WAIT)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{title} is wider than the window"
        ground = page.locator("[data-testid=stApp]").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == GROUNDS[scheme]
        assert page.locator("[data-testid=stException], .sl-error").count() == 0
        assert page.locator("img[src=x]").count() == 0  # a product is called like that


def test_a_new_sale_appears_without_a_reload(
    server: str, visit: Callable[..., BrowserContext], shop: dict[str, list[dict[str, Any]]], data_dir: Path,
    write_table: Callable[[Lake, Table, list[dict[str, Any]]], None],
) -> None:
    page = visit().new_page()
    page.goto(server)
    page.get_by_text("£13.5001").wait_for(timeout=WAIT)
    start = datetime(2026, 3, 10, 12, tzinfo=UTC)
    row = shop[PRODUCT_REVENUE_5MIN.name][0]
    new = {**row, "window_start": start, "window_end": start + timedelta(minutes=5), "product_id": "by-hand"}
    write_table(Lake(str(data_dir / "lake")), PRODUCT_REVENUE_5MIN, [*shop[PRODUCT_REVENUE_5MIN.name], new])
    page.get_by_text("by-hand").wait_for(timeout=WAIT)
    page.get_by_text("until 2026-03-10 12:05 UTC").wait_for(timeout=WAIT)


def test_a_question_is_answered_and_another_refused(server: str, visit: Callable[..., BrowserContext]) -> None:
    page = visit().new_page()
    page.goto(f"{server}/ask")
    page.get_by_label("SELECT", exact=True).fill("SELECT product_id, units FROM gold.daily_sales WHERE units = 6")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("cell", name="6", exact=True).wait_for(timeout=WAIT)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert Path(download.value.path()).read_text() == "product_id,units\nb,6\n"
    page.get_by_label("SELECT", exact=True).fill("DELETE FROM gold.daily_sales WHERE true")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("seen: DELETE").wait_for(timeout=WAIT)


def test_the_report_is_read_offline_in_light_and_dark(
    data_dir: Path, fill_lake: Callable[..., None], visit: Callable[..., BrowserContext], tmp_path: Path,
) -> None:
    fill_lake()
    file = tmp_path / "report.html"
    command = [sys.executable, "dashboard/report.py", "--out", str(file)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    for scheme, width in LOOKS.values():
        context = visit(scheme, width)
        context.set_offline(True)
        page = context.new_page()
        page.goto(file.as_uri())
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUNDS[scheme]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("svg").count() == 8
        label = page.locator("svg text").first.evaluate("element => getComputedStyle(element).fill")
        assert label == page.evaluate("getComputedStyle(document.body).color")
