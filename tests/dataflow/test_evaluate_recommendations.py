"""The command that judges recommendations: its figures for the best sold, by a count of its own over silver."""

import json
from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoplake.contract.tables import SILVER_EVENTS
from shoplake.lake.arrow import read_table

AS_OF, DAYS = date(2026, 3, 20), 10


def test_the_best_sold_are_judged_as_counted_by_hand(
    shells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    history = tmp_path / "history.csv"
    shells.ok("kafka/producer.py", "--events", "4000", "--from", "2026-03-01", "--to", "2026-04-01", "--seed", "3",
              "--to-file", str(history))
    shells.ok("spark/batch_processing.py", "--historical-csv", str(history), "--ingest-only")
    capsys.readouterr()

    shells.ok("ml/evaluate_recommendations.py", "--as-of", str(AS_OF), "--days", str(DAYS), "--json")

    result = json.loads(capsys.readouterr().out)
    events = read_table(shells.lake, SILVER_EVENTS).to_pylist()
    known = [event for event in events if event["event_date"] <= AS_OF]
    sold = Counter(event["product_id"] for event in known if event["event_type"] == "order_created")
    best = sorted(sold, key=lambda product: (-sold[product], product))
    orders: defaultdict[Any, set[str]] = defaultdict(set)
    for event in events:
        if event["event_type"] == "order_created" and AS_OF < event["event_date"] <= AS_OF + timedelta(days=DAYS):
            name = event["order_id"] or event["event_time"]
            orders[event["user_id"], name].add(event["product_id"])
    recalls = []
    for order in orders.values():
        if len(order) > 1:
            hits = [len(set([one for one in best if one != product][:10]) & order) / (len(order) - 1)
                    for product in order]
            recalls.append(sum(hits) / len(hits))
    popular = result["ways"]["popular"]
    assert result["products"] == len({event["product_id"] for event in known})
    assert popular["order_count"] == len(recalls) > 20
    assert popular["recall"] == pytest.approx(sum(recalls) / len(recalls))
    assert set(result["ways"]) == {"table", "als", "category", "popular"}
    assert all(0 <= way[name] <= 1 for way in result["ways"].values() for name in ("recall", "ndcg", "coverage"))
    assert result["ways"]["table"]["coverage"] > popular["coverage"]


def test_no_days_to_judge_by_is_refused(shells: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shells.run("ml/evaluate_recommendations.py", "--days", "0") == 2
    assert "--days is 0; allowed are 1 to 366" in capsys.readouterr().err
    assert shells.run("ml/evaluate_recommendations.py") == 2
    assert "spark-submit spark/batch_processing.py" in capsys.readouterr().err
