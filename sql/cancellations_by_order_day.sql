-- Cancellations by the day of the order
-- Question: what were the orders of each day worth in the end, beside what was cancelled on that day?
-- Grain: event_date (shop days with an event)
-- @to_date DATE: last day of orders (default: newest event_date of gold.daily_sales_summary)
-- @from_date DATE: first day of orders (default: 27 days before @to_date)
-- Net by order day is gross less what has been cancelled of that day's orders since, up to 89 days later. unmatched is
-- the amount of the day's own cancellations whose order was not found: no order day counts it. Cancellations that name
-- no order take back the latest one of the product, so a share may be above 1.
WITH taken_back AS (
  SELECT order_date, SUM(cancelled_units) AS units, SUM(cancelled_amount) AS amount
  FROM gold.cancellations
  WHERE
    event_date BETWEEN @from_date AND DATE_ADD(@to_date, INTERVAL 89 DAY)
    AND order_date BETWEEN @from_date AND @to_date
  GROUP BY order_date
),
not_found AS (
  SELECT event_date, SUM(cancelled_amount) AS amount
  FROM gold.cancellations
  WHERE event_date BETWEEN @from_date AND @to_date AND order_date IS NULL
  GROUP BY event_date
)
SELECT
  sales.event_date,
  sales.order_count,
  sales.gross_amount,
  sales.cancelled_amount AS cancelled_on_day,
  sales.net_amount AS net_by_cancellation_day,
  COALESCE(taken_back.units, 0) AS units_taken_back,
  COALESCE(taken_back.amount, 0) AS taken_back_of_orders,
  sales.gross_amount - COALESCE(taken_back.amount, 0) AS net_by_order_day,
  ROUND(SAFE_DIVIDE(COALESCE(taken_back.amount, 0), sales.gross_amount), 6) AS share_taken_back,
  COALESCE(not_found.amount, 0) AS unmatched
FROM gold.daily_sales_summary AS sales
LEFT JOIN taken_back ON taken_back.order_date = sales.event_date
LEFT JOIN not_found ON not_found.event_date = sales.event_date
WHERE sales.event_date BETWEEN @from_date AND @to_date
ORDER BY sales.event_date
