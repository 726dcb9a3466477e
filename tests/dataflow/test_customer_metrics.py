"""What is known of customers, against plain Python over random shopping; and nothing that came later is used."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from shoplake.batch.customer_metrics import build_customer_metrics
from shoplake.batch.lifetime_value import fit_bg_nbd, fit_gamma_gamma
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CUSTOMER_DAILY_SALES, CUSTOMER_METRICS, SESSIONS, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Rows = list[dict[str, Any]]
FIRST = date(2027, 12, 1)
AS_OF = date(2028, 2, 29)
EXPECTED = ("churn_risk", "expected_purchases_90d", "expected_purchase_amount", "predicted_amount_90d")


def draw_days(seed: int) -> tuple[Rows, Rows]:
    """Give daily sales and visits of 200 users, up to a month beyond AS_OF."""
    draw = random.Random(seed)
    sales, visits = [], []
    for number in range(200):
        user, is_guest = f"u{number:03}", number % 10 == 0
        rate = draw.choice((0.02, 0.1, 0.4))
        for day in range(120):
            event_date = FIRST + timedelta(days=day)
            if draw.random() < rate:
                orders = draw.choice((0, 1, 1, 2))
                gross = Decimal(draw.randrange(1, 10**7) if orders else 0).scaleb(-4)
                cancelled = Decimal(draw.randrange(10**5) if draw.random() < 0.2 or not orders else 0).scaleb(-4)
                sales.append({
                    "event_date": event_date, "user_id": user, "is_guest": is_guest, "order_count": orders,
                    "line_count": 2 * orders, "units": 3 * orders, "gross_amount": gross, "cancelled_units": 1,
                    "cancelled_amount": cancelled, "net_amount": gross - cancelled})
            if draw.random() < rate:
                visits.append({
                    **dict.fromkeys(SESSIONS.column_names), "session_date": event_date, "session_key": str(len(visits)),
                    "user_id": user, "event_count": draw.randrange(1, 30), "duration_seconds": draw.randrange(2000),
                    "is_bot": draw.random() < 0.1, "started_at": datetime(2028, 1, 1, tzinfo=UTC)})
    return sales, visits


def build(spark: "SparkSession", sales: Rows, visits: Rows) -> Rows:
    def frame(rows: Rows, table: Table) -> "DataFrame":
        schema = spark_schema(table)
        for field in schema.fields:
            field.nullable = True
        return spark.createDataFrame(rows, schema)

    built = build_customer_metrics(frame(sales, CUSTOMER_DAILY_SALES), frame(visits, SESSIONS), AS_OF).select(
        *CUSTOMER_METRICS.column_names)
    assert built.schema.simpleString() == spark_schema(CUSTOMER_METRICS).simpleString()
    return sorted((row.asDict() for row in built.collect()), key=lambda row: str(row["user_id"]))


def rounded(part: Any, whole: Any, digits: str) -> Decimal | None:
    return (Decimal(part) / Decimal(whole)).quantize(Decimal(digits), ROUND_HALF_UP) if whole else None


def expect(sales: Rows, visits: Rows) -> Rows:
    """Compute the same in plain Python, but for what the models expect."""
    days: defaultdict[str, Rows] = defaultdict(list)
    for row in sales:
        if row["event_date"] <= AS_OF and not row["is_guest"]:
            days[row["user_id"]].append(row)
    rows = []
    for user, own in days.items():
        with_order = [row for row in own if row["order_count"]]
        first, last = (min(row["event_date"] for row in with_order), max(row["event_date"] for row in with_order)) \
            if with_order else (None, None)
        human = [row for row in visits
                 if row["user_id"] == user and not row["is_bot"] and row["session_date"] <= AS_OF]
        orders, gross = sum(row["order_count"] for row in own), sum((row["gross_amount"] for row in own), Decimal(0))
        tenure = (AS_OF - first).days if first else None
        rows.append({
            "as_of_date": AS_OF, "user_id": user, "first_order_date": first, "last_order_date": last,
            "recency_days": (AS_OF - last).days if last else None, "tenure_days": tenure,
            "order_days": len(with_order), "order_count": orders, "units": sum(row["units"] for row in own),
            "gross_amount": gross, "cancelled_amount": sum((row["cancelled_amount"] for row in own), Decimal(0)),
            "net_amount": sum((row["net_amount"] for row in own), Decimal(0)),
            "average_order_amount": rounded(gross, orders, "1e-4"),
            "orders_per_30_days": rounded(30 * orders, tenure + 1, "1e-6") if tenure is not None else None,
            "session_count": len(human),
            "events_per_session": rounded(sum(row["event_count"] for row in human), len(human), "1e-6"),
            "mean_session_seconds": rounded(sum(row["duration_seconds"] for row in human), len(human), "1e-6")})
    buyers = [row for row in rows if row["order_days"]]
    for row in rows:
        for name, measure, sign in (("recency_score", "recency_days", -1), ("frequency_score", "order_count", 1),
                                    ("monetary_score", "net_amount", 1)):
            not_above = sum(sign * one[measure] <= sign * row[measure] for one in buyers) if row["order_days"] else 0
            row[name] = -(-5 * not_above // len(buyers)) if row["order_days"] else None
    return sorted(rows, key=lambda row: str(row["user_id"]))


def test_every_figure_is_that_of_plain_python(spark: "SparkSession") -> None:
    sales, visits = draw_days(1)
    right, built = expect(sales, visits), build(spark, sales, visits)
    assert [{name: cell for name, cell in row.items() if name not in EXPECTED} for row in built] == [
        {name: row[name] for name in CUSTOMER_METRICS.column_names if name not in EXPECTED} for row in right]
    assert {row["user_id"] for row in built}.isdisjoint(row["user_id"] for row in sales if row["is_guest"])
    assert any(row["order_days"] == 0 for row in built), "one who only cancelled is a customer too"
    assert {row["recency_score"] for row in built} == {None, 1, 2, 3, 4, 5}


def test_what_is_expected_is_what_the_models_say_of_each_history(spark: "SparkSession") -> None:
    sales, visits = draw_days(2)
    built = build(spark, sales, visits)
    buyers = [row for row in built if row["order_days"]]
    repeats = np.array([row["order_days"] - 1.0 for row in buyers])
    last = np.array([float((row["last_order_date"] - row["first_order_date"]).days) for row in buyers])
    age = np.array([float(row["tenure_days"]) for row in buyers])
    later = [[day["gross_amount"] for day in sales if day["user_id"] == row["user_id"] and day["order_count"]
              and row["first_order_date"] < day["event_date"] <= AS_OF] for row in buyers]
    mean = np.array([float(sum(amounts) / len(amounts)) if amounts else 0.0 for amounts in later])
    model, money = fit_bg_nbd(repeats, last, age, np.ones(len(buyers))), fit_gamma_gamma(repeats, mean)
    assert model is not None
    assert money is not None
    seen = np.array([[row[name] for name in EXPECTED] for row in buyers])
    purchases, amount = model.expected_purchases(90, repeats, last, age), money.expected_amount(repeats, mean)
    assert seen[:, 0] == pytest.approx(1 - model.is_active(repeats, last, age), rel=0.02, abs=1e-3)
    assert seen[:, 1] == pytest.approx(purchases, rel=0.02)
    assert seen[:, 2] == pytest.approx(amount, rel=0.02)
    assert seen[:, 3] == pytest.approx(seen[:, 1] * seen[:, 2])
    assert all(row[name] is None for row in built if not row["order_days"]
               for name in EXPECTED)


def test_what_comes_later_changes_nothing(spark: "SparkSession") -> None:
    sales, visits = draw_days(3)
    corrupted = [row if row["event_date"] <= AS_OF else {
        **row, "user_id": "u001", "gross_amount": Decimal("999999"), "is_guest": False, "order_count": 50}
        for row in sales]
    assert build(spark, corrupted, visits[::1]) == build(spark, sales, [
        row for row in visits if row["session_date"] <= AS_OF])
