-- Moving averages
-- Question: how do the sales of the largest products or categories run, without the noise of single days?
-- Grain: event_date, name (every calendar day of the period, for the names with most units in it)
-- @to_date DATE: last day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 27 days before @to_date)
-- @scope STRING: product or category (default: product)
-- @name_count INT64: how many products or categories, the largest first (default: 10)
-- A mean is over the 7 or 28 calendar days that end on event_date; a day without a row counts as 0, also before a
-- product's first sale, so a mean is never NULL.
WITH named AS (
  SELECT event_date, IF(@scope = 'category', category, product_id) AS name, units, net_amount
  FROM gold.daily_sales
  WHERE event_date BETWEEN DATE_SUB(@from_date, INTERVAL 27 DAY) AND @to_date
),
sales AS (
  SELECT event_date, name, SUM(units) AS units, SUM(net_amount) AS net_amount
  FROM named
  GROUP BY event_date, name
),
totals AS (
  SELECT name, SUM(units) AS units
  FROM sales
  WHERE event_date >= @from_date
  GROUP BY name
),
names AS (
  SELECT name
  FROM totals
  QUALIFY ROW_NUMBER() OVER (ORDER BY units DESC, name) <= @name_count
),
days AS (
  SELECT day
  FROM UNNEST(GENERATE_DATE_ARRAY(DATE_SUB(@from_date, INTERVAL 27 DAY), @to_date)) AS day
),
filled AS (
  SELECT
    days.day AS event_date,
    names.name,
    COALESCE(sales.units, 0) AS units,
    CAST(COALESCE(sales.units, 0) AS NUMERIC) AS exact_units,
    COALESCE(sales.net_amount, 0) AS net_amount
  FROM names
  CROSS JOIN days
  LEFT JOIN sales ON sales.event_date = days.day AND sales.name = names.name
),
averaged AS (
  SELECT
    event_date,
    name,
    units,
    net_amount,
    AVG(exact_units) OVER (PARTITION BY name ORDER BY event_date ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS units_7,
    AVG(exact_units) OVER (PARTITION BY name ORDER BY event_date ROWS BETWEEN 27 PRECEDING AND CURRENT ROW) AS units_28,
    AVG(net_amount) OVER (PARTITION BY name ORDER BY event_date ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS net_7,
    AVG(net_amount) OVER (PARTITION BY name ORDER BY event_date ROWS BETWEEN 27 PRECEDING AND CURRENT ROW) AS net_28
  FROM filled
)
SELECT
  event_date,
  name,
  units,
  ROUND(units_7, 4) AS units_mean_7,
  ROUND(units_28, 4) AS units_mean_28,
  net_amount,
  ROUND(net_7, 4) AS net_amount_mean_7,
  ROUND(net_28, 4) AS net_amount_mean_28
FROM averaged
WHERE event_date >= @from_date
ORDER BY event_date DESC, units_mean_28 DESC, name
