-- The ledger by source
-- Question: what did the stream and each file bring, and where did it go?
-- Grain: query_id (one per checkpoint of the stream, one per file)
-- @source_count INT64: how many, the largest first (default: 20)
SELECT
  topic,
  query_id,
  COUNT(*) AS batch_count,
  SUM(bronze_count) AS record_count,
  SUM(silver_count) AS silver_count,
  SUM(duplicate_count) AS duplicate_count,
  SUM(quarantine_count) AS quarantine_count,
  SUM(late_count) AS late_count
FROM ops.ledger
GROUP BY topic, query_id
ORDER BY record_count DESC, query_id, topic
LIMIT @source_count
