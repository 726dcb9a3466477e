-- Recommended products
-- Question: which products go with a product?
-- Grain: product_id, rank
-- @to_date DATE: the day at whose end it was known (default: newest as_of_date of gold.product_recommendations)
-- @product STRING: whose, or all (default: all)
-- @row_count INT64: how many rows (default: 50)
SELECT
  product_id,
  rank,
  recommended_product_id,
  method,
  score,
  basket_count
FROM gold.product_recommendations
WHERE as_of_date = @to_date AND (@product = 'all' OR product_id = @product)
ORDER BY product_id, rank
LIMIT @row_count
