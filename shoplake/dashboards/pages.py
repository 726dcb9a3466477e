"""The pages: what is shown, what is compared with what, and what to run where data are missing or old."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shoplake.contract.tables import DAILY_SALES, DEMAND_PREDICTIONS, FILES, LEDGER, RUNS
from shoplake.dashboards import charts
from shoplake.dashboards.blocks import Block, Figure, Figures, Graph, Listing, Notice, Page
from shoplake.dashboards.board import Board
from shoplake.dashboards.figures import compare, count_of, list_table, write_age, write_amount, write_time
from shoplake.dashboards.freshness import EMPTY, describe_gold, describe_origin, find_stale_batch, shop_day
from shoplake.quality.rules import CONFLICTING_DUPLICATE, event_rules
from shoplake.warehouse.protocol import RELATIONS

LIVE_SPAN = timedelta(hours=6)
HOURS_SPAN = timedelta(hours=24)
DAY_CHOICES = (7, 28, 90)
SCOPES = ("all", "category", "product")
_HOUR = timedelta(hours=1)
_LISTED_CATEGORIES = 30
_NO_FORECAST = Notice(
    "info", "There is no forecast yet; shown is what was sold.",
    "python ml/train.py && python ml/inference.py --model xgboost --horizon next_week")


def live_page(board: Board, now: datetime) -> Page:
    """Show sales of the newest windows, as the stream takes events in; `now` is in UTC, as everything here."""
    batch_at = board.changed_at(LEDGER.name)
    origin = describe_origin("The stream's windows of 5 minutes and 1 hour, in UTC", "last batch", batch_at, now)
    if batch_at is None:
        return Page("Live", origin, (EMPTY,))
    notices = find_stale_batch(board, batch_at, now)
    windows = board.ask("live_windows").rows
    if windows.num_rows == 0:
        text = "Batches came in, but no event in them is an order or a cancellation, so there is no window yet."
        return Page("Live", origin, (*notices, Notice("info", text, "python kafka/producer.py --events 1000")))
    until = max(windows["window_end"].to_pylist())
    if not notices and now - until > timedelta(minutes=board.settings.dashboard.batch_stale_after):
        text = f"Batches are fresh, but their newest sale is {write_age(now - until)} old: the events are of the past."
        notices = (Notice("info", text),)
    hours = _since(board.ask("live_hours").rows, until - HOURS_SPAN)
    return Page("Live", origin, (
        *notices,
        _live_figures(windows, until, board.currency),
        Graph(f"Net revenue in windows of 5 minutes, {board.currency}, 6 hours until {until:%Y-%m-%d %H:%M} UTC",
              charts.draw_windows(_since(windows, until - LIVE_SPAN), board.currency)),
        Graph(f"Net revenue by hour and category, {board.currency}, 24 hours",
              charts.draw_hours(hours, board.currency)),
        list_table(
            f"Products of the newest window, from {until - timedelta(minutes=5):%H:%M} UTC",
            board.ask("live_products").rows,
            {"revenue_rank": "Rank", "product_id": "Product", "order_count": "Orders", "units": "Units",
             "net_amount": "Net revenue"}, board.currency),
    ))


def sales_page(board: Board, now: datetime, days: int = 28) -> Page:
    """Show the shop's last `days` days, against as many before them."""
    notices, origin = describe_gold(board, now)
    if board.changed_at(DAILY_SALES.name) is None:
        return Page("Sales", origin, notices)
    newest = board.ask("daily_revenue").day("to_date")
    first = newest - timedelta(days=days - 1)
    period = {"from_date": str(first), "to_date": str(newest)}
    daily, growth, top = (
        board.ask(query, **period).rows for query in ("daily_revenue", "category_growth", "top_selling_products"))
    before = board.ask(
        "daily_revenue", from_date=str(first - timedelta(days=days)), to_date=str(first - timedelta(days=1))).rows
    # A history that starts within the days before would make any growth look large.
    base = f"the {days} days before" if before.num_rows == days else f"{before.num_rows} of the {days} days before"
    open_day = newest if newest >= shop_day(board, now) else None
    if open_day:
        notices = (*notices, Notice("info", f"{open_day} is not over: its figures are so far."))
    span = f"{days} days until {newest}"
    return Page("Sales", origin, (
        *notices,
        _sales_figures(daily, before, days, base, board.currency),
        Graph(f"Net revenue by shop day, {board.currency}, {span}",
              charts.draw_days(daily, board.currency, open_day)),
        list_table("Days", daily, {
            "event_date": "Day", "order_count": "Orders", "units": "Units", "gross_amount": "Gross",
            "cancelled_amount": "Cancelled", "net_amount": "Net", "net_growth_day": "In a day",
            "net_growth_week": "In a week"}, board.currency, is_folded=True),
        Graph(f"Growth of categories: net revenue of {days} days against {base}",
              charts.draw_growth(growth, board.currency)),
        list_table("Categories", growth.slice(0, _LISTED_CATEGORIES), {
            "category": "Category", "units": "Units", "net_amount": "Net revenue", "net_amount_before": "Before",
            "net_growth": "Growth", "net_share": "Share"}, board.currency, is_folded=True),
        list_table(f"Top products by units, {span}", top, {
            "units_rank": "Rank", "product_id": "Product", "category": "Category", "order_count": "Orders",
            "units": "Units", "net_amount": "Net revenue"}, board.currency, bar="units"),
    ))


def forecast_page(board: Board, now: datetime, scope: str = "all", name: str = "all") -> Page:
    """Show units sold and forecast, for the whole shop, a category or a product (`scope` is one of SCOPES)."""
    notices, origin = describe_gold(board, now)
    if board.changed_at(DAILY_SALES.name) is None:
        return Page("Forecast", origin, notices)
    answer = board.ask("forecast_series", scope=scope, name=name)
    expected = answer.rows.filter(pc.is_valid(answer.rows["model"]))
    what = {"all": "the whole shop", "category": f"the category {name}", "product": f"the product {name}"}[scope]
    graph = Graph(f"Demand of {what}, units a shop day", charts.draw_demand(answer.rows))
    if board.changed_at(DEMAND_PREDICTIONS.name) is None:
        return Page("Forecast", origin, (*notices, _NO_FORECAST, graph))
    if expected.num_rows == 0:
        text = f"There is no forecast for {what}."
        return Page("Forecast", origin, (*notices, Notice("info", text), graph))
    ahead = expected.filter(pc.greater(expected["target_date"], pa.scalar(answer.day("to_date"))))
    if ahead.num_rows == 0:
        text = f"No forecast reaches beyond {answer.day('to_date')}, the newest day with sales."
        notices = (*notices, Notice("warning", text, "python ml/inference.py --model xgboost --horizon next_week"))
    accuracy = board.ask("forecast_accuracy", scope=scope, name=name).rows
    return Page("Forecast", origin, (*notices, graph, _list_accuracy(accuracy, board.currency), list_table(
        "Forecast days ahead", ahead, {
            "target_date": "Day", "model": "Model", "units": "Expected units", "as_of_date": "Made after"},
        board.currency)))


def quality_page(board: Board, now: datetime) -> Page:
    """Show what was taken in, where it went, and why records were rejected."""
    batch_at = board.changed_at(LEDGER.name)
    origin = describe_origin("The ledger and the quarantine", "last batch", batch_at, now)
    if batch_at is None:
        return Page("Quality", origin, (EMPTY,))
    totals = board.ask("ledger_totals").rows.to_pylist()[0]
    sources = board.ask("ledger_sources").rows
    answer = board.ask("quarantine_reasons")
    blocks: list[Block] = [*find_stale_batch(board, batch_at, now), *_balance(totals), _quality_figures(totals)]
    if answer.rows.num_rows:
        until = answer.day("to_date")
        blocks += [
            Graph(f"Rejections by UTC day (a record that fails several rules counts for each), 28 days until {until}",
                  charts.draw_rejections(_by_day(answer.rows))),
            _list_reasons(board, answer.rows),
        ]
    else:
        blocks.append(Notice("info", "No record was rejected."))
    blocks.append(list_table("Sources: the stream's checkpoints and each file", sources, {
        "topic": "Topic or source", "query_id": "Query or file", "batch_count": "Batches", "record_count": "Records",
        "silver_count": "Silver", "duplicate_count": "Duplicates", "quarantine_count": "Quarantined",
        "late_count": "Late"}, board.currency))
    return Page("Quality", origin, tuple(blocks))


def runs_page(board: Board, now: datetime) -> Page:
    """Show the runs of the daily pipeline that ended, files that came, and when each served table last changed."""
    ended_at = board.changed_at(RUNS.name)
    origin = describe_origin("Runs that ended; one that failed is in Airflow only", "last run", ended_at, now)
    blocks: list[Block] = []
    if ended_at is None:
        blocks.append(Notice("info", "No run of the daily pipeline has ended yet.", "make demo"))
    else:
        blocks.append(list_table("Runs", board.ask("recent_runs").rows, {
            "run_date": "Shop day", "finished_at": "Ended (UTC)", "dag_id": "DAG", "run_id": "Run",
            "offset_count": "Records", "silver_count": "Silver", "duplicate_count": "Duplicates",
            "quarantine_count": "Quarantined", "late_count": "Late", "prediction_count": "Predictions"},
            board.currency))
    if board.changed_at(FILES.name):
        blocks.append(list_table("Files of the landing folder", board.ask("recent_files").rows, {
            "recorded_at": "When (UTC)", "source": "Source", "file_name": "File", "status": "Status",
            "record_count": "Records", "bad_line_count": "Bad lines", "route": "Way", "reason": "Reason"},
            board.currency))
    return Page("Pipeline", origin, (*blocks, _list_served(board, now)))


def forecast_choices(board: Board, scope: str) -> list[str]:
    """Give the categories or products that have a forecast, the largest first; at most 500."""
    rows = board.ask("forecast_choices").rows
    return [row["name"] for row in rows.to_pylist() if row["scope"] == scope]


def _since(rows: pa.Table, start: datetime) -> pa.Table:
    return rows.filter(pc.greater_equal(rows["window_start"], pa.scalar(start, rows["window_start"].type)))


def _sum(rows: list[dict[str, Any]], column: str) -> Any:
    return sum((row[column] for row in rows), Decimal(0) if column.endswith("_amount") else 0)


def _live_figures(windows: pa.Table, until: datetime, currency: str) -> Figures:
    rows = windows.to_pylist()
    hour = [row for row in rows if row["window_start"] >= until - _HOUR]
    before = [row for row in rows if until - 2 * _HOUR <= row["window_start"] < until - _HOUR]
    day = max(row["window_start"] for row in rows).astimezone(UTC).date()
    today = [row for row in rows if row["window_start"].date() == day]
    net, orders = _sum(hour, "net_amount"), _sum(hour, "order_count")
    than = "the hour before"
    return Figures((
        compare("Net revenue, latest hour", write_amount(net, currency), net, _sum(before, "net_amount"), than),
        compare("Orders, latest hour", f"{orders:,}", orders, _sum(before, "order_count"), than),
        Figure("Net revenue, UTC day", write_amount(_sum(today, "net_amount"), currency), f"{day}"),
        Figure("Orders, UTC day", f"{_sum(today, 'order_count'):,}", f"{_sum(today, 'units'):,} units"),
    ))


def _sales_figures(daily: pa.Table, before: pa.Table, days: int, base: str, currency: str) -> Figures:
    rows = daily.to_pylist()
    net, orders, units = (_sum(rows, column) for column in ("net_amount", "order_count", "units"))
    gross, cancelled = _sum(rows, "gross_amount"), _sum(rows, "cancelled_amount")
    share = f"{cancelled / gross:.1%} of gross" if gross else ""
    return Figures((
        compare("Net revenue", write_amount(net, currency), net, _sum(before.to_pylist(), "net_amount"), base),
        Figure("Orders", f"{orders:,}", f"{len(rows)} of {days} days with events"),
        Figure("Units", f"{units:,}", f"{units / orders:.2f} an order" if orders else ""),
        Figure("Cancelled", write_amount(cancelled, currency), share),
    ))


def _list_accuracy(accuracy: pa.Table, currency: str) -> Block:
    if accuracy.num_rows == 0:
        return Notice("info", "No day that was forecast has sales yet, so there is no accuracy to show.")
    title = "Accuracy by product and day, last 28 days (WAPE: lower is better, bias: nearer to 0)"
    return list_table(title, accuracy, {
        "model": "Model", "horizon": "Days ahead", "day_count": "Days", "predicted_units": "Expected units",
        "actual_units": "Sold units", "wape": "WAPE", "bias": "Bias"}, currency)


def _balance(totals: dict[str, Any]) -> tuple[Notice, ...]:
    if totals["missing_count"] == 0:
        return ()
    missing = totals["missing_count"]
    text = f"The ledger does not balance: {missing:,} records came in that stand in no place, or in two."
    return (Notice("error", text, "python utils/reconcile.py"),)


def _quality_figures(totals: dict[str, Any]) -> Figures:
    records = totals["record_count"]

    def part(label: str, column: str) -> Figure:
        count = totals[column]
        return Figure(label, f"{count:,}", f"{count / records:.2%} of records" if records else "")

    balance = "balanced" if totals["missing_count"] == 0 else "NOT balanced"
    return Figures((
        Figure("Records in", f"{records:,}", f"{count_of(totals['batch_count'], 'batch', 'batches')}, {balance}"),
        part("Silver", "silver_count"), part("Duplicates", "duplicate_count"),
        part("Quarantined", "quarantine_count"), part("Late, kept", "late_count"),
    ))


def _by_day(rows: pa.Table) -> list[tuple[date, int]]:
    days: dict[date, int] = {}
    for row in rows.to_pylist():
        days[row["ingest_date"]] = days.get(row["ingest_date"], 0) + row["row_count"]
    return sorted(days.items())


def _list_reasons(board: Board, rows: pa.Table) -> Listing:
    rules = {rule.name: rule.why for rule in event_rules(board.settings.quality, board.settings.shop)}
    rules[CONFLICTING_DUPLICATE] = "a second event under an identity, with another content"
    counts = rows.group_by("reason").aggregate([("row_count", "sum")]).sort_by(
        [("row_count_sum", "descending"), ("reason", "ascending")])
    why = pa.array([rules.get(reason, "a rule of an earlier version") for reason in counts["reason"].to_pylist()])
    return list_table("Quarantined by reason, 28 days", counts.append_column("why", why), {
        "reason": "Rule", "row_count_sum": "Records", "why": "What it asks, or why"},
        board.currency, bar="row_count_sum")


def _list_served(board: Board, now: datetime) -> Listing:
    rows = []
    for relation in RELATIONS:
        changed_at = board.changed_at(relation.name)
        when = (write_time(changed_at), write_age(now - changed_at)) if changed_at else ("not built yet", "–")
        rows.append((relation.name, relation.description, *when))
    return Listing("Served tables", ("Table", "What", "Changed", "Age"), tuple(rows), frozenset({3}))
