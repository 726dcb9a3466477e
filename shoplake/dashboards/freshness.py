"""How old the data behind a page are, and what to run where they are missing or old."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from shoplake.contract.tables import DAILY_SALES, LEDGER
from shoplake.dashboards.blocks import Notice
from shoplake.dashboards.board import Board
from shoplake.dashboards.figures import write_age, write_time

EMPTY = Notice(
    "info", "No event was taken into the lake yet.",
    "python kafka/producer.py --events 1000 && spark-submit spark/streaming_pipeline.py --drain")
NO_GOLD = Notice(
    "info", "Events are in the lake, but the daily tables are not built yet.", "spark-submit spark/batch_processing.py")


def describe_origin(what: str, newest: str, moment: datetime | None, now: datetime) -> str:
    """Say where a page's data come from, and of when the newest are."""
    if moment is None:
        return f"{what} · nothing yet"
    return f"{what} · {newest} {write_time(moment)}, {write_age(now - moment)} ago"


def find_stale_batch(board: Board, batch_at: datetime, now: datetime) -> tuple[Notice, ...]:
    """Give the notice that no batch came for long, if none did."""
    if now - batch_at <= timedelta(minutes=board.settings.dashboard.batch_stale_after):
        return ()
    text = (f"Stale: the last batch is {write_age(now - batch_at)} old. Either no event came since, or the stream does "
            "not run.")
    return (Notice("warning", text, "make status"),)


def describe_gold(board: Board, now: datetime) -> tuple[tuple[Notice, ...], str]:
    """Give the notices and the origin of a page made of gold."""
    built_at = board.changed_at(DAILY_SALES.name)
    zone = board.settings.shop.time_zone
    what = f"The gold tables; days are the shop's ({zone}), money is in {board.currency}"
    origin = describe_origin(what, "built", built_at, now)
    batch_at = board.changed_at(LEDGER.name)
    if built_at is None:
        return (EMPTY if batch_at is None else NO_GOLD,), origin
    if now - built_at > timedelta(hours=board.settings.dashboard.gold_stale_after):
        text = f"Stale: the daily tables were built {write_age(now - built_at)} ago."
        return (Notice("warning", text, "spark-submit spark/batch_processing.py"),), origin
    if batch_at and batch_at > built_at:
        origin += f" · the last batch came {write_age(batch_at - built_at)} after that"
    return (), origin


def shop_day(board: Board, now: datetime) -> date:
    """Give the shop's day of a moment."""
    return now.astimezone(ZoneInfo(board.settings.shop.time_zone)).date()
