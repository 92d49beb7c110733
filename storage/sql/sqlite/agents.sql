-- name: one
SELECT doc FROM agent_statuses WHERE portal = ? AND extension = ?;

-- name: all
-- Some hundred rows at most; the primary key orders them.
SELECT doc FROM agent_statuses WHERE portal = ? ORDER BY extension;

-- name: save
INSERT INTO agent_statuses (portal, extension, user_id, doc) VALUES (?, ?, ?, ?)
ON CONFLICT (portal, extension) DO UPDATE SET user_id = excluded.user_id, doc = excluded.doc;

-- name: drop
DELETE FROM agent_statuses WHERE portal = ? AND extension = ?;

-- name: hasten
-- A waiting job of a lane is due at once.
UPDATE jobs INDEXED BY jobs_lane SET due_at = :now
WHERE portal = :portal AND lane = :lane AND key = :key AND state IN ('waiting', 'retrying') AND due_at > :now;

-- name: erase
DELETE FROM agent_statuses WHERE portal = ?;
