"""Every table's contract: columns, grain, key, partition, cluster, and whether readers are served it.

Names are `layer.table`; a layer is a BigQuery dataset and a folder of the lake.
"""

from shoplake.contract.columns import AMOUNT as AMOUNT
from shoplake.contract.columns import EVENT_DATE, PRODUCT_ID, Column
from shoplake.contract.columns import RATE as RATE

# The redundant names say that readers import them from here.
from shoplake.contract.customers import CUSTOMER_METRICS as CUSTOMER_METRICS
from shoplake.contract.customers import CUSTOMER_SEGMENTS as CUSTOMER_SEGMENTS
from shoplake.contract.events import EXCHANGE_RATE_TYPE, FIELDS, PRICE_TYPE
from shoplake.contract.forecasts import BACKTEST_METRICS as BACKTEST_METRICS
from shoplake.contract.forecasts import DEMAND_PREDICTIONS as DEMAND_PREDICTIONS
from shoplake.contract.forecasts import DEMAND_TOTALS as DEMAND_TOTALS
from shoplake.contract.forecasts import FORECAST_ACCURACY as FORECAST_ACCURACY
from shoplake.contract.products import PRODUCT_PERFORMANCE as PRODUCT_PERFORMANCE
from shoplake.contract.products import PRODUCT_RECOMMENDATIONS as PRODUCT_RECOMMENDATIONS
from shoplake.contract.products import PRODUCTS_DIM as PRODUCTS_DIM
from shoplake.contract.relations import Table as Table
from shoplake.contract.relations import View as View
from shoplake.contract.sales import CANCELLATIONS as CANCELLATIONS
from shoplake.contract.sales import CATEGORY_REVENUE as CATEGORY_REVENUE
from shoplake.contract.sales import CUSTOMER_DAILY_SALES as CUSTOMER_DAILY_SALES
from shoplake.contract.sales import DAILY_SALES as DAILY_SALES
from shoplake.contract.sales import DAILY_SALES_SUMMARY as DAILY_SALES_SUMMARY
from shoplake.contract.sales import SALES_MEASURES
from shoplake.contract.users import BRONZE_USERS as BRONZE_USERS
from shoplake.contract.users import USER_SEGMENTS as USER_SEGMENTS
from shoplake.contract.users import USERS_DIM as USERS_DIM
from shoplake.contract.visits import CONVERSION_FUNNEL as CONVERSION_FUNNEL
from shoplake.contract.visits import SESSIONS as SESSIONS
from shoplake.errors import ConfigError

_COORDINATES = (
    Column("origin", "STRING", "Kafka's topic id, or the SHA-256 of a file"),
    Column("topic", "STRING", "The topic's name, or the source's name of a file"),
    Column("partition", "INT", "Kafka's partition; 0 for a file"),
    Column("offset", "BIGINT", "Kafka's offset, or the record's number in the file, from 0"),
)
_INGEST = (
    Column("ingest_time", "TIMESTAMP", "The record's timestamp, UTC"),
    Column("ingest_date", "DATE", "UTC date of ingest_time"),
)
_BATCH = (
    Column("query_id", "STRING", "The stream's id (one per checkpoint), or the SHA-256 of a file"),
    Column("batch_id", "BIGINT", "The micro-batch, or the file's chunk, from 0"),
)
_PAYLOAD = (
    Column("key", "BINARY", "The record's key, encrypted; of no bytes where it is the user's id", nullable=True,
           privacy="personal"),
    Column("value", "BINARY", "The record's bytes, encrypted", nullable=True, privacy="personal"),
    Column("headers", "ARRAY<STRUCT<key: STRING, value: BINARY>>", "The record's headers, their values encrypted "
           "but for replay_of", nullable=True, privacy="personal"),
)
_DATA_KEY = Column("data_key_id", "STRING", "The data key with which the payload is encrypted (AES-256-GCM, bound to "
                   "the coordinates): the user's, or the day's where the record does not tell one user; erased: the "
                   "payload was taken out; NULL: it is in the clear", nullable=True)
_KEPT = (
    ("kept_origin", "STRING", "Origin of the copy that was kept"),
    ("kept_partition", "INT", "Partition of the copy that was kept"),
    ("kept_offset", "BIGINT", "Offset of the copy that was kept"),
)

_WINDOW = (
    Column("window_date", "DATE", "UTC date of window_start", privacy="public"),
    Column("window_start", "TIMESTAMP", "Start of the window, UTC, inclusive", privacy="public"),
    Column("window_end", "TIMESTAMP", "End of the window, UTC, exclusive", privacy="public"),
)

BRONZE_EVENTS = Table(
    "bronze.events", "Every acknowledged record as it came", "record", ("origin", "partition", "offset"),
    (*_COORDINATES, *_PAYLOAD, Column("timestamp", "TIMESTAMP", "The record's timestamp, UTC"),
     Column("ingest_date", "DATE", "UTC date of timestamp"), *_BATCH, _DATA_KEY),
    partition_by="ingest_date",
    writer="spark/streaming_pipeline.py", inputs=("the topic", "historical files"),
    readers=("utils/reconcile.py", "utils/rebuild.py", "utils/replay_quarantine.py"),
)
SILVER_EVENTS = Table(
    "silver.events", "Valid events, one row each, typed", "event: event_date, event_id", ("event_date", "event_id"),
    (EVENT_DATE, *(field.column() for field in FIELDS), *_INGEST,
     Column("is_late", "BOOLEAN", "ingest_time - event_time is more than quality.late_after"),
     Column("content_hash", "STRING", "SHA-256 of the typed contract fields; with pseudonyms, keyed"),
     *_COORDINATES, *_BATCH,
     Column("original_price", PRICE_TYPE, "Unit price as it was sent, where that was in another currency than the "
            "shop's; price is original_price * exchange_rate, rounded half up", nullable=True, privacy="public"),
     Column("exchange_rate", EXCHANGE_RATE_TYPE, "The shop's currency for one unit of `currency` on event_date; NULL "
            "where that is the shop's own", nullable=True, privacy="public")),
    partition_by="event_date", cluster_by=("product_id", "category"),
    writer="spark/streaming_pipeline.py", inputs=("bronze.events",),
    readers=("spark/batch_processing.py", "utils/reconcile.py"),
)
SILVER_DUPLICATES = Table(
    "silver.duplicates", "Later copies of an event: where they lie, and where the copy that was kept lies", "record",
    ("origin", "partition", "offset"),
    (*_COORDINATES, EVENT_DATE, Column("event_id", "STRING", "The event's identity within its day", privacy="personal"),
     *(Column(*kept) for kept in _KEPT), *_INGEST, *_BATCH),
    partition_by="ingest_date",
    writer="spark/streaming_pipeline.py", inputs=("bronze.events",),
    readers=("utils/reconcile.py", "utils/rebuild.py"),
)
SILVER_QUARANTINE = Table(
    "silver.quarantine", "Rejected records with every reason; replayable", "record", ("origin", "partition", "offset"),
    (*_COORDINATES, *_PAYLOAD, Column("reasons", "ARRAY<STRING>", "Names of all rules that it failed"),
     Column("event_date", "DATE", "The shop's day, where it could be read", nullable=True),
     Column("event_id", "STRING", "The event's identity, where it could be read", nullable=True,
            privacy="personal"),
     *(Column(*kept, nullable=True) for kept in _KEPT), *_INGEST, *_BATCH, _DATA_KEY),
    partition_by="ingest_date",
    writer="spark/streaming_pipeline.py", inputs=("bronze.events",),
    readers=("utils/reconcile.py", "utils/rebuild.py", "utils/replay_quarantine.py"),
)
SILVER_ERASED = Table(
    "silver.erased", "Where the records of erased users lie, and where their rows were; nothing of what they said",
    "record", ("origin", "partition", "offset"),
    (*_COORDINATES,
     Column("place", "STRING", "silver, duplicate or quarantine: the row was taken out of there; erased: the record "
            "came after the erasure, or was taken in again after it"),
     Column("event_date", "DATE", "The shop's day, where it could be read", nullable=True), *_INGEST, *_BATCH),
    partition_by="ingest_date",
    writer="spark/streaming_pipeline.py", inputs=("bronze.events",),
    readers=("utils/reconcile.py", "utils/rebuild.py"),
)
PRODUCT_REVENUE_5MIN = Table(
    "silver.product_revenue_5min", "Live sales of each product in windows of 5 minutes",
    "window: window_start, product_id", ("window_start", "product_id"), (*_WINDOW, PRODUCT_ID, *SALES_MEASURES),
    # silver.latest_window_products looks for the newest window, on whatever day that is.
    partition_by="window_date", cluster_by=("product_id",), readable_whole=True, served=True,
    writer="spark/streaming_pipeline.py", inputs=("silver.events",),
)
CATEGORY_REVENUE_1H = Table(
    "silver.category_revenue_1h", "Live sales of each category in windows of 1 hour",
    "window: window_start, category", ("window_start", "category"),
    (*_WINDOW, Column("category", "STRING", "The events' own category", privacy="public"), *SALES_MEASURES),
    partition_by="window_date", cluster_by=("category",), served=True,
    writer="spark/streaming_pipeline.py", inputs=("silver.events",),
)
LEDGER = Table(
    "ops.ledger", "What each micro-batch took in and where its rows went; written last, so it is the commit mark",
    "micro-batch: query_id, batch_id", ("query_id", "batch_id"),
    (*_BATCH, Column("origin", "STRING", "Kafka's topic id, or the SHA-256 of a file"),
     Column("topic", "STRING", "The topic's name, or the source's name of a file"),
     Column("ranges", "ARRAY<STRUCT<partition: INT, from_offset: BIGINT, until_offset: BIGINT>>",
            "Offsets taken in: from inclusive, until exclusive"),
     Column("bronze_count", "BIGINT", "Records in"), Column("silver_count", "BIGINT", "Rows to silver.events"),
     Column("duplicate_count", "BIGINT", "Rows to silver.duplicates"),
     Column("quarantine_count", "BIGINT", "Rows to silver.quarantine"),
     Column("late_count", "BIGINT", "Rows of silver.events marked late"),
     Column("rules", "ARRAY<STRUCT<rule: STRING, passed: BIGINT, failed: BIGINT>>", "Passes and failures of each rule"),
     Column("event_dates", "ARRAY<DATE>", "Shop days that gained rows in silver.events"),
     Column("batch_seconds", "DOUBLE", "Seconds that it took, the wait for the lock included; of a rebuilt row the "
            "rebuild's, NULL in one older than the column", nullable=True),
     Column("lag_count", "BIGINT", "Records that waited in the topic when it ended; NULL where no broker was asked",
            nullable=True),
     Column("erased_count", "BIGINT", "Rows to silver.erased; NULL, as none, in one older than the column",
            nullable=True)),
    served=True,
    writer="spark/streaming_pipeline.py",
    inputs=("bronze.events", "silver.events", "silver.duplicates", "silver.quarantine", "silver.erased"),
    readers=("utils/reconcile.py", "spark/batch_processing.py", "utils/check_stream.py", "utils/record_run.py"),
)
RUNS = Table(
    "ops.runs", "One row for each run of the daily DAG, written by its last task", "DAG run", ("run_id",),
    (Column("run_id", "STRING", "Airflow's run id"), Column("dag_id", "STRING", "The DAG"),
     Column("run_date", "DATE", "The shop day that the run was for"),
     Column("finished_at", "TIMESTAMP", "When the last task wrote this row, UTC"),
     Column("offset_count", "BIGINT", "Records in the ledger's ranges"),
     Column("silver_count", "BIGINT", "Rows of silver.events"),
     Column("duplicate_count", "BIGINT", "Rows of silver.duplicates"),
     Column("quarantine_count", "BIGINT", "Rows of silver.quarantine"),
     Column("late_count", "BIGINT", "Rows of silver.events marked late"),
     Column("prediction_count", "BIGINT", "Rows of gold.demand_predictions for the run's as_of_date")),
    served=True,
    writer="utils/record_run.py", inputs=("ops.ledger", "gold.demand_predictions"),
)
FILES = Table(
    "ops.files", "What became of each file of the landing folder; written after its records, before it is moved",
    "file of a source: source, file_sha256", ("source", "file_sha256"),
    (Column("source", "STRING", "The folder that it was put into: the source's name"),
     Column("file_sha256", "STRING", "SHA-256 of its bytes: the same file under another name is the same file"),
     Column("file_name", "STRING", "Its name when it was recorded, printable"),
     Column("byte_count", "BIGINT", "Its size"),
     Column("record_count", "BIGINT", "Records read from it; NULL if it cannot be read", nullable=True),
     Column("bad_line_count", "BIGINT", "Lines that cannot be read as a record; they go to quarantine as they are",
            nullable=True),
     Column("route", "STRING", "kafka or historical: the way it went in; NULL if rejected", nullable=True),
     Column("status", "STRING", "ingested or rejected"),
     Column("reason", "STRING", "Why it was rejected", nullable=True),
     Column("arrived_at", "TIMESTAMP", "When it was put there whole, UTC"),
     Column("recorded_at", "TIMESTAMP", "When this row was written, UTC")),
    served=True,
    writer="utils/ingest_landing.py", inputs=("files of the landing folder",),
)
AUDIT = Table(
    "ops.audit", "Who did what, when; each line is bound to the one before it, and none is ever changed",
    "act", ("sequence",),
    (Column("sequence", "BIGINT", "The line's number, from 1"),
     Column("recorded_at", "TIMESTAMP", "When it happened, UTC"),
     Column("actor", "STRING", "Who: the operating system's user", privacy="personal"),
     Column("action", "STRING", "query, publish, promote, rollback, replay, rebuild, repair, reset, export, "
            "erase, access, rotate, configuration or set_aside"),
     Column("subject", "STRING", "What with: a table, a model, the keyed digest of a query's text, the profile"),
     Column("outcome", "STRING", "begun, done or failed"),
     Column("details", "STRING", "More of it, as a JSON object; never a value of the data"),
     Column("previous_digest", "STRING", "digest of the line before; empty in the first"),
     Column("digest", "STRING", "HMAC-SHA256 (hex) of all other columns, with a key made from the lake's")),
    writer="sql/run_analytics.py",
    inputs=("what people and programs ask and do; several commands write",),
    readers=("utils/verify_audit.py",),
)

# What a micro-batch writes, in the order of its writes; one lock is held for all of them.
INGEST_TABLES = (
    BRONZE_EVENTS, SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE, SILVER_ERASED,
    PRODUCT_REVENUE_5MIN, CATEGORY_REVENUE_1H,
    LEDGER,
)
TABLES = (
    BRONZE_EVENTS, SILVER_EVENTS, SILVER_DUPLICATES, SILVER_QUARANTINE, SILVER_ERASED,
    PRODUCT_REVENUE_5MIN, CATEGORY_REVENUE_1H,
    DAILY_SALES, CATEGORY_REVENUE, DAILY_SALES_SUMMARY, CUSTOMER_DAILY_SALES, CANCELLATIONS, SESSIONS,
    CONVERSION_FUNNEL, CUSTOMER_METRICS, CUSTOMER_SEGMENTS, PRODUCTS_DIM, PRODUCT_PERFORMANCE, PRODUCT_RECOMMENDATIONS,
    BRONZE_USERS, USERS_DIM, USER_SEGMENTS,
    DEMAND_PREDICTIONS, DEMAND_TOTALS, FORECAST_ACCURACY, BACKTEST_METRICS, LEDGER, RUNS, FILES,
    AUDIT,
)

QUARANTINE_COUNTS = View(
    "silver.quarantine_counts", "How many records each rule rejected on each day", "ingest_date, reason",
    ("ingest_date", "reason"),
    (Column("ingest_date", "DATE", "UTC date of the records' timestamps", privacy="public"),
     Column("reason", "STRING", "The rule's name", privacy="public"),
     Column("row_count", "BIGINT", "Records that failed it; a record may fail several", privacy="public")),
    reads=("silver.quarantine",),
    sql="""
SELECT ingest_date, reason, COUNT(*) AS row_count
FROM silver.quarantine, UNNEST(reasons) AS reason
GROUP BY ingest_date, reason
""",
)
INGEST_COUNTS = View(
    "silver.ingest_counts", "How many records came in on each day, and where they went", "ingest_date",
    ("ingest_date",),
    (Column("ingest_date", "DATE", "UTC date of the records' timestamps", privacy="public"),
     Column("silver_count", "BIGINT", "Rows of silver.events", privacy="public"),
     Column("late_count", "BIGINT", "Rows of silver.events marked late", privacy="public"),
     Column("duplicate_count", "BIGINT", "Rows of silver.duplicates", privacy="public"),
     Column("quarantine_count", "BIGINT", "Rows of silver.quarantine", privacy="public")),
    reads=("silver.events", "silver.duplicates", "silver.quarantine"),
    sql="""
WITH counts AS (
  SELECT
    ingest_date, COUNT(*) AS silver_count, COUNTIF(is_late) AS late_count, 0 AS duplicate_count, 0 AS quarantine_count
  FROM silver.events
  GROUP BY ingest_date
  UNION ALL
  SELECT ingest_date, 0, 0, COUNT(*), 0
  FROM silver.duplicates
  GROUP BY ingest_date
  UNION ALL
  SELECT ingest_date, 0, 0, 0, COUNT(*)
  FROM silver.quarantine
  GROUP BY ingest_date
)
SELECT
  ingest_date,
  SUM(silver_count) AS silver_count,
  SUM(late_count) AS late_count,
  SUM(duplicate_count) AS duplicate_count,
  SUM(quarantine_count) AS quarantine_count
FROM counts
GROUP BY ingest_date
""",
)
LATEST_WINDOW_PRODUCTS = View(
    "silver.latest_window_products", "The products of the newest 5-minute window, ranked by net_amount",
    "product_id", ("product_id",),
    (*_WINDOW[1:], PRODUCT_ID, *SALES_MEASURES,
     Column("revenue_rank", "BIGINT", "1 is the highest net_amount; equal amounts share a rank", privacy="public")),
    reads=("silver.product_revenue_5min",),
    sql="""
SELECT
  window_start, window_end, product_id, order_count, units, gross_amount, cancelled_units, cancelled_amount, net_amount,
  RANK() OVER (ORDER BY net_amount DESC) AS revenue_rank
FROM silver.product_revenue_5min
WHERE window_start = (SELECT MAX(window_start) FROM silver.product_revenue_5min)
""",
)
VIEWS = (QUARANTINE_COUNTS, INGEST_COUNTS, LATEST_WINDOW_PRODUCTS)


def find_table(name: str) -> Table:
    """Look a table up by its full name.

    Raises:
        ConfigError: no table of that name.
    """
    for table in TABLES:
        if table.name == name:
            return table
    raise ConfigError(f"no table {name!r} in the contract; there are {', '.join(table.name for table in TABLES)}")
