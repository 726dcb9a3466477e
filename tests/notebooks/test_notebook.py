"""The tour notebook, executed on a lake made here: what its cells hold, against a plain recomputation."""

import json
import random
import runpy
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from shoplake.contract.tables import (
    BRONZE_EVENTS,
    CATEGORY_REVENUE,
    DAILY_SALES,
    LEDGER,
    SILVER_DUPLICATES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

NOTEBOOK = PROJECT_ROOT / "notebooks" / "tour.ipynb"
FIRST, DAYS = date(2026, 3, 2), 60
PRODUCTS = {"P1": "toys", "P2": "garden", "P3": "garden"}
UNITS = {
    (FIRST + timedelta(days=day), product): 3 + 2 * rank + (4 if day % 7 in (5, 6) else 0) + draw.randrange(3)
    for draw in [random.Random(7)] for day in range(DAYS) for rank, product in enumerate(PRODUCTS)
}
# What the appended cell prints: the variables that a reader of the page sees.
SHOWN = """
import json
print(json.dumps({
    "tables": overview["rows"].to_dict(), "newest_sales": len(sales), "ledger": ledger, "is_equal": is_equal,
    "reasons": reasons.values.tolist(), "balanced": proof.is_balanced,
    "revenue": revenue.values.tolist(), "top": products.values.tolist(), "newest": newest,
    "errors": errors, "cutoff": manifest["cutoff"], "lines": totals.values.tolist(),
    "forecast": forecast.units.tolist(), "past_forecast": forecasts["seasonal_naive"].tolist(),
}, default=str))
"""


def sales_of(day: date, product: str) -> dict[str, Any]:
    units = UNITS[day, product]
    amount = Decimal(units) * Decimal("2.5000")
    return {"event_date": day, "product_id": product, "category": PRODUCTS[product], "order_count": units,
            "units": units, "gross_amount": amount, "cancelled_units": 0, "cancelled_amount": Decimal(0),
            "net_amount": amount, "view_count": 9, "cart_count": 5}


def revenue_of(day: date, category: str) -> dict[str, Any]:
    rows = [sales_of(day, product) for product, its_category in PRODUCTS.items() if its_category == category]
    net = sum((row["net_amount"] for row in rows), Decimal(0))
    return {"event_date": day, "category": category, "net_amount": net, "gross_amount": net}


def record(offset: int, **more: Any) -> dict[str, Any]:
    return {"origin": "topic-1", "topic": "ecommerce_events", "partition": 0, "offset": offset, "query_id": "q",
            "batch_id": 0, "ingest_date": FIRST, **more}


def files_in(folder: Path) -> list[Path]:
    """Give all files but those of the audit log, which tells of each question."""
    log = ("keys", "lake/ops/audit", "lake/_locks")
    return sorted(path for path in folder.rglob("*")
                  if path.is_file() and not path.relative_to(folder).as_posix().startswith(log))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, write_table: Callable[..., None]) -> dict[str, Any]:
    """Execute the notebook on ten records, sixty days of sales and a model; give its variables."""
    data = tmp_path_factory.mktemp("data")
    lake = Lake(str(data / "lake"))
    days = [FIRST + timedelta(days=day) for day in range(DAYS)]
    write_table(lake, DAILY_SALES, [sales_of(day, product) for day in days for product in PRODUCTS])
    write_table(lake, CATEGORY_REVENUE, [revenue_of(day, category) for day in days for category in ("toys", "garden")])
    write_table(lake, BRONZE_EVENTS, [record(offset) for offset in range(10)])
    write_table(lake, SILVER_EVENTS, [record(offset, event_date=FIRST, event_id=str(offset)) for offset in range(7)])
    kept = {"event_date": FIRST, "event_id": "3", "kept_origin": "topic-1", "kept_partition": 0, "kept_offset": 3}
    write_table(lake, SILVER_DUPLICATES, [record(offset, **kept) for offset in (7, 8)])
    write_table(lake, SILVER_QUARANTINE, [record(9, reasons=["price_valid", "text_clean"])])
    write_table(lake, LEDGER, [{
        "query_id": "q", "batch_id": 0, "origin": "topic-1", "topic": "ecommerce_events",
        "ranges": [{"partition": 0, "from_offset": 0, "until_offset": 10}], "bronze_count": 10, "silver_count": 7,
        "duplicate_count": 2, "quarantine_count": 1, "late_count": 0, "rules": [], "event_dates": [FIRST]}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOPLAKE_DATA_DIR", str(data))
        train = runpy.run_path(str(PROJECT_ROOT / "ml" / "train.py"))["main"]
        assert train(["--as-of", str(days[-1])]) == 0
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(SHOWN))
        before = files_in(data)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(data)}}).execute()
        assert files_in(data) == before, "the page says that it writes nothing"
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", [])
                if "image/svg+xml" in output.get("data", {})]
    assert len(pictures) == 2
    result: dict[str, Any] = json.loads(notebook.cells[-1].outputs[0].text)
    return result


def test_the_page_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_it_counts_what_lies_there(shown: dict[str, Any]) -> None:
    assert {name: count for name, count in shown["tables"].items() if count} == {
        "bronze.events": 10, "silver.events": 7, "silver.duplicates": 2, "silver.quarantine": 1,
        "gold.daily_sales": 180, "gold.category_revenue": 120, "ops.ledger": 1}
    assert shown["newest_sales"] == 180


def test_the_ledger_balances(shown: dict[str, Any]) -> None:
    assert shown["ledger"] == {"records_in": 10, "silver": 7, "duplicates": 2, "quarantine": 1, "batches": 1}
    assert (shown["is_equal"], shown["balanced"]) == (True, True)
    assert shown["reasons"] == [["price_valid", 1], ["text_clean", 1]]


def test_its_questions_are_answered_exactly(shown: dict[str, Any]) -> None:
    last = [FIRST + timedelta(days=day) for day in range(DAYS - 28, DAYS)]
    wanted = [[day, category, revenue_of(day, category)["net_amount"]]
              for day in last for category in ("garden", "toys")]
    assert [[date.fromisoformat(day), category, Decimal(net)] for day, category, net in shown["revenue"]] == wanted
    units = {product: sum(UNITS[day, product] for day in last) for product in ("P2", "P3")}
    best = sorted(units, key=lambda product: -units[product])
    assert [[product, count, Decimal(net)] for product, count, net in shown["top"]] == [
        [product, units[product], units[product] * Decimal("2.5")] for product in best]


def test_the_forecast_of_a_week_ago_knew_nothing_of_the_week(shown: dict[str, Any]) -> None:
    newest = FIRST + timedelta(days=DAYS - 1)
    assert shown["newest"] == shown["cutoff"] == str(newest)
    week = [newest - timedelta(days=back) for back in range(6, -1, -1)]
    actual = [[UNITS[day, product] for day in week] for product in PRODUCTS]
    naive = [[UNITS[day - timedelta(days=7), product] for day in week] for product in PRODUCTS]
    assert shown["past_forecast"] == naive
    missed = sum(abs(one - other) for row, guess in zip(actual, naive, strict=True)
                 for one, other in zip(row, guess, strict=True))
    assert shown["errors"]["seasonal_naive"] == pytest.approx(missed / sum(map(sum, actual)))
    assert 0 < shown["errors"]["xgboost"] < 1


def test_the_lines_are_what_they_say(shown: dict[str, Any]) -> None:
    newest = FIRST + timedelta(days=DAYS - 1)
    lines: dict[str, dict[date, float]] = {}
    for day, units, what in shown["lines"]:
        lines.setdefault(what, {})[date.fromisoformat(day[:10])] = units
    days = [newest - timedelta(days=back) for back in range(27, -1, -1)]
    assert lines["sold"] == {day: sum(UNITS[day, product] for product in PRODUCTS) for day in days}
    assert list(lines["forecast of a week ago"]) == days[-7:]
    assert list(lines["forecast"]) == [newest + timedelta(days=ahead) for ahead in range(1, 8)]
    assert list(lines["forecast"].values()) == pytest.approx(
        [sum(row[day] for row in shown["forecast"]) for day in range(7)])
    average = sum(UNITS.values()) / DAYS
    assert all(average / 2 < units < average * 2 for units in lines["forecast"].values())


def test_without_gold_it_says_what_to_run(data_dir: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [first]
    data_dir.mkdir(parents=True)
    client = NotebookClient(notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(data_dir)}})
    client.execute()
    assert "holds no gold yet. Run this first: make demo" in str(first.outputs)
