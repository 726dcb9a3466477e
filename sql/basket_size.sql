-- Basket size and order value
-- Question: how large is an order, in lines, units and money, and how does that move?
-- Grain: period_start (periods with an event; the first and the last hold only their days from @from_date to @to_date)
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales_summary)
-- @from_date DATE: first day (default: 83 days before @to_date)
-- @period STRING: day, month, or else weeks from Monday (default: week)
-- Order value is gross, as ordered: a cancellation comes later, on a day of its own. An order with lines on two days
-- counts on both. The figures for an order are NULL where there was none, cancelled_share where nothing was sold.
WITH days AS (
  SELECT
    CASE
      WHEN @period = 'day' THEN event_date
      WHEN @period = 'month' THEN DATE_TRUNC(event_date, MONTH)
      ELSE DATE_TRUNC(event_date, WEEK(MONDAY))
    END AS period_start,
    order_count,
    line_count,
    units,
    gross_amount,
    cancelled_amount
  FROM gold.daily_sales_summary
  WHERE event_date BETWEEN @from_date AND @to_date
),
periods AS (
  SELECT
    period_start,
    COUNT(*) AS day_count,
    SUM(order_count) AS order_count,
    SUM(line_count) AS line_count,
    SUM(units) AS units,
    SUM(gross_amount) AS gross_amount,
    SUM(cancelled_amount) AS cancelled_amount
  FROM days
  GROUP BY period_start
)
SELECT
  period_start,
  day_count,
  order_count,
  ROUND(SAFE_DIVIDE(CAST(line_count AS NUMERIC), order_count), 4) AS lines_an_order,
  ROUND(SAFE_DIVIDE(CAST(units AS NUMERIC), order_count), 4) AS units_an_order,
  ROUND(SAFE_DIVIDE(gross_amount, order_count), 4) AS average_order_amount,
  gross_amount,
  IF(gross_amount > 0, ROUND(cancelled_amount / gross_amount, 6), NULL) AS cancelled_share
FROM periods
ORDER BY period_start
