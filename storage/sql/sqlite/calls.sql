-- name: save
-- The document is the truth; the columns beside it are what it is found by.
INSERT INTO calls (portal, id, pbx_id, pbx_dbid, number, bitrix_call_id, phase, started_at, first_seen_at,
                   updated_at, doc, unmatched)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET
    pbx_id = excluded.pbx_id, pbx_dbid = excluded.pbx_dbid, number = excluded.number,
    bitrix_call_id = excluded.bitrix_call_id, phase = excluded.phase, started_at = excluded.started_at,
    first_seen_at = excluded.first_seen_at, updated_at = excluded.updated_at, doc = excluded.doc, unmatched = excluded.unmatched;

-- name: one
SELECT doc FROM calls WHERE portal = ? AND id = ?;

-- name: by_pbx
-- Two searches, one by each index; `=` never matches NULL, so an unknown id finds nothing.
SELECT doc FROM calls WHERE rowid IN (
    SELECT rowid FROM calls WHERE portal = :portal AND pbx_id = :pbx_id
    UNION
    SELECT rowid FROM calls WHERE portal = :portal AND pbx_dbid = :pbx_dbid
)
ORDER BY first_seen_at DESC, id DESC LIMIT 20;

-- name: by_bitrix_id
SELECT doc FROM calls INDEXED BY calls_bitrix_id WHERE portal = ? AND bitrix_call_id = ? ORDER BY first_seen_at DESC LIMIT 1;

-- name: unnamed
SELECT doc FROM calls INDEXED BY calls_client
WHERE portal = ? AND number = ? AND first_seen_at >= ? AND bitrix_call_id IS NULL AND number IS NOT NULL
ORDER BY first_seen_at DESC, id DESC LIMIT 50;

-- name: of_client
SELECT doc FROM calls INDEXED BY calls_client
WHERE portal = ? AND first_seen_at >= ? AND number = ? AND number IS NOT NULL
ORDER BY first_seen_at DESC, id DESC LIMIT 20;

-- name: newest
SELECT doc FROM calls WHERE portal = ? ORDER BY first_seen_at DESC, id DESC LIMIT ?;

-- name: newest_before
SELECT doc FROM calls WHERE portal = ? AND (first_seen_at, id) < (?, ?)
ORDER BY first_seen_at DESC, id DESC LIMIT ?;

-- name: unmatched
-- Written calls of an extension that had no user, the newest first.
SELECT doc FROM calls INDEXED BY calls_unmatched WHERE portal = ? AND unmatched = ?
ORDER BY first_seen_at DESC, id DESC LIMIT ?;

-- name: unmatched_counts
SELECT unmatched, count(*) FROM calls INDEXED BY calls_unmatched
WHERE portal = ? AND unmatched IS NOT NULL GROUP BY unmatched;

-- name: unmatched_count
SELECT count(*) FROM calls INDEXED BY calls_unmatched WHERE portal = ? AND unmatched = ?;

-- name: erase
DELETE FROM calls WHERE portal = ?;
