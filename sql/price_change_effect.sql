-- Effect of price changes
-- Question: what became of a product's units when its price changed?
-- Grain: product_id, change_date (changes with no other one in @day_count days before and after; best sold first)
-- @to_date DATE: last day, also of the days after a change (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day of a change (default: 90 days before @to_date)
-- @day_count INT64: calendar days compared, before and from the change on (default: 14)
-- @least_change NUMERIC: a smaller step of the price, as a fraction of it, is none (default: 0.05)
-- A day's price is gross over units; it is compared with that of the last day with sales, none longer ago than twice
-- @day_count before @from_date. price_before and price_after are gross over units of the days compared: NULL, with the
-- growth, where nothing was sold in them. Growth is NULL without a base above 0; elasticity is growth of units over
-- growth of the price, NULL where either is or the price is the same.
WITH days AS (
  SELECT event_date, product_id, units, gross_amount, SAFE_DIVIDE(gross_amount, units) AS price
  FROM gold.daily_sales
  WHERE event_date BETWEEN DATE_SUB(@from_date, INTERVAL (2 * @day_count) DAY) AND @to_date AND units > 0
),
steps AS (
  SELECT
    event_date, product_id, price, LAG(price) OVER (PARTITION BY product_id ORDER BY event_date) AS earlier_price
  FROM days
),
changes AS (
  SELECT
    event_date AS change_date,
    product_id,
    LAG(event_date) OVER (PARTITION BY product_id ORDER BY event_date) AS last_change_date,
    LEAD(event_date) OVER (PARTITION BY product_id ORDER BY event_date) AS next_change_date
  FROM steps
  WHERE earlier_price > 0 AND price <> earlier_price AND ABS(price - earlier_price) >= @least_change * earlier_price
),
alone AS (
  SELECT change_date, product_id
  FROM changes
  WHERE
    change_date >= @from_date
    AND DATE_DIFF(@to_date, change_date, DAY) >= @day_count - 1
    AND (last_change_date IS NULL OR DATE_DIFF(change_date, last_change_date, DAY) >= @day_count)
    AND (next_change_date IS NULL OR DATE_DIFF(next_change_date, change_date, DAY) >= @day_count)
),
compared AS (
  SELECT
    alone.change_date,
    alone.product_id,
    SUM(IF(days.event_date < alone.change_date, days.units, 0)) AS units_before,
    SUM(IF(days.event_date < alone.change_date, 0, days.units)) AS units_after,
    SUM(IF(days.event_date < alone.change_date, days.gross_amount, 0)) AS gross_before,
    SUM(IF(days.event_date < alone.change_date, 0, days.gross_amount)) AS gross_after
  FROM alone
  JOIN days ON
    days.product_id = alone.product_id
    AND DATE_DIFF(days.event_date, alone.change_date, DAY) >= -@day_count
    AND DATE_DIFF(days.event_date, alone.change_date, DAY) < @day_count
  GROUP BY alone.change_date, alone.product_id
),
priced AS (
  SELECT
    change_date,
    product_id,
    SAFE_DIVIDE(gross_before, units_before) AS price_before,
    SAFE_DIVIDE(gross_after, units_after) AS price_after,
    units_before,
    units_after,
    gross_before,
    gross_after
  FROM compared
),
grown AS (
  SELECT
    change_date,
    product_id,
    price_before,
    price_after,
    IF(price_before > 0, (price_after - price_before) / price_before, NULL) AS price_growth,
    units_before,
    units_after,
    SAFE_DIVIDE(CAST(units_after - units_before AS NUMERIC), units_before) AS units_growth,
    IF(gross_before > 0, (gross_after - gross_before) / gross_before, NULL) AS gross_growth
  FROM priced
)
SELECT
  change_date,
  product_id,
  ROUND(price_before, 4) AS price_before,
  ROUND(price_after, 4) AS price_after,
  ROUND(price_growth, 6) AS price_growth,
  units_before,
  units_after,
  ROUND(units_growth, 6) AS units_growth,
  ROUND(gross_growth, 6) AS gross_growth,
  ROUND(SAFE_DIVIDE(units_growth, price_growth), 4) AS elasticity
FROM grown
ORDER BY units_before DESC, change_date DESC, product_id
