-- Changes of segment
-- Question: from which group to which did customers move between two days?
-- Grain: segment_before, segment_after
-- @to_date DATE: the later day (default: newest as_of_date of gold.customer_segments)
-- @from_date DATE: the earlier day (default: 7 days before @to_date)
-- customer_share is of all customers counted. NULL: not known as a customer yet, or without a segment on that day.
-- Nothing comes of a day that was not looked at.
WITH days AS (
  SELECT as_of_date, user_id, segment
  FROM gold.customer_segments
  WHERE as_of_date BETWEEN @from_date AND @to_date
),
customers AS (
  SELECT
    user_id,
    MAX(IF(as_of_date = @from_date, segment, NULL)) AS segment_before,
    MAX(IF(as_of_date = @to_date, segment, NULL)) AS segment_after
  FROM days
  GROUP BY user_id
)
SELECT
  @from_date AS from_date,
  @to_date AS to_date,
  segment_before,
  segment_after,
  COUNT(*) AS customer_count,
  ROUND(SAFE_DIVIDE(CAST(COUNT(*) AS NUMERIC), SUM(COUNT(*)) OVER ()), 6) AS customer_share
FROM customers
WHERE
  EXISTS (SELECT 1 FROM days WHERE as_of_date = @from_date)
  AND EXISTS (SELECT 1 FROM days WHERE as_of_date = @to_date)
  AND (segment_before IS NOT NULL OR segment_after IS NOT NULL)
GROUP BY segment_before, segment_after
ORDER BY customer_count DESC, segment_before, segment_after
