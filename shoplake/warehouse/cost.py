"""What BigQuery charges on demand: the bytes that statements read, modelled from the contract and the queries' filters.

A scan reads the columns that the query names, of the partitions that its filters leave, at BigQuery's logical sizes.
Load jobs, metadata and dry runs are free; a MERGE is charged for its source and for the partitions that it changes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import duckdb
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_type
from shoplake.contract.tables import (
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DEMAND_PREDICTIONS,
    LATEST_WINDOW_PRODUCTS,
    PRODUCT_PERFORMANCE,
    PRODUCT_RECOMMENDATIONS,
    Table,
)
from shoplake.settings import find_resources
from shoplake.warehouse.duckdb_sql import MACROS, write_duckdb
from shoplake.warehouse.googlesql import DIALECT, Value, read_query
from shoplake.warehouse.named_queries import load_queries, resolve_parameters
from shoplake.warehouse.partition_filters import partition_terms
from shoplake.warehouse.plan import find_published_table, published_tables
from shoplake.warehouse.protocol import RELATIONS, find_relation

PRICE_PER_TIB = 6.25  # US dollars on demand, as Google lists it for most regions; yours may differ
LEAST_BILLED = 10 * 2**20  # bytes, of each table that a statement reads
_SIZES = {"INT64": 8, "FLOAT64": 8, "NUMERIC": 16, "BOOL": 1, "DATE": 8, "TIMESTAMP": 8}
_TEXT_SIZE = 16  # 2 bytes and the text: a product, a category, a customer
_DIGEST_SIZE = 66
_DIGESTS = ("model_version", "file_sha256")
# Days that a run changes of what is no day's own sales: customers and products are looked at once.
_CHANGED_DAYS = {table.name: 1 for table in (CUSTOMER_METRICS, CUSTOMER_SEGMENTS, PRODUCT_PERFORMANCE,
                                             PRODUCT_RECOMMENDATIONS)}
_ARRAY_SIZE = 400  # one of the ledger's arrays, with the names of rules in it


@dataclass(frozen=True)
class Shop:
    """How large a shop is, for the model; the defaults are those of docs/cost.md.

    Attributes:
        history_days: days that the lake holds, up to `last_day`.
        changed_days: days that one run changes: its own, and those that late events reach.
        selling_windows: windows of 5 minutes in which a product sells on a day.
        changed_products: products that change their category, brand or price on a day.
    """

    history_days: int = 90
    last_day: date = date(2026, 11, 20)
    changed_days: int = 3
    products: int = 2_000
    categories: int = 40
    customers: int = 20_000
    known_customers: int = 200_000
    visits: int = 30_000
    cancellations: int = 1_000
    brands: int = 10
    changed_products: int = 20
    selling_windows: int = 10
    models: int = 2
    horizons: int = 7
    batches: int = 24
    rules: int = 17

    def rows_of_day(self, table: str) -> int:
        """Give the rows that one day adds to a published table."""
        return {
            "gold.daily_sales": self.products, "gold.category_revenue": self.categories, "gold.daily_sales_summary": 1,
            "gold.customer_daily_sales": self.customers, "gold.cancellations": self.cancellations,
            "gold.sessions": self.visits,
            "gold.conversion_funnel": self.categories * self.brands,
            "gold.customer_metrics": self.known_customers, "gold.customer_segments": self.known_customers,
            "gold.product_performance": self.products, "gold.product_recommendations": 10 * self.products,
            "silver.products_dim": self.changed_products,
            # Files of registered users are no part of this shop's day.
            "silver.users_dim": 0, "gold.user_segments": 0,
            "gold.demand_predictions": self.products * self.models * self.horizons,
            # Each for the next day and the week.
            "gold.demand_totals": 2 * self.models * (self.products + self.categories + 1),
            "silver.product_revenue_5min": self.products * self.selling_windows,
            "silver.category_revenue_1h": self.categories * 24,
            "silver.quarantine_counts": self.rules, "silver.ingest_counts": 1, "silver.latest_window_products": 0,
            "ops.ledger": self.batches, "ops.runs": 1, "ops.files": 2,
        }[table]

    def rows_of(self, table: str, days: int) -> int:
        """Give the rows that a published table holds of so many days."""
        newest_window = self.products // 10 if table == LATEST_WINDOW_PRODUCTS.name else 0
        return self.rows_of_day(table) * days + newest_window

    def newest_day_of(self, table: str) -> date:
        """Give the newest day of a table's partitions; forecasts reach beyond the newest day sold."""
        ahead = self.horizons if table == DEMAND_PREDICTIONS.name else 0
        return self.last_day + timedelta(days=ahead)

    def days_of(self, table: str) -> list[date]:
        """Give the days of a table's partitions."""
        return [self.newest_day_of(table) - timedelta(days=age) for age in range(self.history_days)]

    def newest_day(self, name: str, column: str) -> date | None:
        """Answer as a warehouse that holds this shop; see Warehouse.newest_day."""
        return self.newest_day_of(name)


@dataclass(frozen=True)
class Scan:
    """What a statement reads of one table."""

    statement: str
    table: str
    partitions: int
    size: int

    @property
    def billed(self) -> int:
        """The bytes that are charged for it."""
        return max(self.size, LEAST_BILLED)


def estimate_run(shop: Shop) -> list[Scan]:
    """Give every scan of a daily run: publishing, all queries of sql/, and one look at every page of the dashboard."""
    return [*estimate_publication(shop), *estimate_queries(shop, "sql"), *estimate_queries(shop, "sql/dashboard")]


def estimate_publication(shop: Shop) -> list[Scan]:
    """Give the scans of a run's MERGE statements; tables without partitions are loaded, which is free."""
    scans = []
    for table in published_tables():
        if table.partition_by:
            days = shop.horizons if table is DEMAND_PREDICTIONS else _CHANGED_DAYS.get(table.name, shop.changed_days)
            rows, whole = shop.rows_of(table.name, days), _row_size(table.columns)
            keys = _row_size([column for column in table.columns if column.name in (*table.key, table.partition_by)])
            name = f"MERGE {table.name}"
            scans += [Scan(name, f"staging of {table.name}", days, rows * whole),
                      Scan(name, table.name, days, rows * (keys + whole))]
    return scans


def estimate_queries(shop: Shop, folder: str) -> list[Scan]:
    """Give the scans of a folder's queries with their default parameters."""
    queries = load_queries(find_resources(folder))
    return [scan for query in queries.values()
            for scan in estimate_query(query.name, query.sql, resolve_parameters(query, {}, shop), shop)]


def estimate_query(name: str, sql: str, parameters: Mapping[str, Value], shop: Shop) -> Iterator[Scan]:
    """Give what one query reads of each table that it names."""
    tree = read_query(sql, parameters, RELATIONS).tree
    for scope in traverse_scope(tree):
        for alias, (_, source) in scope.selected_sources.items():
            if isinstance(source, exp.Table):
                table = find_published_table(find_relation(".".join(part.name for part in source.parts)))
                read = {column.name for column in scope.source_columns(alias)}
                days = _count_partitions(source, table, parameters, shop)
                size = shop.rows_of(table.name, days) * _row_size([c for c in table.columns if c.name in read])
                yield Scan(name, table.name, days, size)


def _count_partitions(scan: exp.Table, table: Table, parameters: Mapping[str, Value], shop: Shop) -> int:
    """Count the days that the scan's filters leave, by asking DuckDB the filters of each day."""
    days = shop.days_of(table.name)
    terms = [term.sql(DIALECT) for term in partition_terms(scan, table.partition_by)] if table.partition_by else []
    if not terms:
        return len(days)
    alias, bounds = scan.alias_or_name, {"first_held": days[-1], "last_held": days[0]}
    asked = read_query(
        f"SELECT COUNT(*) AS day_count FROM (SELECT day AS {table.partition_by} "  # noqa: S608 - a checked query's own
        f"FROM UNNEST(GENERATE_DATE_ARRAY(@first_held, @last_held)) AS day) AS {alias} WHERE {' AND '.join(terms)}",
        {**parameters, **bounds}, ())
    row = _connect().execute(write_duckdb(asked), dict(asked.parameters)).fetchone()
    return int(row[0]) if row else 0


@cache
def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for macro in MACROS:
        connection.execute(macro)
    return connection


def _row_size(columns: Iterable[Column]) -> int:
    return sum(map(_column_size, columns))


def _column_size(column: Column) -> int:
    if column.type.startswith("ARRAY"):
        return _ARRAY_SIZE
    known = _SIZES.get(bigquery_type(column).split("(")[0])
    return known or (_DIGEST_SIZE if column.name in _DIGESTS else _TEXT_SIZE)


def describe_bytes(size: int) -> str:
    """Give a number of bytes and what reading them costs on demand."""
    return f"{size:,} bytes (about ${size / 2**40 * PRICE_PER_TIB:,.6f} on demand)"


def describe_bill(scans: Sequence[Scan]) -> str:
    """Say which statements read what, and what a run costs."""
    lines = [f"{scan.statement:<32} {scan.table:<38} {scan.partitions:>5} partitions {scan.size:>15,} bytes"
             for scan in scans]
    read, billed = sum(scan.size for scan in scans), sum(scan.billed for scan in scans)
    return "\n".join([*lines, f"read: {describe_bytes(read)}", f"billed: {describe_bytes(billed)}, "
                      f"because each table of a statement counts for at least {LEAST_BILLED // 2**20} MB"])
