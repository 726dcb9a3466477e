-- Demand: forecast and actual
-- Question: how near were the forecasts to what was sold?
-- Grain: target_date, product_id, model (the newest forecast for that day)
-- @to_date DATE: last target day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first target day (default: 27 days before @to_date)
-- Only days that have happened count, up to the newest in gold.daily_sales; a product without a row sold 0 units.
WITH forecast AS (
  SELECT target_date, product_id, category, model, as_of_date, horizon, predicted_units, is_fallback
  FROM gold.demand_predictions
  WHERE target_date BETWEEN @from_date AND @to_date
  QUALIFY ROW_NUMBER() OVER (PARTITION BY target_date, product_id, model ORDER BY as_of_date DESC) = 1
),
actual AS (
  SELECT event_date, product_id, units
  FROM gold.daily_sales
  WHERE event_date >= @from_date
)
SELECT
  forecast.target_date,
  forecast.product_id,
  forecast.category,
  forecast.model,
  forecast.as_of_date,
  forecast.horizon,
  forecast.is_fallback,
  forecast.predicted_units,
  COALESCE(actual.units, 0) AS actual_units,
  forecast.predicted_units - COALESCE(actual.units, 0) AS error_units
FROM forecast
LEFT JOIN actual ON actual.event_date = forecast.target_date AND actual.product_id = forecast.product_id
WHERE forecast.target_date <= (SELECT MAX(event_date) FROM actual)
ORDER BY forecast.target_date DESC, actual_units DESC, forecast.product_id, forecast.model
