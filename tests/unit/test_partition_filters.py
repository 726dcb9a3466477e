"""The rule for partition filters, form by form: what says which partitions are read, and what only seems to."""

from datetime import date

import pytest
import sqlglot
from sqlglot import exp

from shoplake.contract.tables import DAILY_SALES
from shoplake.errors import EXIT_USAGE, QueryRefusedError
from shoplake.warehouse.googlesql import read_query
from shoplake.warehouse.partition_filters import find_unfiltered_merge, refuse_unfiltered
from shoplake.warehouse.protocol import RELATIONS

DAY = {"day": date(2026, 1, 31), "n": 3}
FILTERED = [
    "event_date = @day", "event_date >= '2026-01-01'", "@day <= event_date", "event_date < CURRENT_DATE()",
    "event_date BETWEEN DATE_SUB(@day, INTERVAL 7 DAY) AND @day", "event_date IN (@day, DATE '2026-01-01')",
    "event_date > DATE_SUB(@day, INTERVAL (7 * @n) DAY)", "units > 0 AND (event_date = @day AND units < 9)",
    "event_date = @day OR event_date BETWEEN '2026-01-01' AND '2026-01-07'", "(((event_date = @day)))",
    "event_date >= IF(@n > 2, @day, DATE_TRUNC(@day, MONTH))",
    # One term is enough, whatever else is asked of the column.
    "event_date >= @day AND event_date <= (SELECT MAX(run_date) FROM ops.runs)",
]
UNFILTERED = [
    "units > 0",
    "event_date = @day OR units > 0",  # the second branch reads every partition
    "event_date = @day OR (event_date = '2026-01-01' AND units > 0)",  # each branch must be such a term and no more
    "NOT event_date < @day", "event_date <> @day", "event_date IS NOT NULL", "event_date NOT IN (@day)",
    "event_date NOT BETWEEN @day AND '2026-12-31'",
    "DATE_ADD(event_date, INTERVAL 1 DAY) = @day", "EXTRACT(YEAR FROM event_date) = 2026",  # not the bare column
    "DATE_TRUNC(event_date, MONTH) = @day", "CAST(event_date AS STRING) = '2026-01-31'",
    "COALESCE(event_date, @day) = @day", "IF(event_date = @day, TRUE, FALSE)",
    "event_date = (SELECT MAX(run_date) FROM ops.runs)",  # known only when the query runs
    "event_date IN (SELECT run_date FROM ops.runs)",
    "event_date >= DATE_SUB(event_date, INTERVAL 1 DAY)", "event_date = event_date", "TRUE", "@day = '2026-01-31'",
    "event_date BETWEEN @day AND DATE_ADD(event_date, INTERVAL units DAY)",
]
SCAN, OTHER = "gold.daily_sales AS s", "gold.category_revenue AS r"
WHERE_R = "r.event_date = @day"
QUERIES_FILTERED = [
    f"SELECT 1 AS x FROM {SCAN} JOIN {OTHER} ON r.event_date = @day WHERE s.event_date = @day",
    f"SELECT 1 AS x FROM {SCAN} JOIN {OTHER} ON r.event_date = @day AND s.event_date = @day",
    f"SELECT 1 AS x FROM {SCAN} LEFT JOIN {OTHER} ON r.units = s.units AND {WHERE_R} WHERE s.event_date = @day",
    f"SELECT 1 AS x FROM {SCAN}, {OTHER} WHERE s.event_date = @day AND {WHERE_R}",
    "WITH a AS (SELECT units FROM gold.daily_sales WHERE event_date = @day) SELECT units FROM a",
    "SELECT units FROM gold.daily_sales WHERE event_date = @day UNION ALL "
    "SELECT units FROM gold.category_revenue WHERE event_date >= @day",
    f"SELECT 1 AS x FROM {SCAN} WHERE s.event_date = @day AND EXISTS "
    f"(SELECT 1 FROM {OTHER} WHERE r.units = s.units AND {WHERE_R})",
    "SELECT batch_id FROM ops.ledger", "SELECT units FROM silver.product_revenue_5min",  # need none
    "SELECT units FROM silver.latest_window_products",
]
# The table that is read whole.
QUERIES_UNFILTERED = {
    "SELECT units FROM gold.daily_sales": "gold.daily_sales",
    # A filter around the query: BigQuery may push it down, or may not.
    "SELECT units FROM (SELECT units, event_date FROM gold.daily_sales) WHERE event_date = @day": "gold.daily_sales",
    "WITH a AS (SELECT units, event_date FROM gold.daily_sales) SELECT units FROM a WHERE event_date = @day":
        "gold.daily_sales",
    "WITH a AS (SELECT MAX(event_date) AS event_date FROM gold.daily_sales) SELECT event_date FROM a "
    "WHERE event_date = @day": "gold.daily_sales",
    "SELECT event_date, SUM(units) AS u FROM gold.daily_sales GROUP BY event_date HAVING event_date = @day":
        "gold.daily_sales",
    "SELECT units FROM gold.daily_sales QUALIFY ROW_NUMBER() OVER (ORDER BY units) = 1 AND event_date = @day":
        "gold.daily_sales",
    f"SELECT 1 AS x FROM {SCAN} JOIN {OTHER} ON r.event_date = s.event_date WHERE s.event_date = @day":
        "gold.category_revenue",
    # The missing side of an outer join: WHERE comes after it, and ON does not hold back the other side.
    f"SELECT 1 AS x FROM {SCAN} LEFT JOIN {OTHER} ON r.units = s.units WHERE s.event_date = @day AND {WHERE_R}":
        "gold.category_revenue",
    f"SELECT 1 AS x FROM {SCAN} LEFT JOIN {OTHER} ON {WHERE_R} AND s.event_date = @day": "gold.daily_sales",
    f"SELECT 1 AS x FROM {SCAN} RIGHT JOIN {OTHER} ON s.units = r.units WHERE s.event_date = @day AND {WHERE_R}":
        "gold.daily_sales",
    f"SELECT 1 AS x FROM {SCAN} FULL JOIN (SELECT r.units FROM {OTHER} WHERE {WHERE_R}) AS o ON s.event_date = @day":
        "gold.daily_sales",
    "SELECT units FROM gold.daily_sales WHERE event_date = @day UNION ALL SELECT units FROM gold.category_revenue":
        "gold.category_revenue",
    "SELECT run_id FROM ops.runs WHERE run_date IN (SELECT event_date FROM gold.daily_sales)": "gold.daily_sales",
    "SELECT (SELECT MAX(event_date) FROM gold.daily_sales) AS newest": "gold.daily_sales",
    f"SELECT 1 AS x FROM {SCAN} WHERE s.event_date = @day AND EXISTS "
    f"(SELECT 1 FROM {OTHER} WHERE r.event_date = s.event_date)": "gold.category_revenue",
    # The filter of another scan of the same table.
    "SELECT a.units FROM gold.daily_sales AS a JOIN gold.daily_sales AS b ON a.units = b.units "
    "WHERE a.event_date = @day": "gold.daily_sales",
}


def find(sql: str) -> list[str]:
    return [scan.table for scan in read_query(sql, DAY, RELATIONS).unfiltered]


@pytest.mark.parametrize("condition", FILTERED)
def test_a_term_of_constants_on_the_bare_column_counts(condition: str) -> None:
    assert find(f"SELECT units FROM gold.daily_sales WHERE {condition}") == []


@pytest.mark.parametrize("condition", UNFILTERED)
def test_anything_else_does_not_count(condition: str) -> None:
    assert find(f"SELECT units FROM gold.daily_sales WHERE {condition}") == ["gold.daily_sales"]


@pytest.mark.parametrize("sql", QUERIES_FILTERED)
def test_a_filter_beside_each_scan_counts(sql: str) -> None:
    assert find(sql) == []


@pytest.mark.parametrize("sql", QUERIES_UNFILTERED)
def test_a_filter_elsewhere_does_not_count(sql: str) -> None:
    assert find(sql) == [QUERIES_UNFILTERED[sql]]


def test_a_scan_is_named_with_its_line_and_the_way_out() -> None:
    sql = "SELECT\n  units\nFROM gold.daily_sales AS s\nWHERE units > 0"
    scans = read_query(sql, {}, RELATIONS).unfiltered
    with pytest.raises(QueryRefusedError, match=r"gold\.daily_sales .*; ask for event_date BETWEEN") as caught:
        refuse_unfiltered(scans)
    assert (caught.value.line, caught.value.exit_code) == (3, EXIT_USAGE)


MERGE = """MERGE gold.daily_sales AS t
USING (SELECT * FROM staging FULL JOIN (SELECT units FROM gold.daily_sales WHERE {inner}) USING (units)) AS s
ON t.units = s.units AND {on}
WHEN MATCHED THEN DELETE
{more}"""
HELD = "t.event_date IN (DATE '2026-01-31')"


@pytest.mark.parametrize(("inner", "on", "more", "count"), [
    ("event_date = '2026-01-31'", HELD, "", 0),
    ("event_date = '2026-01-31'", "t.event_date = s.event_date", "", 1),
    ("units > 0", HELD, "", 1),
    ("units > 0", "TRUE", "", 2),
    ("event_date = '2026-01-31'", HELD, "WHEN NOT MATCHED BY SOURCE THEN DELETE", 1),
    ("event_date = '2026-01-31'", HELD, f"WHEN NOT MATCHED BY SOURCE AND {HELD} THEN DELETE", 0),
])
def test_a_merge_says_which_partitions_it_reads(inner: str, on: str, more: str, count: int) -> None:
    merge = sqlglot.parse_one(MERGE.format(inner=inner, on=on, more=more), dialect="bigquery")
    assert isinstance(merge, exp.Merge)
    assert len(find_unfiltered_merge(merge, DAILY_SALES)) == count
