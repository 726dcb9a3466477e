-- Accuracy of the forecasts that were served, by horizon
-- Question: how near were the forecasts to what was sold, one day ahead, two days ahead, …?
-- Grain: model, horizon
-- @to_date DATE: last target day (default: newest event_date of gold.daily_sales)
-- @from_date DATE: first target day (default: 27 days before @to_date)
-- @scope STRING: all, category or product (default: all)
-- @name STRING: which category or product; not read for all (default: all)
-- Errors are by product and day. wape is the sum of absolute errors over the sum of sold units; bias the sum of errors
-- over it; both are NULL where nothing was sold. A product without a row sold 0 units. Only days up to the newest in
-- gold.daily_sales count. Every forecast counts, also one that a later one has replaced: at its own horizon.
WITH forecast AS (
  SELECT target_date, product_id, model, horizon, predicted_units, is_fallback
  FROM gold.demand_predictions
  WHERE
    target_date BETWEEN @from_date AND @to_date
    AND (@scope = 'all' OR (@scope = 'category' AND category = @name) OR (@scope = 'product' AND product_id = @name))
),
actual AS (
  SELECT event_date, product_id, units
  FROM gold.daily_sales
  WHERE event_date >= @from_date  -- not only to to_date: the shop may have been closed then, and sold later
),
compared AS (
  SELECT
    forecast.target_date,
    forecast.model,
    forecast.horizon,
    forecast.is_fallback,
    forecast.predicted_units,
    CAST(COALESCE(actual.units, 0) AS FLOAT64) AS actual_units
  FROM forecast
  LEFT JOIN actual ON actual.event_date = forecast.target_date AND actual.product_id = forecast.product_id
  WHERE forecast.target_date <= (SELECT MAX(event_date) FROM actual)
)
SELECT
  model,
  horizon,
  COUNT(DISTINCT target_date) AS day_count,
  COUNT(*) AS forecast_count,
  COUNTIF(is_fallback) AS fallback_count,
  SUM(predicted_units) AS predicted_units,
  SUM(actual_units) AS actual_units,
  SAFE_DIVIDE(SUM(ABS(predicted_units - actual_units)), SUM(actual_units)) AS wape,
  SAFE_DIVIDE(SUM(predicted_units - actual_units), SUM(actual_units)) AS bias
FROM compared
GROUP BY model, horizon
ORDER BY model, horizon
