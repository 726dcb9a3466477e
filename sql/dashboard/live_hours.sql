-- Live sales of categories, 1 hour
-- Question: what did each category sell in each hour, on the newest day with sales and the day before it (UTC)?
-- Grain: window_start, category (the largest by net_amount; all others are one row)
-- @to_date DATE: newest UTC day (default: newest window_date of silver.category_revenue_1h)
-- @category_count INT64: categories that stand by their name (default: 6)
WITH hours AS (
  SELECT window_start, window_end, category, order_count, net_amount
  FROM silver.category_revenue_1h
  WHERE window_date BETWEEN DATE_SUB(@to_date, INTERVAL 1 DAY) AND @to_date
),
totals AS (
  SELECT category, SUM(net_amount) AS net_amount
  FROM hours
  GROUP BY category
),
places AS (
  SELECT category, ROW_NUMBER() OVER (ORDER BY net_amount DESC, category) AS place
  FROM totals
),
named AS (
  SELECT
    hours.window_start,
    hours.window_end,
    IF(places.place <= @category_count, hours.category, 'all others') AS category,
    hours.order_count,
    hours.net_amount
  FROM hours
  JOIN places ON places.category = hours.category
)
SELECT window_start, window_end, category, SUM(order_count) AS order_count, SUM(net_amount) AS net_amount
FROM named
GROUP BY window_start, window_end, category
ORDER BY window_start, category
