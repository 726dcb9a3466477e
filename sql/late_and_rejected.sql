-- Late and rejected records
-- Question: which share of each day's records came late, was a copy, or was rejected?
-- Grain: ingest_date (UTC days on which a record came in)
-- @to_date DATE: last UTC day (default: newest ingest_date of silver.ingest_counts)
-- @from_date DATE: first UTC day (default: 27 days before @to_date)
-- Late records are valid and kept: late_share is of the valid ones, and NULL on a day without any. The other shares
-- are of all records.
WITH days AS (
  SELECT
    ingest_date,
    silver_count + duplicate_count + quarantine_count AS record_count,
    silver_count,
    late_count,
    duplicate_count,
    quarantine_count
  FROM silver.ingest_counts
  WHERE ingest_date BETWEEN @from_date AND @to_date
)
SELECT
  ingest_date,
  record_count,
  silver_count,
  late_count,
  duplicate_count,
  quarantine_count AS rejected_count,
  ROUND(SAFE_DIVIDE(CAST(late_count AS NUMERIC), silver_count), 6) AS late_share,
  ROUND(SAFE_DIVIDE(CAST(duplicate_count AS NUMERIC), record_count), 6) AS duplicate_share,
  ROUND(SAFE_DIVIDE(CAST(quarantine_count AS NUMERIC), record_count), 6) AS rejected_share
FROM days
ORDER BY ingest_date
