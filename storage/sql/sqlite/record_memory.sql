-- name: save
INSERT INTO record_memory (portal, record, call_id, ended_at, doc) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (portal, record, call_id) DO UPDATE SET ended_at = excluded.ended_at, doc = excluded.doc;

-- name: history
-- The newest calls of a record; each with whether its own write is still to come.
SELECT doc, EXISTS (
    SELECT 1 FROM jobs INDEXED BY jobs_lane
    WHERE jobs.portal = m.portal AND jobs.lane = m.call_id AND jobs.key = 'record:' || m.record
        AND jobs.state IN ('blocked', 'waiting', 'retrying', 'running')
)
FROM record_memory AS m INDEXED BY record_memory_order
WHERE m.portal = ? AND m.record = ?
ORDER BY m.ended_at DESC, m.call_id DESC LIMIT 200;

-- name: erase
DELETE FROM record_memory WHERE portal = ?;
