-- Cohort retention
-- Question: of the customers who first ordered in a month, which share orders in the months after it?
-- Grain: cohort_month, month_number (0 is the cohort's own month)
-- @to_date DATE: last day (default: newest event_date of gold.customer_daily_sales)
-- @from_date DATE: a day of the first cohort's month (default: 364 days before @to_date)
-- @known_from DATE: earlier orders are not looked at, so a customer may seem new (default: 365 days before @from_date)
-- Guests are not counted: nobody can tell whether they come back. A month in which nobody of the cohort ordered is a
-- row with 0; a month without first orders has no cohort. is_complete is false for a month not over on @to_date.
WITH orders AS (
  SELECT user_id, DATE_TRUNC(event_date, MONTH) AS order_month
  FROM gold.customer_daily_sales
  WHERE event_date BETWEEN @known_from AND @to_date AND order_count > 0 AND NOT is_guest
  GROUP BY 1, 2
),
customers AS (
  SELECT user_id, MIN(order_month) AS cohort_month
  FROM orders
  GROUP BY user_id
),
cohorts AS (
  SELECT cohort_month, COUNT(*) AS customer_count
  FROM customers
  WHERE cohort_month >= DATE_TRUNC(@from_date, MONTH)
  GROUP BY cohort_month
),
active AS (
  SELECT customers.cohort_month, orders.order_month, COUNT(*) AS active_count
  FROM orders
  JOIN customers ON customers.user_id = orders.user_id
  GROUP BY customers.cohort_month, orders.order_month
),
months AS (
  SELECT order_month
  FROM UNNEST(GENERATE_DATE_ARRAY(DATE_TRUNC(@from_date, MONTH), @to_date, INTERVAL 1 MONTH)) AS order_month
)
SELECT
  cohorts.cohort_month,
  DATE_DIFF(months.order_month, cohorts.cohort_month, MONTH) AS month_number,
  DATE_SUB(DATE_ADD(months.order_month, INTERVAL 1 MONTH), INTERVAL 1 DAY) <= @to_date AS is_complete,
  cohorts.customer_count,
  COALESCE(active.active_count, 0) AS active_count,
  ROUND(SAFE_DIVIDE(CAST(COALESCE(active.active_count, 0) AS NUMERIC), cohorts.customer_count), 6) AS retention_share
FROM cohorts
JOIN months ON months.order_month >= cohorts.cohort_month
LEFT JOIN active ON active.cohort_month = cohorts.cohort_month AND active.order_month = months.order_month
ORDER BY cohorts.cohort_month, month_number
