-- Customers of most value
-- Question: who is expected to bring most in the next 90 days, and how lately, often and much did they buy?
-- Grain: user_id (ranked by the amount expected; equal amounts share a rank)
-- @to_date DATE: the day at whose end customers are looked at (default: newest as_of_date of gold.customer_metrics)
-- @customer_count INT64: how many customers (default: 20)
-- Customers of whom nothing can be expected, because they never ordered or too few came again, are left out.
SELECT
  RANK() OVER (ORDER BY predicted_amount_90d DESC) AS value_rank,
  user_id,
  predicted_amount_90d,
  churn_risk,
  recency_days,
  order_count,
  net_amount,
  recency_score,
  frequency_score,
  monetary_score
FROM gold.customer_metrics
WHERE as_of_date = @to_date AND predicted_amount_90d IS NOT NULL
ORDER BY predicted_amount_90d DESC, user_id
LIMIT @customer_count
