-- Category growth by week or month
-- Question: how does each category grow from week to week, or from month to month?
-- Grain: period_start, category (with an event in the period or in the one before it)
-- @to_date DATE: last day (default: newest event_date of gold.category_revenue)
-- @from_date DATE: a day of the first period (default: 83 days before @to_date)
-- @period STRING: month, or else weeks from Monday (default: week)
-- Growth is (net - base) / base as a fraction, the base being the period before; NULL where the base is not above 0,
-- and for a period that is not over on @to_date. Share is of all categories' net, NULL where that is not above 0.
WITH days AS (
  SELECT
    IF(@period = 'month', DATE_TRUNC(event_date, MONTH), DATE_TRUNC(event_date, WEEK(MONDAY))) AS period_start,
    category,
    units,
    net_amount
  FROM gold.category_revenue
  WHERE
    event_date BETWEEN
      IF(
        @period = 'month', DATE_SUB(DATE_TRUNC(@from_date, MONTH), INTERVAL 1 MONTH),
        DATE_SUB(DATE_TRUNC(@from_date, WEEK(MONDAY)), INTERVAL 7 DAY)
      )
      AND @to_date
),
sales AS (
  SELECT period_start, category, SUM(units) AS units, SUM(net_amount) AS net_amount
  FROM days
  GROUP BY period_start, category
),
moved AS (
  SELECT period_start, category, units, net_amount, CAST(0 AS NUMERIC) AS net_amount_before
  FROM sales
  UNION ALL
  SELECT
    IF(@period = 'month', DATE_ADD(period_start, INTERVAL 1 MONTH), DATE_ADD(period_start, INTERVAL 7 DAY)),
    category,
    0,
    CAST(0 AS NUMERIC),
    net_amount
  FROM sales
),
compared AS (
  SELECT
    period_start,
    DATE_SUB(
      IF(@period = 'month', DATE_ADD(period_start, INTERVAL 1 MONTH), DATE_ADD(period_start, INTERVAL 7 DAY)),
      INTERVAL 1 DAY
    ) AS period_end,
    category,
    SUM(units) AS units,
    SUM(net_amount) AS net_amount,
    SUM(net_amount_before) AS net_amount_before
  FROM moved
  WHERE
    period_start BETWEEN IF(@period = 'month', DATE_TRUNC(@from_date, MONTH), DATE_TRUNC(@from_date, WEEK(MONDAY)))
      AND @to_date
  GROUP BY period_start, category
)
SELECT
  period_start,
  category,
  period_end <= @to_date AS is_complete,
  units,
  net_amount,
  net_amount_before,
  IF(
    period_end <= @to_date AND net_amount_before > 0,
    ROUND((net_amount - net_amount_before) / net_amount_before, 6), NULL
  ) AS net_growth,
  IF(
    SUM(net_amount) OVER (PARTITION BY period_start) > 0,
    ROUND(net_amount / SUM(net_amount) OVER (PARTITION BY period_start), 6), NULL
  ) AS net_share
FROM compared
ORDER BY period_start DESC, net_amount DESC, category
