-- Customer segments
-- Question: which groups of customers are there, how large are they, and what do they bring?
-- Grain: segment
-- @to_date DATE: the day at whose end customers are looked at (default: newest as_of_date of gold.customer_segments)
-- Customers without a segment are left out: they only cancelled, or too few ever ordered.
WITH customers AS (
  SELECT
    segments.segment,
    segments.silhouette,
    metrics.recency_days,
    metrics.order_count,
    metrics.net_amount,
    metrics.predicted_amount_90d
  FROM gold.customer_segments AS segments
  JOIN gold.customer_metrics AS metrics
    ON metrics.as_of_date = segments.as_of_date AND metrics.user_id = segments.user_id
  WHERE segments.as_of_date = @to_date AND metrics.as_of_date = @to_date AND segments.segment IS NOT NULL
)
SELECT
  segment,
  COUNT(*) AS customer_count,
  ROUND(SAFE_DIVIDE(CAST(COUNT(*) AS NUMERIC), SUM(COUNT(*)) OVER ()), 6) AS customer_share,
  ROUND(SAFE_DIVIDE(CAST(SUM(recency_days) AS NUMERIC), COUNT(*)), 2) AS mean_recency_days,
  ROUND(SAFE_DIVIDE(CAST(SUM(order_count) AS NUMERIC), COUNT(*)), 2) AS mean_order_count,
  SUM(net_amount) AS net_amount,
  ROUND(SAFE_DIVIDE(SUM(net_amount), SUM(SUM(net_amount)) OVER ()), 6) AS net_share,
  MAX(silhouette) AS silhouette
FROM customers
GROUP BY segment
ORDER BY net_amount DESC, segment
