-- Conversion funnel
-- Question: how many visits looked at a category, put something of it into the cart, and ordered it?
-- Grain: category
-- @to_date DATE: last day on which visits began (default: newest event_date of gold.conversion_funnel)
-- @from_date DATE: first day on which visits began (default: 27 days before @to_date)
-- A visit counts on its first day, once for each brand that it touched. Human visits do not look like a program's.
WITH steps AS (
  SELECT
    category,
    SUM(view_sessions) AS view_sessions,
    SUM(cart_sessions) AS cart_sessions,
    SUM(order_sessions) AS order_sessions,
    SUM(human_view_sessions) AS human_view_sessions,
    SUM(human_order_sessions) AS human_order_sessions
  FROM gold.conversion_funnel
  WHERE event_date BETWEEN @from_date AND @to_date
  GROUP BY category
)
SELECT
  category,
  view_sessions,
  cart_sessions,
  order_sessions,
  ROUND(SAFE_DIVIDE(CAST(cart_sessions AS NUMERIC), view_sessions), 6) AS cart_rate,
  ROUND(SAFE_DIVIDE(CAST(order_sessions AS NUMERIC), cart_sessions), 6) AS order_rate,
  ROUND(SAFE_DIVIDE(CAST(order_sessions AS NUMERIC), view_sessions), 6) AS conversion_rate,
  ROUND(SAFE_DIVIDE(CAST(human_order_sessions AS NUMERIC), human_view_sessions), 6) AS human_conversion_rate
FROM steps
ORDER BY view_sessions DESC, category
