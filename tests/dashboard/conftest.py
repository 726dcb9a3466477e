"""A lake with known rows, and the dashboard on it."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from shoplake.contract.tables import (
    CATEGORY_REVENUE,
    CATEGORY_REVENUE_1H,
    CONVERSION_FUNNEL,
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    DEMAND_PREDICTIONS,
    LEDGER,
    PRODUCT_PERFORMANCE,
    PRODUCT_RECOMMENDATIONS,
    PRODUCT_REVENUE_5MIN,
    RUNS,
    SILVER_QUARANTINE,
    USER_SEGMENTS,
    USERS_DIM,
    Table,
)
from shoplake.dashboards.board import Board
from shoplake.dashboards.logins import open_logins
from shoplake.dashboards.users import load_users, make_user, save_users
from shoplake.lake.addresses import Lake
from shoplake.processes import HOST, find_free_port
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse import open_warehouse

Row = dict[str, Any]
HOSTILE = '<img src=x onerror=alert(1)>![x](http://evil.test/x)&"\''
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def sale(gross: str = "0", cancelled: str = "0", orders: int = 1, units: int = 1, **key: Any) -> Row:
    """Give a row of sales measures under a key."""
    return {**key, "order_count": orders, "units": units, "gross_amount": Decimal(gross), "cancelled_units": 0,
            "cancelled_amount": Decimal(cancelled), "net_amount": Decimal(gross) - Decimal(cancelled)}


def window(start: datetime, minutes: int, **values: Any) -> Row:
    """Give a row of a live window."""
    return sale(window_date=start.date(), window_start=start, window_end=start + timedelta(minutes=minutes), **values)


def batch(number: int, bronze: int, silver: int, duplicates: int = 0, quarantine: int = 0, late: int = 0) -> Row:
    """Give a ledger row."""
    return {"query_id": "stream", "batch_id": number, "origin": "topic-id", "topic": "ecommerce_events",
            "ranges": [{"partition": 0, "from_offset": 0, "until_offset": bronze}], "bronze_count": bronze,
            "silver_count": silver, "duplicate_count": duplicates, "quarantine_count": quarantine, "late_count": late,
            "rules": [], "event_dates": []}


def rejected(offset: int, day: date, *reasons: str) -> Row:
    """Give a quarantined record."""
    row: Row = dict.fromkeys(SILVER_QUARANTINE.column_names)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return row | {"origin": "o", "topic": "t", "partition": 0, "offset": offset, "reasons": list(reasons),
                  "ingest_time": moment, "ingest_date": day, "query_id": "stream", "batch_id": 0}


def forecast(as_of: date, horizon: int, product: str, units: float, model: str = "xgboost", category: str = "c") -> Row:
    """Give a prediction."""
    return {"as_of_date": as_of, "target_date": as_of + timedelta(days=horizon), "horizon": horizon,
            "product_id": product, "category": category, "model": model, "model_version": "v",
            "predicted_units": units, "is_fallback": False}


def run(run_id: str, finished_at: datetime) -> Row:
    """Give a pipeline run."""
    counts = dict.fromkeys((name for name in RUNS.column_names if name.endswith("_count")), 7)
    return {"run_id": run_id, "dag_id": "ecommerce_pipeline", "run_date": finished_at.date(),
            "finished_at": finished_at, **counts}


def customer(user: str, recency: int, orders: int, net: str) -> Row:
    """Give what is known of a customer on the last day but one."""
    zeros = {column.name: Decimal(0) if column.type.startswith("DECIMAL") else 0
             for column in CUSTOMER_METRICS.columns if not column.nullable}
    return {**zeros, "as_of_date": date(2026, 3, 8), "user_id": user, "recency_days": recency, "order_count": orders,
            "net_amount": Decimal(net), "recency_score": 5, "frequency_score": orders, "churn_risk": 0.6}


def segment(user: str, name: str) -> Row:
    """Give a customer's segment on that day."""
    return {"as_of_date": date(2026, 3, 8), "user_id": user, "segment": name, "segment_count": 3, "silhouette": 0.5}


def steps(category: str, views: int, carts: int, orders: int) -> Row:
    """Give a day's visits that touched a category."""
    zeros = {column.name: 0 for column in CONVERSION_FUNNEL.columns if column.type == "BIGINT"}
    return {**zeros, "event_date": date(2026, 3, 9), "category": category, "brand": "unbranded",
            "view_sessions": views, "cart_sessions": carts, "order_sessions": orders, "human_view_sessions": views - 1,
            "human_order_sessions": orders}


def performance(product: str, rank: int, net: str, views: int) -> Row:
    """Give what a product did in the weeks up to the last day but one."""
    return {**sale(as_of_date=date(2026, 3, 8), product_id=product, category="c", gross=net), "brand": None,
            "view_count": views, "cart_count": 1, "cart_rate": Decimal(1) / views if views else None,
            "order_rate": Decimal(1) / views if views else None, "net_rank": rank, "category_rank": rank,
            "brand_rank": rank, "abc_class": "A", "xyz_class": "X"}


def recommendation(product: str, rank: int, other: str, method: str, baskets: int | None) -> Row:
    """Give a product that goes with another."""
    return {"as_of_date": date(2026, 3, 8), "product_id": product, "rank": rank, "recommended_product_id": other,
            "method": method, "score": 0.5 if baskets else None, "basket_count": baskets}


def registered(user: str, bought: int, *, has_app: bool) -> Row:
    """Give what a C2C store's file tells of a user."""
    zeros = {column.name: {"BIGINT": 0, "BOOLEAN": False}.get(column.type, Decimal(0))
             for column in USERS_DIM.columns if not column.nullable}
    return {**zeros, "source": "c2c_users", "user_id": user, "bought_count": bought, "days_since_login": 11,
            "has_app": has_app, "as_of_date": date(2026, 3, 5), "origin": "o"}


def user_segment(user: str, name: str) -> Row:
    """Give a registered user's group."""
    return {"as_of_date": date(2026, 3, 5), "source": "c2c_users", "user_id": user, "segment": name,
            "segment_count": 3, "silhouette": 0.5, "origin": "o"}


SHOP: dict[Table, list[Row]] = {
    CUSTOMER_METRICS: [customer("u1", 1, 4, "80"), customer("u2", 3, 5, "20"), customer("u3", 90, 1, "25")],
    CUSTOMER_SEGMENTS: [segment("u1", "champions"), segment("u2", "champions"), segment("u3", "lost")],
    USERS_DIM: [registered("u1", 30, has_app=True), registered("u2", 12, has_app=False),
                registered("u3", 0, has_app=False)],
    USER_SEGMENTS: [user_segment("u1", "champions"), user_segment("u2", "champions"), user_segment("u3", "lost")],
    CONVERSION_FUNNEL: [steps("c", 100, 20, 10), steps(HOSTILE, 3, 0, 0)],
    PRODUCT_PERFORMANCE: [performance("a", 1, "100", 4), performance(HOSTILE, 2, "5", 0)],
    PRODUCT_RECOMMENDATIONS: [
        recommendation("a", 1, HOSTILE, "together", 7), recommendation(HOSTILE, 1, "a", "category", None)],
    PRODUCT_REVENUE_5MIN: [
        window(NOON - timedelta(minutes=5), 5, product_id="a", gross="10.50", orders=2, units=3),
        window(NOON - timedelta(minutes=5), 5, product_id=HOSTILE, gross="0.0001"),
        window(NOON - timedelta(minutes=60), 5, product_id="a", gross="4", cancelled="1"),
        window(NOON - timedelta(minutes=65), 5, product_id="a", gross="27"),
        window(NOON - timedelta(days=1), 5, product_id="a", gross="1000", orders=50),
    ],
    CATEGORY_REVENUE_1H: [
        window(NOON - timedelta(hours=hours), 60, category=category, gross=str(amount))
        for hours in (1, 30) for amount, category in enumerate("abcdefgh", start=1)
    ],
    DAILY_SALES: [
        {**sale(event_date=date(2026, 3, day), product_id=product, category="c", gross=str(gross), cancelled="0.25",
                orders=2, units=units), "view_count": 0, "cart_count": 0}
        for day, product, gross, units in (
            (7, "a", 20, 4), (8, "a", 30, 5), (8, HOSTILE, 5, 9), (9, "b", 40, 6), (9, "a", 50, 1))
    ],
    CATEGORY_REVENUE: [
        {**sale(event_date=date(2026, 3, day), category=category, gross=str(gross)), "net_amount_week_before": None,
         "net_growth_week": None}
        for day, category, gross in ((9, "c", 150), (1, "c", 100), (9, HOSTILE, 10))
    ],
    DEMAND_PREDICTIONS: [
        forecast(date(2026, 3, 7), 1, "a", 4.5), forecast(date(2026, 3, 8), 1, "a", 3.0),
        forecast(date(2026, 3, 8), 1, "b", 4.0, category="d"), forecast(date(2026, 3, 6), 3, "a", 90.0),
        forecast(date(2026, 3, 9), 1, "a", 2.25), forecast(date(2026, 3, 9), 2, HOSTILE, 1.5),
        forecast(date(2026, 3, 9), 1, "a", 2.0, "seasonal_naive"),
    ],
    LEDGER: [batch(0, 100, 90, 4, 6, late=2), batch(1, 20, 20)],
    RUNS: [run("scheduled__1", NOON - timedelta(days=1)), run(HOSTILE, NOON)],
    SILVER_QUARANTINE: [
        rejected(0, date(2026, 3, 9), "price_valid", "quantity_valid"), rejected(1, date(2026, 3, 10), "price_valid"),
        rejected(2, date(2026, 3, 10), "conflicting_duplicate"),
    ],
}
FillLake = Callable[..., None]


@pytest.fixture
def fill_lake(data_dir: Path, write_table: Callable[[Lake, Table, list[Row]], None]) -> FillLake:
    """Give `fill(*tables)`, which writes these tables of the shop; all of them if none is named."""
    lake = Lake(str(data_dir / "lake"))

    def fill(*tables: Table) -> None:
        for table in tables or SHOP:
            write_table(lake, table, SHOP[table])

    return fill


@pytest.fixture(scope="session")
def shop() -> dict[str, list[Row]]:
    """Give the rows that `fill_lake` writes, by the table's name."""
    return {table.name: rows for table, rows in SHOP.items()}


@pytest.fixture(scope="session")
def hostile() -> str:
    """Give a product's name that is HTML and Markdown."""
    return HOSTILE


@pytest.fixture
def board(data_dir: Path) -> Iterator[Board]:
    """Give a board over the test's lake."""
    settings = load_settings("local")
    with open_warehouse(settings) as warehouse:
        yield Board(warehouse, settings)


@pytest.fixture
def no_login_is_known() -> Iterator[None]:
    """Let this process look anew who may log in; so it does for each dashboard that is started."""
    open_logins.cache_clear()
    yield
    open_logins.cache_clear()


@pytest.fixture
def as_person(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Give `make(name, role)`, whose password is `the password of ` and the name; in the profile dev, on this disk."""
    for name, value in {"PROFILE": "dev", "LAKE__ROOT": "lake", "WAREHOUSE__KIND": "duckdb",
                        "GOVERNANCE__KEY": "ab" * 32}.items():
        monkeypatch.setenv(f"SHOPLAKE_{name}", value)
    file = load_settings().dashboard_users_path

    def make(name: str, role: str) -> None:
        save_users(file, {**load_users(file), name: make_user(name, role, f"the password of {name}")})

    return make


Started = tuple[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def run_dashboard() -> Callable[..., AbstractContextManager[Started]]:
    """Give `run(*flags)`: a dashboard in the test's environment, as its users start it; its address and its process."""

    @contextmanager
    def run(*flags: str) -> Iterator[Started]:
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        port = find_free_port(48610 + 100 * worker, "a test's port")
        command = [str(Path(sys.executable).with_name("streamlit")), "run", "dashboard/app.py", "--server.port",
                   str(port), *flags]
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=os.environ.copy())
        address = f"http://{HOST}:{port}"
        try:
            _wait_until_healthy(f"{address}/_stcore/health", process)
            listening = {connection.laddr.ip for connection in psutil.Process(process.pid).net_connections()
                         if connection.status == psutil.CONN_LISTEN}
            assert listening == {HOST}
            yield address, process
        finally:
            process.terminate()
            process.wait(30)

    return run


def _wait_until_healthy(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                assert answer.read() == b"ok"
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{address} did not answer")
