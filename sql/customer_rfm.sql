-- Customers by recency and frequency
-- Question: how many customers bought lately and often, how many long ago or seldom, and what did they bring?
-- Grain: recency_score, frequency_score (5 is the fifth that bought last, and the fifth that bought most often)
-- @to_date DATE: the day at whose end customers are looked at (default: newest as_of_date of gold.customer_metrics)
-- Customers who only cancelled have no scores and are left out.
SELECT
  recency_score,
  frequency_score,
  COUNT(*) AS customer_count,
  SUM(order_count) AS order_count,
  SUM(net_amount) AS net_amount,
  COUNTIF(churn_risk >= 0.5) AS likely_lost_count
FROM gold.customer_metrics
WHERE as_of_date = @to_date AND recency_score IS NOT NULL
GROUP BY recency_score, frequency_score
ORDER BY recency_score DESC, frequency_score DESC
