-- Price changes
-- Question: which products changed their price, when, and by how much?
-- Grain: product_id, valid_from
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 27 days before @to_date)
-- @row_count INT64: how many rows (default: 50)
-- A price is that of a product's last event of a day, in the shop's currency: of what is sold in others, rates show as
-- changes. price_change is the new price over the one before, less 1; NULL
-- where that was 0.
WITH versions AS (
  SELECT
    product_id,
    category,
    valid_from,
    price,
    LAG(price) OVER (PARTITION BY product_id ORDER BY valid_from) AS price_before
  FROM silver.products_dim
)
SELECT
  product_id,
  category,
  valid_from,
  price_before,
  price,
  ROUND(SAFE_DIVIDE(price - price_before, price_before), 6) AS price_change
FROM versions
WHERE valid_from BETWEEN @from_date AND @to_date AND price_before IS NOT NULL AND price != price_before
ORDER BY valid_from DESC, product_id
LIMIT @row_count
