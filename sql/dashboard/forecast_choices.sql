-- What a forecast can be shown for
-- Question: which categories and products have a forecast, and how large is it?
-- Grain: scope, name
-- @to_date DATE: newest target day (default: newest target_date of gold.demand_predictions)
-- @from_date DATE: first target day (default: 6 days before @to_date)
-- @choice_count INT64: how many of each, the largest first (default: 500)
WITH forecast AS (
  SELECT product_id, category, predicted_units
  FROM gold.demand_predictions
  WHERE target_date BETWEEN @from_date AND @to_date
),
choices AS (
  SELECT 'category' AS scope, category AS name, SUM(predicted_units) AS predicted_units
  FROM forecast
  GROUP BY category
  UNION ALL
  SELECT 'product' AS scope, product_id AS name, SUM(predicted_units) AS predicted_units
  FROM forecast
  GROUP BY product_id
)
SELECT scope, name
FROM choices
QUALIFY ROW_NUMBER() OVER (PARTITION BY scope ORDER BY predicted_units DESC, name) <= @choice_count
ORDER BY scope, predicted_units DESC, name
