"""What was looked at as of a day is looked at again when its inputs know more, in whatever order they came to."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import CUSTOMER_METRICS, PRODUCTS_DIM, Table
from shoplake.lake.arrow import open_table, read_table

FIRST = date(2026, 3, 1)
HEADER = "event_time,event_id,user_id,product_id,category,price,quantity,event_type"
BATCH = "spark/batch_processing.py"
INPUTS = ("gold.daily_sales", "gold.customer_daily_sales", "gold.sessions")
TABLES = (*INPUTS, "silver.products_dim", "gold.customer_metrics")


def flags(*tables: str) -> list[str]:
    return [word for table in tables for word in ("--table", table)]


class Shop:
    """A lake that gets an order a day, and counts of orders as the newest snapshot of each day has them."""

    def __init__(self, shells: Any, folder: Path) -> None:
        self.shells, self.folder, self.orders = shells, folder, 0

    def order(self, *days: int) -> None:
        """Take in an order of the one customer on each of these days, and build nothing."""
        lines = [HEADER]
        for day in days:
            self.orders += 1
            moment = f"{FIRST + timedelta(days=day)}T12:00:00Z"
            lines.append(f"{moment},e{self.orders},u1,p1,c,{self.orders},1,order_created")
        file = self.folder / f"{self.orders}.csv"
        file.write_text("\n".join(lines) + "\n")
        self.shells.ok(BATCH, "--historical-csv", str(file), "--ingest-only")

    def build(self, *tables: str, as_of: int | None = None) -> None:
        day = [] if as_of is None else ["--as-of", str(FIRST + timedelta(days=as_of))]
        self.shells.ok(BATCH, *flags(*tables), *day)

    def counted(self) -> dict[int, int]:
        """Give the net amount that customer_metrics knows, by day: order n costs n."""
        rows = read_table(self.shells.lake, CUSTOMER_METRICS).to_pylist()
        return {(row["as_of_date"] - FIRST).days: row["net_amount"] for row in rows}

    def version(self, table: Table) -> int:
        return open_table(self.shells.lake, table).version()


@pytest.fixture
def shop(shells: Any, tmp_path: Path) -> Shop:
    shop = Shop(shells, tmp_path)
    shop.order(0, 1, 2)
    shop.build(*TABLES)
    assert shop.counted() == {1: 1 + 2}
    return shop


def test_a_snapshot_of_old_inputs_is_not_taken_for_a_new_one(shop: Shop) -> None:
    """A batch comes, the snapshot is built of inputs that do not have it, and then all are."""
    shop.order(1)
    shop.build("gold.customer_metrics", "silver.products_dim")
    assert shop.counted() == {1: 3}
    shop.build(*TABLES)
    assert shop.counted() == {1: 3 + 4}
    assert any(row["price"] == 4 for row in read_table(shop.shells.lake, PRODUCTS_DIM).to_pylist())


def test_a_look_at_an_older_day_leaves_the_newest_one_to_be_built(shop: Shop) -> None:
    shop.order(1)
    shop.build(*INPUTS)
    shop.build("gold.customer_metrics", as_of=0)
    assert shop.counted() == {0: 1, 1: 3}
    shop.build("gold.customer_metrics")
    assert shop.counted() == {0: 1, 1: 7}


def test_merging_the_ledgers_files_builds_nothing_again(shop: Shop) -> None:
    shop.shells.ok("utils/compact.py", "--retention", "0")
    versions = {table: shop.version(table) for table in (CUSTOMER_METRICS, PRODUCTS_DIM)}
    shop.build(*TABLES)
    assert {table: shop.version(table) for table in versions} == versions


def test_the_same_day_asked_for_again_is_not_written_again(shop: Shop) -> None:
    shop.build("gold.customer_metrics", as_of=1)
    version = shop.version(CUSTOMER_METRICS)
    shop.build("gold.customer_metrics", as_of=1)
    assert shop.version(CUSTOMER_METRICS) == version


def test_a_day_of_an_empty_lake_has_no_customers(shells: Any) -> None:
    shells.ok(BATCH, "--as-of", str(FIRST))
    assert read_table(shells.lake, CUSTOMER_METRICS).num_rows == 0
