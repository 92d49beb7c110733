-- part: row
portal, key, digest, started_at, ended_at, how, call_id, doc

-- part: difference
portal, call_id, kind, state, found_at, updated_at, doc

-- name: save_row
INSERT INTO history_rows ({row}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, key) DO UPDATE SET
    digest = excluded.digest, started_at = excluded.started_at, ended_at = excluded.ended_at, how = excluded.how,
    call_id = excluded.call_id, doc = excluded.doc;

-- name: settled_digests
-- Of a JSON list of contents those that need no second look.
SELECT one.value FROM json_each(:digests) AS one WHERE EXISTS (
    SELECT 1 FROM history_rows AS h INDEXED BY history_rows_settled
    WHERE h.portal = :portal AND h.digest = one.value AND h.how IN ('matched', 'filled', 'created')
);

-- name: row_of
SELECT {row} FROM history_rows INDEXED BY history_rows_call WHERE portal = ? AND call_id = ? LIMIT 1;

-- name: calls_from_history
-- Those that no webhook had told of, by the row's start.
SELECT c.doc FROM history_rows AS h INDEXED BY history_rows_start
CROSS JOIN calls AS c ON c.portal = :portal AND c.id = h.call_id
WHERE h.portal = :portal AND h.started_at BETWEEN :since AND :until AND h.how = 'created';

-- name: calls_starting
SELECT doc FROM calls INDEXED BY calls_start
WHERE portal = ? AND started_at BETWEEN ? AND ? ORDER BY started_at, id LIMIT 50;

-- name: rows_between
SELECT {row} FROM history_rows INDEXED BY history_rows_start
WHERE portal = ? AND started_at >= ? AND started_at < ? ORDER BY started_at;

-- name: recovered
-- What webhooks had not told, by the calls' ends.
SELECT {row} FROM history_rows INDEXED BY history_rows_mended
WHERE portal = ? AND ended_at >= ? AND ended_at <= ? AND how IN ('filled', 'created', 'failed')
ORDER BY ended_at;

-- name: calls_by_ids
SELECT doc FROM calls WHERE portal = ? AND id IN (SELECT value FROM json_each(?));

-- name: calls_without_row
-- Calls of a period that the PBX's history has not shown.
SELECT doc FROM calls AS c INDEXED BY calls_start
WHERE portal = :portal AND started_at >= :since AND started_at < :until AND NOT EXISTS (
    SELECT 1 FROM history_rows AS h INDEXED BY history_rows_call
    WHERE h.portal = :portal AND h.call_id = c.id AND h.call_id IS NOT NULL
);

-- name: steps_of
-- How the writing of these calls (a JSON list) stands.
SELECT jobs.lane, jobs.kind, jobs.state, jobs.due_at, jobs.error
FROM json_each(?) AS one CROSS JOIN jobs INDEXED BY jobs_lane
WHERE jobs.portal = ? AND jobs.lane = one.value AND jobs.kind IN ('register', 'finish') ORDER BY jobs.id;

-- name: differences_of_calls
SELECT {difference} FROM differences
WHERE portal = ? AND call_id IN (SELECT value FROM json_each(?)) AND state <> 'gone';

-- name: differences_of
SELECT {difference} FROM differences WHERE portal = ? AND call_id = ?;

-- name: differences_in
SELECT {difference} FROM differences INDEXED BY differences_state
WHERE portal = ? AND state = ? ORDER BY found_at DESC, call_id LIMIT ?;

-- name: save_difference
INSERT INTO differences ({difference}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, call_id, kind) DO UPDATE SET
    state = excluded.state, found_at = excluded.found_at, updated_at = excluded.updated_at, doc = excluded.doc;

-- name: to_compare
-- Written calls whose record has been at rest for a while and that were not compared since.
SELECT doc FROM calls AS c INDEXED BY calls_start
WHERE portal = :portal AND started_at >= :since AND updated_at < :changed AND bitrix_call_id IS NOT NULL
    AND json_extract(doc, '$.finished') = 1
    AND coalesce((SELECT at FROM compared_calls AS k WHERE k.portal = :portal AND k.call_id = c.id), 0) < :compared
ORDER BY started_at LIMIT :limit;

-- name: unwritten
-- Ended calls of which no finish was acknowledged, not looked into since.
SELECT doc FROM calls AS c INDEXED BY calls_start
WHERE portal = :portal AND started_at >= :since AND updated_at < :changed AND phase = 'ended'
    AND json_extract(doc, '$.finished') IS NULL AND json_extract(doc, '$.skipped') IS NULL
    AND coalesce((SELECT at FROM compared_calls AS k WHERE k.portal = :portal AND k.call_id = c.id), 0) < :compared
ORDER BY started_at LIMIT :limit;

-- name: save_compared
INSERT INTO compared_calls (portal, call_id, at) VALUES (?, ?, ?)
ON CONFLICT (portal, call_id) DO UPDATE SET at = excluded.at;

-- name: last_heard
-- Walks back in time; nearly every receipt is the PBX's.
SELECT received_at FROM receipts INDEXED BY receipts_time
WHERE portal = ? AND source = 'unitalk' ORDER BY received_at DESC LIMIT 1;

-- name: save_outage
INSERT INTO outages (portal, began_at, kind, told, doc) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (portal, began_at, kind) DO UPDATE SET told = excluded.told, doc = excluded.doc;

-- name: open_outages
SELECT doc FROM outages INDEXED BY outages_open WHERE portal = ? AND told = 0 ORDER BY began_at;

-- name: last_beat
SELECT at FROM heartbeats WHERE name = ?;

-- name: beat
INSERT INTO heartbeats (name, at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at;

-- name: filed
SELECT digest, file_id FROM filed_ledgers WHERE portal = ? AND day = ?;

-- name: save_filed
INSERT INTO filed_ledgers (portal, day, digest, file_id, filed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (portal, day) DO UPDATE SET
    digest = excluded.digest, file_id = excluded.file_id, filed_at = excluded.filed_at;

-- name: portals
-- Every portal with rows, hopping from one to the next by the index.
WITH RECURSIVE hop (portal) AS (
    SELECT min(portal) FROM history_rows
    UNION ALL
    SELECT (SELECT min(r.portal) FROM history_rows AS r WHERE r.portal > hop.portal) FROM hop
    WHERE hop.portal IS NOT NULL
)
SELECT portal FROM hop WHERE portal IS NOT NULL;

-- name: prune_compared
-- Nobody compares a call again after so long.
DELETE FROM compared_calls WHERE (portal, call_id) IN (
    SELECT portal, call_id FROM compared_calls INDEXED BY compared_calls_time
    WHERE portal = ? AND at < ? ORDER BY at LIMIT ?
);

-- name: prune_rows
DELETE FROM history_rows WHERE (portal, key) IN (
    SELECT portal, key FROM history_rows INDEXED BY history_rows_start
    WHERE portal = ? AND started_at < ? ORDER BY started_at LIMIT ?
);

-- name: prune_differences
-- What was put right long ago.
DELETE FROM differences WHERE (portal, call_id, kind) IN (
    SELECT portal, call_id, kind FROM differences INDEXED BY differences_state
    WHERE portal = ? AND state = 'gone' AND found_at < ? ORDER BY found_at LIMIT ?
);

-- name: erase_rows
DELETE FROM history_rows WHERE portal = ?;

-- name: erase_compared
DELETE FROM compared_calls WHERE portal = ?;

-- name: erase_differences
DELETE FROM differences WHERE portal = ?;

-- name: erase_outages
DELETE FROM outages WHERE portal = ?;

-- name: erase_filed
DELETE FROM filed_ledgers WHERE portal = ?;
