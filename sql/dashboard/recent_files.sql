-- Files of the landing folder
-- Question: which files came, and what became of them?
-- Grain: source, file_sha256
-- @file_count INT64: how many, the newest first (default: 30)
SELECT source, file_name, status, record_count, bad_line_count, route, reason, recorded_at
FROM ops.files
ORDER BY recorded_at DESC, source, file_name, file_sha256
LIMIT @file_count
