-- Live sales, 5 minutes
-- Question: what was sold in each window of 5 minutes, on the newest day with sales and the day before it (UTC)?
-- Grain: window_start (windows with a sale)
-- @to_date DATE: newest UTC day (default: newest window_date of silver.product_revenue_5min)
SELECT
  window_start,
  window_end,
  SUM(order_count) AS order_count,
  SUM(units) AS units,
  SUM(gross_amount) AS gross_amount,
  SUM(cancelled_amount) AS cancelled_amount,
  SUM(net_amount) AS net_amount
FROM silver.product_revenue_5min
WHERE window_date BETWEEN DATE_SUB(@to_date, INTERVAL 1 DAY) AND @to_date
GROUP BY window_start, window_end
ORDER BY window_start
