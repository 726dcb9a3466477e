"""Build the four gold tables of a lake's whole silver.events with DuckDB or Polars, into another folder.

The same rows as spark/batch_processing.py gives; each table is written as Delta by delta-rs, partitioned by day. Runs
in the peers' environment.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import write_deltalake

from shoplake.contract.measures import INTEREST, SALES

LINES = {{"order_count": "line_count"}.get(name, name): sql for name, sql in SALES.items()}
AMOUNTS = ("gross_amount", "cancelled_amount", "net_amount")
KEY = ["event_date", "user_id"]
col = pl.col


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("duckdb", "polars"), required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    flags = parser.parse_args(argv)
    build = build_with_duckdb if flags.engine == "duckdb" else build_with_polars
    for name, rows in build(str(flags.lake / "silver/events")):
        write_deltalake(str(flags.to / "gold" / name), rows, partition_by=["event_date"])
    return 0


def build_with_duckdb(silver: str) -> Iterator[tuple[str, Any]]:
    """Give each table by its name."""
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    folder = Path((find_spec("duckdb_extension_delta").submodule_search_locations or [""])[0])  # type: ignore[union-attr]
    connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/delta.duckdb_extension'")
    connection.execute(f"CREATE VIEW events AS FROM delta_scan('{silver}')")

    def measures(sums: dict[str, str]) -> str:
        return ", ".join(f"{sql} AS {name}" for name, sql in sums.items())

    orders = """count(DISTINCT (order_id, CASE WHEN order_id IS NULL THEN event_time END))
        FILTER (event_type = 'order_created') AS order_count"""
    connection.execute(f"""CREATE TABLE users AS SELECT event_date, user_id, bool_and(is_guest) FILTER (event_type IN
        ('order_created', 'order_cancelled')) AS is_guest, {orders}, {measures({**LINES, **INTEREST})},
        count(*) AS event_count, count_if(is_late) AS late_count FROM events GROUP BY ALL""")
    again = ", ".join(f"CAST(sum({name}) AS {'DECIMAL(28,4)' if name in AMOUNTS else 'BIGINT'}) AS {name}"
                      for name in ("order_count", *LINES, *INTEREST, "event_count", "late_count"))
    connection.execute(f"CREATE TABLE categories AS SELECT event_date, category, {measures(SALES)} FROM events "
                       "GROUP BY ALL")
    # Growth as NUMERIC has it, to nine decimals and then to six, in whole numbers: no amount passes through a float.
    for name, sql in (
        ("daily_sales", f"""SELECT * EXCLUDE (state), state.category, state.brand, state.last_price FROM (
            SELECT event_date, product_id, {measures({**SALES, **INTEREST})}, arg_max(
              {{'category': category, 'brand': brand, 'last_price': price}}, (event_time, event_id)) AS state
            FROM events GROUP BY ALL)"""),
        ("category_revenue", """SELECT today.*, before.net_amount AS net_amount_week_before,
            CAST(CASE WHEN before.net_amount > 0 THEN sign(today.net_amount - before.net_amount) * (
              ((2000000000 * CAST(abs(today.net_amount - before.net_amount) * 10000 AS HUGEINT)
               + CAST(before.net_amount * 10000 AS HUGEINT)) // (2 * CAST(before.net_amount * 10000 AS HUGEINT))
               + 500) // 1000) END AS DECIMAL(28,6)) / 1000000 AS growth
            FROM categories AS today LEFT JOIN categories AS before
            ON before.category = today.category AND before.event_date = today.event_date - 7"""),
        ("daily_sales_summary", f"""WITH hours AS (
              SELECT event_date, hour(timezone('Europe/London', event_time)) AS hour, count(*) AS line_count FROM events
              WHERE event_type = 'order_created' GROUP BY ALL),
            peaks AS (SELECT event_date, CAST(arg_max(hour, (line_count, -hour)) AS INTEGER) AS peak_hour FROM hours
              GROUP BY ALL),
            days AS (SELECT event_date, {again}, count(*) AS visitor_count, count_if(line_count > 0) AS buyer_count
              FROM users GROUP BY ALL)
            SELECT days.*, CAST(CAST(CASE WHEN order_count > 0 THEN (2 * CAST(gross_amount * 10000 AS HUGEINT)
                + order_count) // (2 * order_count) END AS DECIMAL(28,0)) * 0.0001 AS DECIMAL(28,4))
              AS average_order_amount, peak_hour FROM days LEFT JOIN peaks USING (event_date)"""),
        ("customer_daily_sales", f"SELECT event_date, user_id, is_guest, order_count, {', '.join(LINES)} "
                                 "FROM users WHERE is_guest IS NOT NULL"),
    ):
        if name == "category_revenue":
            sql = f"SELECT * EXCLUDE (growth), CAST(growth AS DECIMAL(28,6)) AS net_growth_week FROM ({sql})"
        yield name, connection.execute(sql).to_arrow_reader()


def build_with_polars(silver: str) -> Iterator[tuple[str, Any]]:
    """Give each table by its name."""
    events = pl.scan_delta(silver).select(
        "event_date", "user_id", "product_id", "category", "brand", "price", "event_type", "event_time", "event_id",
        "order_id", "is_guest", "is_late", "quantity",
        amount=(col("price") * col("quantity").cast(pl.Decimal(10, 0))).cast(pl.Decimal(28, 4)),
    ).collect(engine="streaming")

    def measures(first: str) -> list[pl.Expr]:
        def of(event_type: str) -> pl.Expr:
            return col("event_type") == event_type

        created, cancelled = of("order_created"), of("order_cancelled")
        gross, taken_back = (col("amount").filter(kind).sum() for kind in (created, cancelled))
        units, returned = (col("quantity").filter(kind).sum().cast(pl.Int64) for kind in (created, cancelled))
        return [created.sum().cast(pl.Int64).alias(first), units.alias("units"), gross.alias("gross_amount"),
                returned.alias("cancelled_units"), taken_back.alias("cancelled_amount"),
                (gross - taken_back).alias("net_amount")]

    interest = [(col("event_type") == kind).sum().cast(pl.Int64).alias(name)
                for name, kind in (("view_count", "product_viewed"), ("cart_count", "add_to_cart"))]
    yield "daily_sales", events.group_by("event_date", "product_id").agg(
        col("category", "brand", "price").sort_by("event_time", "event_id").last(), *measures("order_count"), *interest,
    ).rename({"price": "last_price"})
    categories = events.group_by("event_date", "category").agg(measures("order_count"))
    before = categories.select(col("event_date").dt.offset_by("7d"), "category",
                               net_amount_week_before=col("net_amount"))
    joined = categories.join(before, on=["event_date", "category"], how="left")
    yield "category_revenue", joined.with_columns(net_growth_week=growth(joined))
    orders = events.filter(col("event_type") == "order_created").select(
        *KEY, "order_id", moment=pl.when(col("order_id").is_null()).then("event_time")).unique().group_by(KEY).agg(
            order_count=pl.len().cast(pl.Int64))
    is_sale = col("event_type").is_in(["order_created", "order_cancelled"])
    users = events.group_by(KEY).agg(
        col("is_guest").filter(is_sale).all().alias("is_guest"), is_sale.any().alias("has_sale"),
        *measures("line_count"), *interest, pl.len().cast(pl.Int64).alias("event_count"),
        col("is_late").sum().cast(pl.Int64).alias("late_count"),
    ).join(orders, on=KEY, how="left").with_columns(col("order_count").fill_null(0))
    counted = ["order_count", *LINES, *INTEREST, "event_count", "late_count"]
    hour = col("event_time").dt.convert_time_zone("Europe/London").dt.hour().cast(pl.Int32)
    peaks = events.filter(col("event_type") == "order_created").group_by("event_date", hour.alias("hour")).len().sort(
        "event_date", "len", "hour", descending=[False, True, False]).group_by("event_date").agg(
            col("hour").first().alias("peak_hour"))
    days = users.group_by("event_date").agg(
        *(col(name).sum() for name in counted), pl.len().cast(pl.Int64).alias("visitor_count"),
        (col("line_count") > 0).sum().cast(pl.Int64).alias("buyer_count"))
    yield "daily_sales_summary", days.with_columns(average_order_amount=mean_order(days)).join(
        peaks, on="event_date", how="left")
    yield "customer_daily_sales", users.filter("has_sale").select(*KEY, "is_guest", "order_count", *LINES)


def mean_order(rows: pl.DataFrame) -> pl.Series:
    """Divide gross amounts by orders, halves away from zero."""
    means = [(2 * int(gross.scaleb(4)) + orders) // (2 * orders) if orders else None
             for gross, orders in rows.select("gross_amount", "order_count").iter_rows()]
    return pl.Series("average_order_amount", means, pl.Int64).cast(pl.Decimal(28, 0)).cast(pl.Decimal(28, 4)) / 10_000


def growth(rows: pl.DataFrame) -> pl.Series:
    """Compute growth as NUMERIC has it: to nine decimals, then to six, halves away from zero."""
    grown: list[Any] = []
    for net, base in rows.select("net_amount", "net_amount_week_before").iter_rows():
        if base is None or base <= 0:
            grown.append(None)
            continue
        part, whole = int(abs(net - base).scaleb(4)), int(base.scaleb(4))
        millionths = ((2_000_000_000 * part + whole) // (2 * whole) + 500) // 1000
        grown.append(millionths if net >= base else -millionths)
    return pl.Series("net_growth_week", grown, pl.Int64).cast(pl.Decimal(28, 0)).cast(pl.Decimal(28, 6)) / 1_000_000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
