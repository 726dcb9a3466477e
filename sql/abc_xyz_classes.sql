-- ABC-XYZ classes of products
-- Question: which products carry the revenue (A, B, C), and how steady is the demand for them (X, Y, Z)?
-- Grain: product_id (with an event in the weeks looked at)
-- @to_date DATE: last day of the last week (default: newest event_date of gold.daily_sales)
-- @week_count INT64: weeks of 7 days, counted back from @to_date (default: 12)
-- @a_share NUMERIC: A ends where larger products bring this share of the net revenue (default: 0.8)
-- @b_share NUMERIC: B ends there, C follows (default: 0.95)
-- @x_variation NUMERIC: X varies at most so much: standard deviation of weekly units over their mean (default: 0.5)
-- @y_variation NUMERIC: Y varies at most so much, Z more (default: 1)
-- Products of equal revenue share a class; one without revenue above 0 is C and counts as 0 in the shares. A week
-- without a sale is 0 units. Without units the variation is NULL and the class Z. cumulative_share is NULL where no
-- product has revenue above 0. category is the product's on its newest day.
WITH days AS (
  SELECT
    product_id,
    category,
    DIV(DATE_DIFF(@to_date, event_date, DAY), 7) AS week_back,
    units,
    net_amount,
    ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY event_date DESC) AS age
  FROM gold.daily_sales
  WHERE event_date > DATE_SUB(@to_date, INTERVAL (7 * @week_count) DAY) AND event_date <= @to_date
),
weeks AS (
  SELECT
    product_id,
    week_back,
    MAX(IF(age = 1, category, NULL)) AS category,
    SUM(units) AS units,
    SUM(net_amount) AS net_amount
  FROM days
  GROUP BY product_id, week_back
),
products AS (
  SELECT
    product_id,
    MAX(category) AS category,
    SUM(units) AS units,
    SUM(units * units) AS squared_units,
    SUM(net_amount) AS net_amount
  FROM weeks
  GROUP BY product_id
),
earnings AS (
  SELECT
    product_id,
    category,
    units,
    net_amount,
    IF(net_amount > 0, net_amount, 0) AS earned_amount,
    IF(
      units > 0,
      SAFE_DIVIDE(
        CAST(@week_count AS FLOAT64) * CAST(squared_units AS FLOAT64) - CAST(units AS FLOAT64) * CAST(units AS FLOAT64),
        CAST(units AS FLOAT64) * CAST(units AS FLOAT64)
      ),
      NULL
    ) AS squared_variation
  FROM products
),
ranked AS (
  SELECT
    product_id,
    category,
    units,
    net_amount,
    earned_amount,
    -- Beyond 2^53 a square may be rounded to just below 0.
    CASE WHEN squared_variation < 0 THEN CAST(0 AS FLOAT64) ELSE SQRT(squared_variation) END AS units_variation,
    SUM(earned_amount) OVER () AS total_amount,
    SUM(earned_amount) OVER (ORDER BY earned_amount DESC) AS cumulative_amount,
    SUM(earned_amount) OVER (ORDER BY earned_amount DESC)
      - SUM(earned_amount) OVER (PARTITION BY earned_amount) AS larger_amount
  FROM earnings
)
SELECT
  product_id,
  category,
  CASE
    WHEN larger_amount < @a_share * total_amount THEN 'A'
    WHEN larger_amount < @b_share * total_amount THEN 'B'
    ELSE 'C'
  END AS abc_class,
  CASE WHEN units_variation <= @x_variation THEN 'X' WHEN units_variation <= @y_variation THEN 'Y' ELSE 'Z' END
    AS xyz_class,
  net_amount,
  IF(total_amount > 0, ROUND(cumulative_amount / total_amount, 6), NULL) AS cumulative_share,
  units,
  SAFE_DIVIDE(units, @week_count) AS units_a_week,
  units_variation
FROM ranked
ORDER BY net_amount DESC, product_id
