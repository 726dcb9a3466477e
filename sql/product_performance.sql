-- Product performance
-- Question: what did each product bring in twelve weeks, how well do looks become orders, and how does it rank?
-- Grain: product_id
-- @to_date DATE: the day at whose end products are looked at (default: newest as_of_date of gold.product_performance)
-- @product_count INT64: how many products (default: 20)
SELECT
  net_rank,
  product_id,
  category,
  brand,
  category_rank,
  abc_class,
  xyz_class,
  net_amount,
  units,
  view_count,
  cart_rate,
  order_rate
FROM gold.product_performance
WHERE as_of_date = @to_date
ORDER BY net_rank, product_id
LIMIT @product_count
