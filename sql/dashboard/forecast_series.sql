-- Demand over time: sold and forecast
-- Question: how many units were sold each day, and how many did each model's newest forecast expect?
-- Grain: target_date, model (NULL: what was sold)
-- @to_date DATE: last day with sales (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first day (default: 41 days before @to_date)
-- @scope STRING: all, category or product (default: all)
-- @name STRING: which category or product; not read for all (default: all)
-- A day without a sale is 0 units. Forecasts reach as far beyond @to_date as they were made for. The limits of the 80%
-- and 95% bands are NULL but for a product: the sum of products' bands is no band of their sum.
WITH days AS (
  SELECT day
  FROM UNNEST(GENERATE_DATE_ARRAY(@from_date, @to_date)) AS day
),
sold AS (
  SELECT event_date, SUM(units) AS units
  FROM gold.daily_sales
  WHERE
    event_date BETWEEN @from_date AND @to_date
    AND (@scope = 'all' OR (@scope = 'category' AND category = @name) OR (@scope = 'product' AND product_id = @name))
  GROUP BY event_date
),
newest AS (
  SELECT
    target_date, product_id, category, model, as_of_date, predicted_units, lower_80, upper_80, lower_95, upper_95
  FROM gold.demand_predictions
  WHERE
    target_date >= @from_date
    AND (@scope = 'all' OR (@scope = 'category' AND category = @name) OR (@scope = 'product' AND product_id = @name))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY target_date, product_id, model ORDER BY as_of_date DESC) = 1
),
expected AS (
  SELECT
    target_date,
    model,
    SUM(predicted_units) AS units,
    MAX(as_of_date) AS as_of_date,
    CASE WHEN @scope = 'product' THEN MAX(lower_80) END AS lower_80,
    CASE WHEN @scope = 'product' THEN MAX(upper_80) END AS upper_80,
    CASE WHEN @scope = 'product' THEN MAX(lower_95) END AS lower_95,
    CASE WHEN @scope = 'product' THEN MAX(upper_95) END AS upper_95
  FROM newest
  GROUP BY target_date, model
)
SELECT
  days.day AS target_date,
  CAST(NULL AS STRING) AS model,
  CAST(COALESCE(sold.units, 0) AS FLOAT64) AS units,
  CAST(NULL AS DATE) AS as_of_date,
  CAST(NULL AS FLOAT64) AS lower_80,
  CAST(NULL AS FLOAT64) AS upper_80,
  CAST(NULL AS FLOAT64) AS lower_95,
  CAST(NULL AS FLOAT64) AS upper_95
FROM days
LEFT JOIN sold ON sold.event_date = days.day
UNION ALL
SELECT target_date, model, units, as_of_date, lower_80, upper_80, lower_95, upper_95
FROM expected
ORDER BY target_date, model
