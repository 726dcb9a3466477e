-- Pipeline runs
-- Question: which runs of the daily pipeline ended, and what did the lake hold then?
-- Grain: run_id
-- @run_count INT64: how many, the newest first (default: 30)
SELECT
  run_id,
  dag_id,
  run_date,
  finished_at,
  offset_count,
  silver_count,
  duplicate_count,
  quarantine_count,
  late_count,
  prediction_count
FROM ops.runs
ORDER BY finished_at DESC, run_id
LIMIT @run_count
