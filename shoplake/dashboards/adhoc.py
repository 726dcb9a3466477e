"""Ad hoc queries, typed by a person: the answer as blocks and as CSV."""

from dataclasses import dataclass

from shoplake.dashboards.blocks import Block, Graph
from shoplake.dashboards.charts import draw_answer
from shoplake.dashboards.figures import count_of, list_table
from shoplake.warehouse import Warehouse
from shoplake.warehouse.presentation import as_csv

MAX_LISTED = 200
EXAMPLES = {
    "Units by shop day": """SELECT event_date, SUM(units) AS units, SUM(order_count) AS orders
FROM gold.daily_sales
WHERE event_date >= '2026-01-01'
GROUP BY event_date
ORDER BY event_date""",
    "Revenue by category and day": """SELECT event_date, category, net_amount
FROM gold.category_revenue
WHERE event_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 14 DAY)
ORDER BY event_date DESC, net_amount DESC""",
    "Rejected records by rule": """SELECT reason, SUM(row_count) AS records
FROM silver.quarantine_counts
GROUP BY reason
ORDER BY records DESC""",
}


@dataclass(frozen=True)
class AdhocAnswer:
    """The answer to an ad hoc query; `csv` holds all its rows, `blocks` the first 200."""

    blocks: tuple[Block, ...]
    csv: str


def run_adhoc_query(warehouse: Warehouse, sql: str, most_rows: int, currency: str) -> AdhocAnswer:
    """Run one read-only SELECT in GoogleSQL and draw its answer where its shape says how; at most `most_rows` rows.

    Raises:
        QueryRefusedError: the text is not a single SELECT over the served tables.
        WarehouseError: the query failed or took longer than warehouse.query_timeout.
    """
    found = warehouse.query(sql, {}, most_rows + 1)
    rows = found.slice(0, most_rows)
    title = count_of(rows.num_rows, "row", "rows")
    if found.num_rows > most_rows:
        title = f"The first {title} (warehouse.max_rows)"
    if rows.num_rows > MAX_LISTED:
        title += f"; shown are {MAX_LISTED}"
    headings = {name: name.replace("_", " ") for name in rows.column_names}
    listing = list_table(title, rows.slice(0, MAX_LISTED), headings, currency)
    spec = draw_answer(rows)
    graphs = (Graph(f"By {headings[rows.column_names[0]]}", spec),) if spec else ()
    return AdhocAnswer((*graphs, listing), as_csv(rows))
