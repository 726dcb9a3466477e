-- Category growth
-- Question: which categories grow, compared with the same number of days just before?
-- Grain: category (with an event in either period)
-- @to_date DATE: last day of the period (default: newest event_date of gold.category_revenue)
-- @from_date DATE: first day of the period (default: 6 days before @to_date)
-- Growth is (net - base) / base as a fraction; NULL where the base is not above 0. Share is of all categories' net.
WITH periods AS (
  SELECT
    category,
    SUM(IF(event_date >= @from_date, units, 0)) AS units,
    SUM(IF(event_date >= @from_date, net_amount, 0)) AS net_amount,
    SUM(IF(event_date < @from_date, net_amount, 0)) AS net_amount_before
  FROM gold.category_revenue
  WHERE event_date BETWEEN DATE_SUB(@from_date, INTERVAL (DATE_DIFF(@to_date, @from_date, DAY) + 1) DAY) AND @to_date
  GROUP BY category
)
SELECT
  category,
  units,
  net_amount,
  net_amount_before,
  IF(net_amount_before > 0, ROUND((net_amount - net_amount_before) / net_amount_before, 6), NULL) AS net_growth,
  IF(SUM(net_amount) OVER () > 0, ROUND(net_amount / SUM(net_amount) OVER (), 6), NULL) AS net_share
FROM periods
ORDER BY net_amount DESC, category
