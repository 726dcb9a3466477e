-- Daily revenue and its growth
-- Question: what did the shop sell each day, and how does that compare with the day and the week before?
-- Grain: event_date (shop days with an event)
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 27 days before @to_date)
-- Growth is (net - base) / base as a fraction; NULL where the base day is missing or not above 0.
WITH daily AS (
  SELECT
    event_date,
    SUM(order_count) AS order_count,
    SUM(units) AS units,
    SUM(gross_amount) AS gross_amount,
    SUM(cancelled_amount) AS cancelled_amount,
    SUM(net_amount) AS net_amount
  FROM gold.daily_sales
  WHERE event_date BETWEEN DATE_SUB(@from_date, INTERVAL 7 DAY) AND @to_date
  GROUP BY event_date
)
SELECT
  today.event_date,
  today.order_count,
  today.units,
  today.gross_amount,
  today.cancelled_amount,
  today.net_amount,
  IF(
    day_before.net_amount > 0,
    ROUND((today.net_amount - day_before.net_amount) / day_before.net_amount, 6), NULL
  ) AS net_growth_day,
  IF(
    week_before.net_amount > 0,
    ROUND((today.net_amount - week_before.net_amount) / week_before.net_amount, 6), NULL
  ) AS net_growth_week
FROM daily AS today
LEFT JOIN daily AS day_before ON day_before.event_date = DATE_SUB(today.event_date, INTERVAL 1 DAY)
LEFT JOIN daily AS week_before ON week_before.event_date = DATE_SUB(today.event_date, INTERVAL 7 DAY)
WHERE today.event_date >= @from_date
ORDER BY today.event_date
