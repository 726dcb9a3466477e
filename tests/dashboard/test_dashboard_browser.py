"""The dashboard in a real browser: light, dark, narrow; nothing from elsewhere; new data without a reload."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage

from shoplake.contract.tables import PRODUCT_REVENUE_5MIN, Table
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

pytestmark = pytest.mark.live
PAGES = {"": "Live", "sales": "Sales", "forecast": "Forecast", "customers": "Customers", "funnel": "Funnel",
         "products": "Products", "quality": "Quality", "pipeline": "Pipeline", "ask": "Ask"}
CHARTS = {"": 2, "sales": 2, "forecast": 1, "customers": 1, "funnel": 1, "quality": 1}
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 600), "narrow dark": ("dark", 600)}
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 21, 23)"}
ELSEWHERE = "document.body.appendChild(Object.assign(document.createElement('{}'), {{src: 'https://shop.example/'}}))"
CRIMES = ("new Function('return 1')", "fetch('http://127.0.0.1:9/').catch(() => 0)",
          "new WebSocket('wss://shop.example/')",
          "document.body.appendChild(document.createElement('script')).text = '1'",
          *(ELSEWHERE.format(tag) for tag in ("script", "img", "iframe")))
WAIT = 60_000  # ms: a hang, not a slow machine


@pytest.fixture
def server(fill_lake: Callable[..., None], run_dashboard: Callable[..., AbstractContextManager[Any]]) -> Iterator[str]:
    """Give the address of a dashboard over the filled lake, started as its users start it."""
    fill_lake()
    with run_dashboard() as (address, _):
        yield address


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Give `visit(scheme, width)`, a new visitor; in the end none may have asked another host or met an error.

    Nor may a page have tried what its Content-Security-Policy forbids.
    """
    contexts: list[BrowserContext] = []
    asked: list[str] = []
    errors: list[str] = []

    def note_violation(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            errors.append(message.text)

    def visit_as(scheme: Literal["light", "dark"] = "light", width: int = 1280) -> BrowserContext:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 1000})
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.on("console", note_violation)
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


def test_the_browser_refuses_what_no_page_does(server: str, browser: Browser) -> None:
    """Else the silence of the other tests would prove nothing."""
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server)
    page.get_by_role("heading", name="Live", exact=True).wait_for(timeout=WAIT)
    for crime in CRIMES:
        said.clear()
        # Later, because what the test itself evaluates is exempt.
        page.evaluate(f"() => {{ setTimeout(() => {{ {crime} }}) }}")
        page.wait_for_timeout(500)
        assert "Content Security Policy" in " ".join(said), crime
    page.close()


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


def test_each_person_sees_what_the_role_allows(
    as_person: Callable[..., None], fill_lake: Callable[..., None], visit: Callable[..., BrowserContext],
    run_dashboard: Callable[..., AbstractContextManager[Any]],
) -> None:
    fill_lake()
    as_person("ada", "analyst")
    as_person("grace", "admin")
    with run_dashboard() as (address, _):
        seen = {}
        for name in ("ada", "grace"):
            page = visit().new_page()
            page.goto(f"{address}/ask")
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(f"the password of {name}")
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("heading", name="Ask", exact=True).wait_for(timeout=WAIT)
            page.get_by_label("SELECT", exact=True).fill(
                "SELECT user_id FROM gold.customer_segments WHERE as_of_date = '2026-03-08' AND segment = 'lost'")
            page.get_by_role("button", name="Run").click()
            cell = page.locator(".sl td").first
            cell.wait_for(timeout=WAIT)
            seen[name] = cell.inner_text()
            page.get_by_text(f"{name}, who sees what").wait_for(timeout=WAIT)
            page.get_by_role("link", name="Log out").click()
            page.get_by_role("button", name="Log in").wait_for(timeout=WAIT)
        assert seen["grace"] == "u3"
        assert len(seen["ada"]) == 64
