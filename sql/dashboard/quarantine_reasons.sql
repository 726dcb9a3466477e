-- Quarantine by day and reason
-- Question: which rules rejected records, and when?
-- Grain: ingest_date, reason (a record that fails several rules counts under each)
-- @to_date DATE: last UTC day (default: newest ingest_date of silver.quarantine_counts)
-- @from_date DATE: first UTC day (default: 27 days before @to_date)
SELECT ingest_date, reason, row_count
FROM silver.quarantine_counts
WHERE ingest_date BETWEEN @from_date AND @to_date
ORDER BY ingest_date, reason
