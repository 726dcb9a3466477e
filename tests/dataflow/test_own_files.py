"""A file of a shop's own way of writing, from the landing folder to gold and looked at before."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import DAILY_SALES, FILES, SILVER_QUARANTINE
from shoplake.lake.arrow import read_table

FORMAT = {"fields": {"event_time": "Datum", "user_id": "Kunde", "product_id": "Artikel", "price": "Preis",
                     "quantity": "Menge"},
          "constants": {"event_type": "order_created", "category": "Möbel"}, "separator": ";", "decimal_comma": True,
          "time_format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}


def test_a_shops_own_file_comes_to_gold(
    shells: Any, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOPLAKE_SOURCES__FORMATS", json.dumps({"kasse": FORMAT}))
    monkeypatch.setenv("SHOPLAKE_SOURCES__LANDING_SETTLE", "0")
    shells.ok("utils/ingest_landing.py")
    file = data_dir / "landing" / "kasse" / "august.csv"
    # Half past midnight in Berlin is the evening before in the shop's London.
    file.write_text("Datum;Kunde;Artikel;Preis;Menge\n01.08.2026 00:30;u1;Stuhl;1.049,90;2\n"
                    "01.08.2026 12:00;u2;Stuhl;zehn;1\n01.08.2026 12:00;u2;Stuhl;49,90;1\n")
    capfd.readouterr()
    shells.ok("utils/inspect_source.py", str(file), "--json")
    looked = json.loads(capfd.readouterr().out)
    assert (looked["source"], looked["records"], looked["by_reason"]) == ("kasse", 3, {"price_valid": 1})

    shells.ok("utils/ingest_landing.py", "--json")
    shells.ok("spark/streaming_pipeline.py", "--drain")
    shells.ok("spark/batch_processing.py")

    sales = read_table(shells.lake, DAILY_SALES, ["event_date", "product_id", "units", "gross_amount"]).to_pylist()
    assert sorted((row["event_date"], row["product_id"], row["units"], row["gross_amount"]) for row in sales) == [
        (date(2026, 7, 31), "Stuhl", 2, Decimal("2099.80")), (date(2026, 8, 1), "Stuhl", 1, Decimal("49.90"))]
    (refused,) = read_table(shells.lake, SILVER_QUARANTINE, ["value", "reasons"]).to_pylist()
    assert (json.loads(refused["value"])["source.Preis"], refused["reasons"]) == ("zehn", ["price_valid"])
    (row,) = read_table(shells.lake, FILES).to_pylist()
    assert (row["source"], row["record_count"]) == ("kasse", 3)
    shells.ok("utils/reconcile.py")
