"""A backtest's page: whole, of itself, and with the figures of the backtest, against plain Python over the series."""

import re
from datetime import date, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoplake.dashboards.backtest_pages import build_pages, describe_origin
from shoplake.dashboards.document import write_document
from shoplake.forecasting.backtest import plan_origins, ready
from shoplake.forecasting.baselines import BASELINES
from shoplake.forecasting.comparison import Backtest, run_backtest, tell_figures
from shoplake.forecasting.evidence import MOST_REVENUE, choose_items, collect_evidence
from shoplake.forecasting.history import build_history
from shoplake.forecasting.intervals import LEVELS
from shoplake.forecasting.names import ENSEMBLE, SEASONAL_NAIVE, WMIXT

FIRST = date(2026, 1, 5)  # a Monday
DAYS = 147
ITEMS = 14
HOSTILE = "<script>alert(1)</script>"
BY_NAME = {baseline.name: baseline for baseline in BASELINES}
SECTIONS = ["The models compared", "Against the strongest average", "Forecasts and what was sold",
            "Do the bands hold?", "Where the errors are", "What moves the trees' forecasts", "All figures"]


def series() -> dict[str, list[int]]:
    """Give a shop that is closed on Sundays; the first product's name is markup."""
    rng = np.random.default_rng(5)
    is_open = np.arange(DAYS) % 7 != 6
    return {(f"P{n:02d}" if n else HOSTILE): [int(units) for units in rng.poisson(1 + n, DAYS) * is_open]
            for n in range(ITEMS)}


def price(number: int) -> float:
    return 30.0 if number == 0 else 2.0


@pytest.fixture(scope="module")
def backtest() -> Backtest:
    sales = pd.DataFrame([
        (pd.Timestamp(FIRST + timedelta(days=day)), product, "c", units, units * price(number))
        for number, (product, sold) in enumerate(series().items()) for day, units in enumerate(sold)
    ], columns=["event_date", "product_id", "category", "units", "gross_amount"])
    history = build_history(sales, FIRST + timedelta(days=DAYS - 1))
    methods = {name: ready(BY_NAME[name]) for name in (WMIXT, SEASONAL_NAIVE)}
    return run_backtest(history, plan_origins(history), methods, (WMIXT,))


@pytest.fixture(scope="module")
def banded(backtest: Backtest) -> Backtest:
    """Give the same with bands from half to twice the forecast, the 95% bands from a quarter to four times."""
    units = backtest.test[ENSEMBLE].units
    point = np.concatenate([units.sum(axis=2, keepdims=True), units], axis=2)
    limits = {80: np.stack([point / 2, point * 2]), 95: np.stack([point / 4, point * 4])}
    return Backtest(**{**vars(backtest), "limits": {ENSEMBLE: limits}})


def result_of(backtest: Backtest) -> dict[str, Any]:
    figures = tell_figures(backtest)
    for own in figures["models"].values():
        own["cpu_seconds"] = 0.5
    return {"data": "shop.csv", "data_version": "1f", "as_of_date": backtest.history.cutoff, **figures}


@pytest.fixture(scope="module")
def result(banded: Backtest) -> dict[str, Any]:
    return result_of(banded)


@pytest.fixture(scope="module")
def html(banded: Backtest, result: dict[str, Any]) -> str:
    return write(banded, result)


def write(backtest: Backtest, result: dict[str, Any]) -> str:
    return write_document("Backtest of shop.csv", describe_origin(result),
                          build_pages(result, collect_evidence(backtest)))


class Page(HTMLParser):
    """Reads the tables of a page, by the title before each, and what could fetch anything."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._title, self._at = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if ("class", "sl-title") in attrs:
            self._title = ""
        self._at = "title" if ("class", "sl-title") in attrs else "cell" if tag in ("td", "th") else ""
        if tag == "tr":
            self.tables.setdefault(self._title, []).append([])
        if self._at == "cell":
            self.tables[self._title][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._at = ""

    def handle_data(self, data: str) -> None:
        if self._at == "title":
            self._title += data
        elif self._at == "cell":
            self.tables[self._title][-1][-1] += data


def table_of(html: str, start: str) -> list[list[str]]:
    return next(rows[1:] for title, rows in Page(html).tables.items() if title.startswith(start))


def last_week(sold: list[int], days: int) -> list[int]:
    return sold[days - 7:days]


def test_the_page_is_whole_and_needs_nothing_but_itself(
    banded: Backtest, result: dict[str, Any], html: str,
) -> None:
    assert [unescape(heading) for heading in re.findall("<h2>(.+?)</h2>", html)] == SECTIONS
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "image"} & page.tags
    assert not {"src", "href", "xlink:href", "onerror"} & page.attributes
    assert not re.search(r"url\(|@import", html)
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert HOSTILE in unescape(html)
    assert html.count("<svg") == html.count('class="sl-caption"') == 10, "every plot says how to read it"
    assert html == write(banded, result), "the same figures give the same page"


def test_without_bands_and_trees_the_page_says_so(backtest: Backtest) -> None:
    html = unescape(write(backtest, result_of(backtest)))
    assert re.findall("<h2>(.+?)</h2>", html) == SECTIONS
    assert "There are no bands to judge" in html
    assert "there are no trees to look into" in html
    assert html.count("<svg") == 7
    weeks = table_of(html.replace(HOSTILE, "x"), "These weeks")
    assert {row[6] for row in weeks if row[0] != "the whole shop"} == {"–"}


def test_errors_by_horizon_are_those_of_plain_python(backtest: Backtest, html: str) -> None:
    errors = {day: [0.0, 0.0, 0] for day in range(7)}
    for days in backtest.origins.daily:
        for sold in series().values():
            for day in range(7):
                if (days + day) % 7 != 6:
                    error = last_week(sold, days)[day] - sold[days + day]
                    for place, value in enumerate((abs(error), error, sold[days + day])):
                        errors[day][place] += value
    rows = {row[1]: row[3:] for row in table_of(html, "By days ahead") if row[0] == SEASONAL_NAIVE}
    assert rows == {str(day + 1): [f"{absolute / sold:.4f}", f"{error / sold:.4f}"]
                    for day, (absolute, error, sold) in errors.items()}


def test_weeks_are_those_of_the_series_with_their_bands(banded: Backtest, html: str) -> None:
    rows = {}
    for row in table_of(html, "These weeks"):
        rows[row[0], row[2]] = row
    expected = {banded.history.product_ids[item] for item, _ in choose_items(banded)}
    assert {name for name, _ in rows} == {*expected, "the whole shop"}
    for column, days in enumerate(banded.origins.test):
        cutoff = str(FIRST + timedelta(days=days - 1))
        for name, sold in series().items():
            if name in expected:
                item = int(np.flatnonzero(banded.history.product_ids == name)[0])
                forecast = float(banded.test[ENSEMBLE].units[item, column].sum())
                assert rows[name, cutoff][3:] == [
                    f"{sum(sold[days:days + 7]):,}", f"{forecast:,.1f}",
                    f"{forecast / 2:,.1f} to {forecast * 2:,.1f}", f"{forecast / 4:,.1f} to {forecast * 4:,.1f}"]
        everything = sum(sum(sold[days:days + 7]) for sold in series().values())
        assert rows["the whole shop", cutoff][3] == f"{everything:,}"


def test_coverage_is_counted_by_cutoff(banded: Backtest, html: str) -> None:
    rows = {row[0]: row for row in table_of(html, "By cutoff and size")}
    for column, days in enumerate(banded.origins.test):
        inside = {80: 0, 95: 0}
        for name, sold in series().items():
            item = int(np.flatnonzero(banded.history.product_ids == name)[0])
            forecast = banded.test[ENSEMBLE].units[item, column].sum()
            for level, factor in ((80, 2), (95, 4)):
                inside[level] += forecast / factor <= sum(sold[days:days + 7]) <= forecast * factor
        assert rows[str(FIRST + timedelta(days=days - 1))][2:] == [
            f"{inside[level] / ITEMS:.1%}" for level in LEVELS]


def test_every_figure_of_the_backtest_stands_in_the_last_table(result: dict[str, Any], html: str) -> None:
    rows = {}
    for model, metric, *texts in table_of(html, "Each model's figures"):
        rows[model, metric] = texts
    for model, metrics in result["models"].items():
        for metric, value in metrics.items():
            if isinstance(value, int | float):
                assert float(rows.pop((model, metric))[0].replace(",", "")) == pytest.approx(value, abs=5e-5)
    assert rows == {}
    wape, bias = (result["models"][SEASONAL_NAIVE][f"week_{name}"] for name in ("wape", "bias"))
    row = next(row for row in table_of(html, "All models") if row[0] == SEASONAL_NAIVE)
    assert row[2:4] == [f"{wape:.3f}", f"{bias:+.3f}"], "WAPE stands beside its bias"


def test_shown_are_the_products_of_most_revenue_and_some_of_each_class(backtest: Backtest) -> None:
    chosen = choose_items(backtest)
    names = [backtest.history.product_ids[item] for item, group in chosen if group == MOST_REVENUE]
    # The first sells 1 a day for 30, the others 1 + n for 2.
    assert len(names) == 6
    assert HOSTILE in names
    assert set(names) - {HOSTILE} == {f"P{n:02d}" for n in range(ITEMS - 5, ITEMS)}
    assert len({item for item, _ in chosen}) == len(chosen)
