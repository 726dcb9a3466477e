-- Accuracy of the forecasts that were served
-- Question: how near were the newest forecasts for each day to what was sold?
-- Grain: model
-- @to_date DATE: last target day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first target day (default: 27 days before @to_date)
-- @scope STRING: all, category or product (default: all)
-- @name STRING: which category or product; not read for all (default: all)
-- wape is the sum of absolute errors over the sum of sold units; bias the sum of errors over it. A product without a
-- row sold 0 units. Only days up to the newest in gold.daily_sales count.
WITH forecast AS (
  SELECT target_date, product_id, category, model, as_of_date, predicted_units
  FROM gold.demand_predictions
  WHERE
    target_date BETWEEN @from_date AND @to_date
    AND (@scope = 'all' OR (@scope = 'category' AND category = @name) OR (@scope = 'product' AND product_id = @name))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY target_date, product_id, model ORDER BY as_of_date DESC) = 1
),
actual AS (
  SELECT event_date, product_id, units
  FROM gold.daily_sales
  WHERE event_date >= @from_date
),
compared AS (
  SELECT
    forecast.target_date,
    forecast.model,
    forecast.predicted_units,
    CAST(COALESCE(actual.units, 0) AS FLOAT64) AS actual_units
  FROM forecast
  LEFT JOIN actual ON actual.event_date = forecast.target_date AND actual.product_id = forecast.product_id
  WHERE forecast.target_date <= (SELECT MAX(event_date) FROM actual)
)
SELECT
  model,
  COUNT(DISTINCT target_date) AS day_count,
  SUM(predicted_units) AS predicted_units,
  SUM(actual_units) AS actual_units,
  SAFE_DIVIDE(SUM(ABS(predicted_units - actual_units)), SUM(actual_units)) AS wape,
  SAFE_DIVIDE(SUM(predicted_units - actual_units), SUM(actual_units)) AS bias
FROM compared
GROUP BY model
ORDER BY wape, model
