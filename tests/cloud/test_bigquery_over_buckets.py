"""Publishing from a lake in a bucket: the load job takes the export's address, and one publisher holds the lease."""

import random
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shoplake.contract.tables import DAILY_SALES, RUNS
from shoplake.errors import LockError
from shoplake.lake.addresses import locate_lake
from shoplake.lake.arrow import replace_rows
from shoplake.lake.buckets import list_objects
from shoplake.lake.locks import hold_lock
from shoplake.settings import load_settings
from shoplake.warehouse.bigquery import open_bigquery
from shoplake.warehouse.duckdb import DuckDBWarehouse
from shoplake.warehouse.protocol import RELATIONS

pytestmark = pytest.mark.cloud
Rows = list[dict[str, Any]]
SALES = "SELECT * FROM gold.daily_sales WHERE event_date >= '2026-01-01' ORDER BY event_date, product_id"


def sales(draw: random.Random, day: date) -> Rows:
    counts = dict.fromkeys(("order_count", "units", "cancelled_units", "view_count", "cart_count"), 1)
    return [{**counts, "event_date": day, "product_id": product, "category": "c", "cancelled_amount": Decimal(0),
             "gross_amount": (amount := Decimal(draw.randrange(10**6)).scaleb(-4)), "net_amount": amount}
            for product in ("a", "ä", "b")]


def test_changed_days_go_from_the_bucket_into_bigquery(
    bigquery_over_buckets: list[str], make_arrow: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, draw = locate_lake(load_settings()), random.Random(3)
    days = [date(2026, 3, number) for number in (1, 2, 3)]
    rows = make_arrow(DAILY_SALES, [row for day in days for row in sales(draw, day)])
    with hold_lock(lake, DAILY_SALES.name, 0) as lock:
        replace_rows(lake, DAILY_SALES, rows, "true", lock)
    with open_bigquery(load_settings()) as warehouse, DuckDBWarehouse(lake, 60) as embedded:
        warehouse.create()
        first = {one.table: one for one in warehouse.publish(RELATIONS)}
        assert first["gold.daily_sales"].message == "9 rows of all partitions compared, 9 rows changed"
        assert warehouse.query(SALES).to_pylist() == embedded.query(SALES).to_pylist()
        exports = [one.address for one in list_objects(lake, f"{lake.root}/gold_export/")]
        assert bigquery_over_buckets == exports
        assert all(address.startswith(f"{lake.root}/gold_export/gold.daily_sales/") for address in exports)

        rows = make_arrow(DAILY_SALES, sales(draw, days[1])[:2])
        with hold_lock(lake, DAILY_SALES.name, 0) as lock:
            replace_rows(lake, DAILY_SALES, rows, "event_date = '2026-03-02'", lock)
        with hold_lock(lake, "publish-gold.daily_sales", 0):
            monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
            with open_bigquery(load_settings()) as second, pytest.raises(LockError, match="publish-gold"):
                second.publish([DAILY_SALES])
        (published,) = warehouse.publish([DAILY_SALES])
        assert published.message == "2 rows of 1 changed partitions compared, 3 rows changed"
        assert warehouse.query(SALES).to_pylist() == embedded.query(SALES).to_pylist()
        assert warehouse.publish([RUNS])[0].message == "not built yet in the lake"
    assert not list(list_objects(lake, f"{lake.root}/_locks/"))
