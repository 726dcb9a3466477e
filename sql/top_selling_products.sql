-- Top-selling products
-- Question: which products sold most units, and what did they bring in?
-- Grain: product_id (ranked by units; equal units share a rank)
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 27 days before @to_date)
-- @product_count INT64: how many products (default: 10)
-- category is the product's on its newest day.
WITH days AS (
  SELECT
    product_id, category, order_count, units, net_amount,
    ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY event_date DESC) AS age
  FROM gold.daily_sales
  WHERE event_date BETWEEN @from_date AND @to_date
),
products AS (
  SELECT
    product_id,
    MAX(IF(age = 1, category, NULL)) AS category,
    SUM(order_count) AS order_count,
    SUM(units) AS units,
    SUM(net_amount) AS net_amount
  FROM days
  GROUP BY product_id
)
SELECT RANK() OVER (ORDER BY units DESC) AS units_rank, product_id, category, order_count, units, net_amount
FROM products
WHERE units > 0
ORDER BY units DESC, product_id
LIMIT @product_count
