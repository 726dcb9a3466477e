"""dashboard/app.py in Streamlit's own test runtime: what stands on each page, as a browser would be sent it."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from audit_log import read_lines
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from shoplake.contract.tables import DAILY_SALES, LEDGER
from shoplake.dashboards.logins import COOKIE, open_logins
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT, Settings
from shoplake.warehouse import Warehouse, open_warehouse

APP = PROJECT_ROOT / "dashboard" / "app.py"
FillLake = Callable[..., None]
OpenPage = Callable[[str], AppTest]


@pytest.fixture
def open_page(
    data_dir: Path, no_login_is_known: None, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[OpenPage]:
    """Give `open_page(path)`, which opens a page of the app as a new visitor does."""
    monkeypatch.setattr("sys.argv", ["app.py"])
    st.cache_resource.clear()

    def open_it(path: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        app._page_hash = calc_hash(path) if path else ""
        return app.run()

    yield open_it
    st.cache_resource.clear()


def test_help_loads_no_heavy_package() -> None:
    code = ("import runpy, sys\ntry:\n    runpy.run_path('dashboard/app.py')['main'](['--help'])\n"
            "finally:\n    print(sorted({'streamlit', 'altair', 'pyarrow', 'duckdb', 'sqlglot'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def html_of(app: AppTest) -> str:
    assert not app.exception
    return "\n".join(element.proto.body for element in app.get("html") if not element.proto.body.startswith("<style>"))


def text_of(app: AppTest) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html_of(app)))


@pytest.mark.parametrize(("path", "title", "texts"), [
    ("", "Live", ["£13.5001", "-50.0% on the hour before", "£40.5001", "Products of the newest window"]),
    ("sales", "Sales", ["£143.75", "Top products by units, 28 days until 2026-03-09", "3 of 28 days"]),
    ("forecast", "Forecast", ["Demand of the whole shop", "11.50", "Forecast days ahead"]),
    ("quality", "Quality", ["2 batches, balanced", "price_valid", "rounding would change money"]),
    ("pipeline", "Pipeline", ["scheduled__1", "gold.demand_predictions"]),
    ("ask", "Ask", ["read-only SELECT"]),
])
def test_each_page_shows_its_numbers(
    fill_lake: FillLake, open_page: OpenPage, path: str, title: str, texts: list[str],
) -> None:
    fill_lake()
    app = open_page(path)
    assert [element.value for element in app.title] == [title]
    text = text_of(app)
    assert [wanted for wanted in texts if wanted not in text] == []
    charts = {"": 2, "sales": 2, "forecast": 1, "quality": 1}
    assert len(app.get("vega_lite_chart")) == charts.get(path, 0)


@pytest.mark.parametrize("path", ["", "sales", "forecast", "quality", "pipeline"])
def test_every_page_stands_on_an_empty_lake_and_on_half_of_one(
    fill_lake: FillLake, open_page: OpenPage, path: str,
) -> None:
    assert re.search("kafka/producer.py|make demo", text_of(open_page(path)))
    fill_lake(LEDGER)
    st.cache_resource.clear()
    assert re.search("batch_processing.py|kafka/producer.py|make demo|No record was rejected", text_of(open_page(path)))


def test_all_visitors_share_one_board(
    fill_lake: FillLake, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_lake()
    opened: list[Settings] = []

    def open_counted(settings: Settings, role: str) -> Warehouse:
        opened.append(settings)
        return open_warehouse(settings, role)

    monkeypatch.setattr("shoplake.warehouse.open_warehouse", open_counted)
    boards = {id(visit.session_state["board"]) for visit in (open_page(""), open_page("sales"), open_page("").run())}
    assert (len(boards), len(opened)) == (1, 1)


def test_names_from_outside_stay_text_on_every_page(fill_lake: FillLake, open_page: OpenPage, hostile: str) -> None:
    fill_lake()
    for path in ("", "sales", "pipeline"):
        app = open_page(path)
        assert hostile in unescape(html_of(app))
        assert "<img" not in html_of(app)
        assert not [text for text in app.markdown if "![x]" in text.value]


def test_the_days_chosen_change_the_sums(fill_lake: FillLake, open_page: OpenPage) -> None:
    fill_lake()
    app = open_page("sales")
    assert "Growth of categories: net revenue of 28 days against 0 of the 28 days before" in text_of(app)
    app.button_group(key="days").set_value(7).run()
    assert "Growth of categories: net revenue of 7 days against 0 of the 7 days before" in text_of(app)


def test_a_forecast_can_be_chosen_for_a_category_and_any_product(
    fill_lake: FillLake, open_page: OpenPage, hostile: str,
) -> None:
    fill_lake()
    app = open_page("forecast")
    app.button_group(key="scope").set_value("category").run()
    assert app.selectbox(key="category").options == ["c", "d"]
    assert "Demand of the category c" in text_of(app)
    app.button_group(key="scope").set_value("product").run()
    app.selectbox(key="product").select(hostile).run()
    assert f"Demand of the product {hostile}" in text_of(app)
    assert "<img" not in html_of(app)


def ask(app: AppTest, sql: str) -> AppTest:
    app.text_area[0].set_value(sql)
    return app.button[0].click().run()


def test_a_question_is_answered_with_a_table_and_a_chart(fill_lake: FillLake, open_page: OpenPage) -> None:
    fill_lake()
    app = ask(open_page("ask"), "SELECT event_date, SUM(units) AS sold_units FROM gold.daily_sales "
              "WHERE event_date >= '2026-03-01' GROUP BY event_date ORDER BY event_date")
    assert re.sub(r"\s+", " ", text_of(app)).count("2026-03-08 14") == 1
    assert len(app.get("vega_lite_chart")) == 1


@pytest.mark.parametrize(("sql", "message"), [
    ("DROP TABLE gold.daily_sales", "seen: DROP"), ("", "0 statements"),
    ("SELECT * FROM bronze.events", "bronze.events"), ("SELECT <img src=x>", "no GoogleSQL"),
    ("SELECT @x AS x", "needs @x"), ("SELECT units, units FROM gold.daily_sales", "columns named units"),
    ("SELECT 1 / (v - v) AS x FROM UNNEST([1]) AS v", "division by zero"),
])
def test_a_refused_question_is_a_message(
    fill_lake: FillLake, open_page: OpenPage, data_dir: Path, sql: str, message: str,
) -> None:
    fill_lake(DAILY_SALES)
    app = ask(open_page("ask"), sql)
    assert message in text_of(app)
    assert "sl-error" in html_of(app)
    assert "<img" not in html_of(app)
    assert (data_dir / "lake" / "gold" / "daily_sales").is_dir()


def test_every_example_runs(fill_lake: FillLake, open_page: OpenPage) -> None:
    fill_lake()
    app = open_page("ask")
    for example in app.selectbox[0].options:
        app.selectbox[0].select(example).run()
        app.button[0].click().run()
        assert "sl-error" not in html_of(app), example
        assert re.search(r"\d+ rows?", text_of(app)), example


def test_a_page_without_the_door_shows_nobody_anything(
    as_person: Callable[[str, str], None], fill_lake: FillLake, open_page: OpenPage, data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_lake()
    as_person("ada", "viewer")
    monkeypatch.setattr(type(st.context), "cookies", {})  # Streamlit's test runtime has a mock there
    app = open_page("")
    assert "not logged in" in text_of(app)
    assert "£" not in text_of(app)
    log_in("ada", monkeypatch)
    assert "ada, who sees what viewer may see" in text_of(open_page(""))
    app = ask(open_page("ask"), "SELECT user_id, segment FROM gold.customer_segments WHERE as_of_date = '2026-03-08'")
    assert "champions" in text_of(app)
    assert "u1" not in text_of(app)
    asked = [json.loads(line["details"]) for line in read_lines(Lake(str(data_dir / "lake")))]
    assert [(line["person"], line["role"]) for line in asked if "person" in line] == [("ada", "viewer")]
    assert "viewer" in {line["role"] for line in asked if "person" not in line and "role" in line}


def log_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every page the cookie that the door would have given."""
    token = open_logins(None).log_in(name, f"the password of {name}")
    monkeypatch.setattr(type(st.context), "cookies", {COOKIE: token})


def test_a_wrong_setting_is_a_message(
    as_person: Callable[[str, str], None], open_page: OpenPage, monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_person("ada", "admin")
    for name, value in {"PROFILE": "prod", "LAKE__ROOT": "gs://bucket/lake", "WAREHOUSE__KIND": "bigquery"}.items():
        monkeypatch.setenv(f"SHOPLAKE_{name}", value)
    log_in("ada", monkeypatch)
    app = open_page("")
    assert "--profile local" in text_of(app)
    assert not app.exception


def test_without_a_browser_it_says_how_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[list[str]], Any] = runpy.run_path(str(APP))["main"]
    assert main([]) == 2
    assert "streamlit run dashboard/app.py" in capsys.readouterr().err
