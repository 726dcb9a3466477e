"""The history's reader: both formats alike, and bad input named before anything is computed."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoplake.errors import ConfigError, ForecastError, ShoplakeError
from shoplake.forecasting.history import build_history
from shoplake.forecasting.inputs import check_sales, read_sales, resolve_as_of
from shoplake.settings import load_settings

GOOD: dict[str, Any] = {
    "event_date": [date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 1)], "product_id": ["00123", "00123", "NA"],
    "category": ["a", "b", "a"], "units": [1, 2, 0],
    "gross_amount": [Decimal("1.2500"), Decimal("2.5000"), Decimal("0")],
}


def read_text(folder: Path, text: str) -> Any:
    (folder / "sales.csv").write_text(text)
    return read_sales(folder / "sales.csv", load_settings()).rows


def test_the_copy_of_gold_is_gold_and_any_other_file_is_a_file(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in (data_dir, tmp_path):
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.table(GOOD), folder / "daily_sales.parquet")
    assert read_sales(data_dir / "daily_sales.parquet", load_settings()).data == "gold.daily_sales"
    assert read_sales(tmp_path / "daily_sales.parquet", load_settings()).data == "daily_sales.parquet"
    monkeypatch.chdir(data_dir)  # as a person names it
    assert read_sales(Path("../data/daily_sales.parquet"), load_settings()).data == "gold.daily_sales"


def test_csv_and_parquet_give_the_same_history(tmp_path: Path) -> None:
    pq.write_table(pa.table(GOOD), tmp_path / "sales.parquet")
    from_parquet = read_sales(tmp_path / "sales.parquet", load_settings()).rows
    from_csv = read_text(tmp_path, "product_id,units,event_date,category,gross_amount,extra\n"
                                   "00123,1,2026-01-01,a,1.25,x\n00123,2,2026-01-03,b,2.50,y\nNA,0,2026-01-01,a,0,z\n")
    assert from_parquet.equals(from_csv)
    history = build_history(from_csv, date(2026, 1, 3))
    assert list(history.product_ids) == ["00123", "NA"]
    assert history.units.tolist() == [[1, 0, 2], [0, 0, 0]]
    assert list(history.categories) == ["b", "a"]
    assert list(history.until(2).categories) == ["a", "a"]


def test_prices_looks_and_carts_are_optional(tmp_path: Path) -> None:
    sales = read_text(tmp_path, "event_date,product_id,category,units\n2026-01-01,A,c,1\n")
    assert sales["gross_amount"].isna().all()
    assert sales[["view_count", "cart_count"]].to_numpy().tolist() == [[0, 0]]
    assert not build_history(sales, date(2026, 1, 1)).is_censored.any()


def test_a_day_without_a_row_is_a_day_without_demand(tmp_path: Path) -> None:
    sales = read_text(tmp_path, "event_date,product_id,category,units\n2026-01-01,A,c,4\n2026-01-04,A,c,2\n")
    assert build_history(sales, date(2026, 1, 5)).units.tolist() == [[4, 0, 0, 2, 0]]


@pytest.mark.parametrize(("column", "value", "message"), [
    ("event_date", "soon", "event_date that is no date.*row 2.*'soon'"),
    ("event_date", "2026-13-01", "event_date that is no date"),
    ("event_date", "2026-01-02 10:30", "event_date that is no date"),
    ("event_date", "2026-01-02T00:00:00+00:00", "event_date that is no date"),
    ("units", "-3", "units that are no demand.*row 2.*-3"),
    ("units", "1.5", "units that are no demand"),
    ("units", "many", "units that are no demand"),
    ("units", "", "units that are no demand"),
    ("units", "99999999999", "units that are no demand"),
    ("product_id", "", "empty product_id"),
    ("gross_amount", "-1", "gross_amount that is no amount"),
    ("gross_amount", "free", "gross_amount that is no amount"),
    ("view_count", "-2", "a view_count that is no count.*row 2.*-2"),
    ("cart_count", "0.5", "a cart_count that is no count"),
    ("view_count", "", "a view_count that is no count"),
])
def test_a_bad_value_is_named_with_its_row(column: str, value: str, message: str, tmp_path: Path) -> None:
    good = {"event_date": "2026-01-02", "product_id": "B", "category": "c", "units": "1", "gross_amount": "1",
            "view_count": "3", "cart_count": "1"}
    lines = [",".join(good), "2026-01-01,A,c,1,1,0,0", ",".join((good | {column: value}).values())]
    with pytest.raises(ForecastError, match=message):
        read_text(tmp_path, "\n".join(lines) + "\n")


def test_two_rows_of_one_product_and_day_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match="more than one row on a day"):
        read_text(tmp_path, "event_date,product_id,category,units\n2026-01-01,A,c,1\n2026-01-01,A,c,2\n")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match=r"lacks the column\(s\) category, units; seen: event_date, product_id"):
        read_text(tmp_path, "event_date,product_id\n2026-01-01,A\n")


def test_no_rows_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match=r"no history to train on.*holds no rows"):
        read_text(tmp_path, "event_date,product_id,category,units\n")


def test_times_of_day_are_no_dates() -> None:
    table = pa.table(GOOD | {"event_date": [datetime(2026, 1, 1, 5), datetime(2026, 1, 2), datetime(2026, 1, 3)]})
    with pytest.raises(ForecastError, match="no date"):
        check_sales(table, "a table")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("not parquet")
    (tmp_path / "sales.xlsx").write_text("")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bytes.csv").write_bytes(b"event_date,product_id\n\xff\xfe,\x00\n")
    for name in ("absent.csv", "broken.parquet", "sales.xlsx", "empty.csv", "bytes.csv"):
        with pytest.raises(ForecastError, match=name):
            read_sales(tmp_path / name, load_settings())


def test_the_default_day_is_the_one_before_the_newest() -> None:
    sales = check_sales(pa.table(GOOD), "a table")
    assert resolve_as_of(sales, None) == date(2026, 1, 2)
    assert resolve_as_of(sales, "2026-01-03") == date(2026, 1, 3)


@pytest.mark.parametrize(("as_of", "error", "message"), [
    ("2026-01-04", ForecastError, "after the newest day of the history: there is 2026-01-01 to 2026-01-03"),
    ("2025-12-31", ForecastError, "no history to train on up to 2025-12-31"),
    ("yesterday", ConfigError, "'yesterday' is no date"),
])
def test_a_day_outside_the_history_is_refused(as_of: str, error: type[ShoplakeError], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_as_of(check_sales(pa.table(GOOD), "a table"), as_of)
