-- Segments of registered users
-- Question: which groups of users does a source have, and what do they do?
-- Grain: source, segment
-- @to_date DATE: the day of the source's file (default: newest as_of_date of gold.user_segments)
-- user_share is of the source's users. A source whose newest file came on another day is left out. A NULL segment: too
-- few users for groups.
SELECT
  segments.source,
  segments.segment,
  COUNT(*) AS user_count,
  ROUND(
    SAFE_DIVIDE(CAST(COUNT(*) AS NUMERIC), SUM(COUNT(*)) OVER (PARTITION BY segments.source)), 6
  ) AS user_share,
  ROUND(SAFE_DIVIDE(CAST(SUM(users.days_since_login) AS NUMERIC), COUNT(*)), 2) AS mean_days_since_login,
  SUM(users.bought_count) AS products_bought,
  SUM(users.sold_count) AS products_sold,
  SUM(users.listed_count) AS products_listed,
  COUNTIF(users.has_app) AS users_with_app
FROM gold.user_segments AS segments
INNER JOIN silver.users_dim AS users
  ON
    users.source = segments.source
    AND users.user_id = segments.user_id
    AND users.as_of_date = segments.as_of_date
WHERE segments.as_of_date = @to_date
GROUP BY segments.source, segments.segment
ORDER BY segments.source, user_count DESC, segments.segment
