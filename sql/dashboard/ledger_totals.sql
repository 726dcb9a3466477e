-- The ledger's sums
-- Question: how many records were taken in, and where did they go?
-- Grain: one row
-- missing_count is what the ledger says came in but went nowhere; 0 in a balanced lake.
SELECT
  COUNT(*) AS batch_count,
  COALESCE(SUM(bronze_count), 0) AS record_count,
  COALESCE(SUM(silver_count), 0) AS silver_count,
  COALESCE(SUM(duplicate_count), 0) AS duplicate_count,
  COALESCE(SUM(quarantine_count), 0) AS quarantine_count,
  COALESCE(SUM(late_count), 0) AS late_count,
  COALESCE(SUM(ABS(bronze_count - silver_count - duplicate_count - quarantine_count - COALESCE(erased_count, 0))), 0) AS missing_count
FROM ops.ledger
