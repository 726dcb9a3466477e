"""A raw file's orders as a history for a backtest."""

from pathlib import Path

import pytest

from shoplake.errors import ForecastError
from shoplake.forecasting.source_sales import read_source_sales
from shoplake.settings import load_settings

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "{invoice},{code},CUP,{quantity},{when},{price},17850.0,United Kingdom\n"


def write(file: Path, *lines: dict[str, str]) -> Path:
    usual = {"invoice": "536365", "code": "85123A", "quantity": "6", "when": "2010-12-01 08:26:00", "price": "2.50"}
    file.write_text(HEADER + "".join(LINE.format(**usual | line) for line in lines))
    return file


def test_orders_of_goods_by_day_and_product(tmp_path: Path) -> None:
    file = write(
        tmp_path / "retail.csv", {}, {"quantity": "4", "when": "2010-12-01 20:00:00"}, {"code": "85123a"},
        {"when": "2010-12-02 09:00:00", "price": "3"}, {"code": "22423", "quantity": "1"},
        {"code": "POST"}, {"code": "DOT"}, {"code": "gift_0001_20"},  # no goods
        {"price": "0"}, {"quantity": "-6", "invoice": "C536366"}, {"quantity": "many"},
    )
    sales = read_source_sales(file, "online_retail", load_settings("local"))
    rows = {(str(row["event_date"].date()), row["product_id"]): (row["units"], row["gross_amount"])
            for row in sales.rows.to_dict("records")}
    # Codes are upper-cased by the reader, so the second spelling is the same product.
    assert rows == {("2010-12-01", "85123A"): (16, 40.0), ("2010-12-02", "85123A"): (6, 18.0),
                    ("2010-12-01", "22423"): (1, 2.5)}
    assert sales.data == "retail.csv"
    assert len(sales.version) == 64


def test_a_file_without_an_order_of_goods_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "retail.csv", {"code": "POST"}, {"price": "0"})
    with pytest.raises(ForecastError, match="no order of goods"):
        read_source_sales(file, "online_retail", load_settings("local"))
