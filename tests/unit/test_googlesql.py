"""Only one SELECT over the served tables, made of proven constructs, is run; all else is refused by name."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from shoplake.contract.tables import DAILY_SALES, QUARANTINE_COUNTS, Table, View
from shoplake.errors import EXIT_USAGE, ConfigError, QueryRefusedError
from shoplake.warehouse.duckdb_sql import write_duckdb
from shoplake.warehouse.googlesql import Value, read_query
from shoplake.warehouse.named_queries import load_queries, parse_free_value, parse_value, read_named_query
from shoplake.warehouse.protocol import RELATIONS

KNOWN: list[Table | View] = [DAILY_SALES, QUARANTINE_COUNTS]
EXAMPLES: dict[str, Value] = {"DATE": date(2026, 1, 1), "INT64": 1, "STRING": "a", "NUMERIC": Decimal(1)}


def _translate(sql: str, **parameters: Value) -> str:
    return write_duckdb(read_query(sql, parameters, KNOWN))


@pytest.mark.parametrize(("sql", "named"), [
    ("DROP TABLE gold.daily_sales", "DROP"),
    ("CREATE TABLE gold.x AS SELECT 1 AS v", "CREATE"),
    ("INSERT INTO gold.daily_sales (units) VALUES (1)", "INSERT"),
    ("UPDATE gold.daily_sales SET units = 1 WHERE TRUE", "UPDATE"),
    ("DELETE FROM gold.daily_sales WHERE TRUE", "DELETE"),
    ("MERGE gold.daily_sales USING gold.daily_sales AS s ON FALSE WHEN NOT MATCHED THEN INSERT ROW", "MERGE"),
    ("TRUNCATE TABLE gold.daily_sales", "TRUNCATE"),
    ("SELECT 1 AS a; SELECT 2 AS b", "2 statements"),
    ("SELECT 1 AS a; DROP TABLE gold.daily_sales", "2 statements"),
    ("", "0 statements"), ("-- nothing", "0 statements"),
    ("SET threads = 1", "SET"), ("PRAGMA database_list", "PRAGMA"), ("ATTACH 'x.db' AS x", "no GoogleSQL"),
    ("COPY gold.daily_sales TO 'x.csv'", "COPY"), ("INSTALL httpfs", "INSTALL|httpfs"), ("LOAD httpfs", "LOAD|httpfs"),
    ("DECLARE x INT64 DEFAULT 1", "DECLARE"), ("CALL gold.f()", "CALL|COMMAND"),
    ("EXPORT DATA OPTIONS(uri='x') AS SELECT 1 AS v", "EXPORT"), ("EXECUTE IMMEDIATE 'SELECT 1'", "EXECUTE|COMMAND"),
    ("BEGIN SELECT 1; END", "statements"), ("EXPLAIN SELECT 1", "EXPLAIN|DESCRIBE|COMMAND"), ("SELEC 1", "SELEC"),
    ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"), ("SELECT * FROM read_parquet('x')", "read_parquet"),
    ("SELECT * FROM `/etc/passwd`", "/etc/passwd"), ("SELECT * FROM 'x.csv'", "x.csv"),
    ("SELECT * FROM delta_scan('x')", "delta_scan"), ("SELECT * FROM glob('*')", "glob|Glob"),
    ("SELECT read_text('/etc/passwd') AS v", "READ_TEXT"), ("SELECT current_setting('x') AS v", "CURRENT_SETTING"),
    ("SELECT getenv('HOME') AS v", "GETENV"), ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
    ("SELECT * FROM information_schema.tables", "information_schema.tables"),
    ("SELECT * FROM bronze.events", "bronze.events"), ("SELECT * FROM silver.events", "silver.events"),
    ("SELECT * FROM nowhere", "nowhere"), ("SELECT * FROM other.gold.daily_sales", "other.gold.daily_sales"),
    ("SELECT nope FROM gold.daily_sales", "nope"),
    ("WITH a AS (DELETE FROM gold.daily_sales) SELECT 1 AS v", "DELETE|a"),
    ("SELECT 1 AS v FROM gold.daily_sales WHERE units = @missing", "@missing"),
])
def test_what_is_no_single_select_over_known_tables_is_refused(sql: str, named: str) -> None:
    with pytest.raises(QueryRefusedError, match=named) as caught:
        _translate(sql)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(("expression", "named"), [
    ("FORMAT('%d', units)", "FORMAT"), ("TIMESTAMP_MILLIS(units)", "TIMESTAMP_MILLIS"),
    ("APPROX_TOP_COUNT(category, 3)", "APPROX_TOP"), ("APPROX_COUNT_DISTINCT(category)", "COUNT\\(DISTINCT"),
    ("TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP(), DAY)", "DATE_DIFF"), ("@@version", "system variable"),
    ("DATE_TRUNC(event_date, CENTURY)", "CENTURY"), ("EXTRACT(WEEK FROM event_date)", "WEEK"),
    ("event_date + INTERVAL 1 DAY", "DATE_ADD"), ("DATE_ADD(event_date, INTERVAL 1 HOUR)", "HOUR"),
    ("ROUND(CAST(units AS FLOAT64), 1)", "ROUND"), ("CAST(net_amount AS STRING)", "NUMERIC to STRING"),
    ("CAST(net_amount AS INT64)", "NUMERIC to INT64"), ("CAST('1' AS INT64)", "STRING to INT64"),
    ("ARRAY_AGG(category)", "ARRAY_AGG"), ("STRUCT(1 AS a)", "STRUCT"), ("DIV(net_amount, 2)", "DIV"),
    ("UPPER(category)", "UPPER"), ("category LIKE 'a\\\\_b'", "LIKE"), ("TO_JSON_STRING(units)", "JSON"),
    ("REGEXP_CONTAINS(category, 'a')", "REGEXP"), ("DATE(CURRENT_TIMESTAMP(), 'Asia/Tokyo')", "time zone"),
])
def test_a_construct_that_is_not_proven_is_refused_by_name(expression: str, named: str) -> None:
    with pytest.raises(QueryRefusedError, match=named):
        _translate(f"SELECT {expression} AS v FROM gold.daily_sales")


@pytest.mark.parametrize("sql", [
    "SELECT v, o FROM UNNEST([1, 2]) AS v WITH OFFSET AS o",
    "SELECT * FROM gold.daily_sales PIVOT(SUM(units) FOR category IN ('a', 'b'))",
    "SELECT * FROM gold.daily_sales TABLESAMPLE SYSTEM (10 PERCENT)",
    "SELECT * FROM gold.daily_sales FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()",
    "SELECT AS STRUCT units FROM gold.daily_sales",
    "SELECT DISTINCT ON (category) units FROM gold.daily_sales",
    "WITH RECURSIVE a AS (SELECT 1 AS v UNION ALL SELECT v + 1 FROM a WHERE v < 3) SELECT v FROM a",
    "SELECT units FROM gold.daily_sales UNION ALL BY NAME SELECT units FROM gold.daily_sales",
    "SELECT a.units FROM gold.daily_sales AS a ANTI JOIN gold.daily_sales AS b ON a.units = b.units",
    "SELECT a.units FROM gold.daily_sales AS a ASOF JOIN gold.daily_sales AS b ON a.units >= b.units",
    "SELECT a.units FROM gold.daily_sales AS a POSITIONAL JOIN gold.daily_sales AS b",
    "SELECT SUM(units) FILTER (WHERE units > 1) AS v FROM gold.daily_sales",
    "SELECT LAST_VALUE(units IGNORE NULLS) OVER (ORDER BY units) AS v FROM gold.daily_sales",
    "SELECT units FROM gold.daily_sales, LATERAL (SELECT 1 AS v)",
    "SELECT /*+ x */ units FROM gold.daily_sales FETCH FIRST 3 ROWS ONLY",
])
def test_a_clause_that_is_not_proven_is_refused(sql: str) -> None:
    with pytest.raises(QueryRefusedError):
        _translate(sql)


@pytest.mark.parametrize(("sql", "name"), [
    ("SELECT units, units FROM gold.daily_sales", "units"), ("(SELECT units, units FROM gold.daily_sales)", "units"),
    ("SELECT units, order_count AS Units FROM gold.daily_sales", "units"), ("SELECT 1, 1", "1"),
    ("SELECT a.*, b.units FROM gold.daily_sales AS a JOIN gold.daily_sales AS b USING (product_id)", "units"),
    ("SELECT units AS v, order_count AS v FROM gold.daily_sales UNION ALL SELECT 1 AS a, 2 AS b", "v"),
    # The outer query would mean one of the two, and nobody could tell which.
    ("SELECT v FROM (SELECT units AS v, order_count AS v FROM gold.daily_sales)", "v"),
    ("WITH w AS (SELECT units AS v, order_count AS v FROM gold.daily_sales) SELECT v FROM w", "v"),
])
def test_two_columns_of_one_name_are_refused_with_the_way_out(sql: str, name: str) -> None:
    with pytest.raises(QueryRefusedError, match=f"2 columns named {name}; give each a name of its own with AS"):
        _translate(sql)


@pytest.mark.parametrize("sql", [
    "SELECT units, order_count AS units_2, SUM(units), SUM(order_count) FROM gold.daily_sales GROUP BY 1, 2",
    "SELECT a.units FROM gold.daily_sales AS a JOIN gold.daily_sales AS b USING (product_id)",
    "SELECT units AS a, order_count AS b FROM gold.daily_sales UNION ALL SELECT units, units FROM gold.daily_sales",
    "WITH w AS (SELECT units FROM gold.daily_sales) SELECT units FROM w UNION ALL SELECT units FROM w",
])
def test_columns_that_only_come_from_one_are_no_repetition(sql: str) -> None:
    _translate(sql)


def test_a_value_is_bound_and_never_stands_in_the_text() -> None:
    sql = "SELECT units FROM gold.daily_sales WHERE product_id = @p"
    query = read_query(sql, {"p": "x' OR 'a'='a", "unused": 1}, KNOWN)
    assert query.parameters == {"p": "x' OR 'a'='a"}
    assert "$p" in write_duckdb(query)
    assert "OR" not in write_duckdb(query)


def test_a_common_table_expression_may_carry_any_name_and_the_tables_read_are_known() -> None:
    sql = "WITH read_csv AS (SELECT units FROM gold.daily_sales) SELECT units FROM read_csv"
    assert read_query(sql, {}, KNOWN).tables == ("gold.daily_sales",)


def test_every_named_query_has_a_readable_header_and_passes_the_check() -> None:
    queries = load_queries(Path(__file__).parents[2] / "sql")
    assert {"daily_revenue", "category_growth", "demand_vs_actual", "top_selling_products"} <= set(queries)
    for query in queries.values():
        samples = {parameter.name: EXAMPLES[parameter.type] for parameter in query.parameters}
        assert query.title
        assert read_query(query.sql, samples, RELATIONS).parameters == samples, "a declared parameter is not used"


def test_a_query_without_its_header_is_refused() -> None:
    with pytest.raises(ConfigError, match="must open with three comments"):
        read_named_query("x", "SELECT 1 AS v")


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("a", "2026-01-31", date(2026, 1, 31)), ("a", "-7", -7), ("a", "1.50", Decimal("1.50")), ("a", "85123A", "85123A"),
    ("a:STRING", "85123", "85123"), ("a:NUMERIC", "3", Decimal(3)),
])
def test_a_free_parameter_takes_its_type_from_its_name_or_its_form(name: str, text: str, expected: Value) -> None:
    assert parse_free_value(name, text) == ("a", expected)
    assert type(parse_free_value(name, text)[1]) is type(expected)


@pytest.mark.parametrize(("type_", "text"), [("DATE", "31.1.2026"), ("INT64", "1.5"), ("NUMERIC", "much")])
def test_a_value_of_the_wrong_type_is_named(type_: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_value("p", type_, text)
