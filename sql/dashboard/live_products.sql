-- Products of the newest 5 minutes
-- Question: which products brought in most in the newest 5-minute window?
-- Grain: product_id
-- @product_count INT64: how many products (default: 10)
SELECT window_start, window_end, revenue_rank, product_id, order_count, units, net_amount
FROM silver.latest_window_products
ORDER BY revenue_rank, product_id
LIMIT @product_count
