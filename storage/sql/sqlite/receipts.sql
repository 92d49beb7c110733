-- part: receipt
portal, source, digest, body, received_at, content_type, ev, state, call_id, error, correlation_id, repeats, id

-- name: receive
-- Keeps a raw event. A repeat of the digest only counts; `repeats` above 0 tells it from a new row.
INSERT INTO receipts (portal, source, digest, body, received_at, content_type, ev, state, call_id, error,
                      correlation_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, digest) DO UPDATE SET repeats = repeats + 1
RETURNING id, repeats;

-- name: mark
UPDATE receipts SET state = ?, call_id = coalesce(?, call_id), error = ? WHERE id = ?;

-- name: latest
SELECT {receipt} FROM receipts WHERE portal = ? ORDER BY received_at DESC, id DESC LIMIT ?;

-- name: latest_applied
-- Nearly every receipt is applied: walking back in time finds them at once.
SELECT {receipt} FROM receipts WHERE portal = ? AND state = 'applied'
ORDER BY received_at DESC, id DESC LIMIT ?;

-- name: latest_odd
-- The few that are not applied have an index of their own.
SELECT {receipt} FROM receipts WHERE portal = ? AND state = ? AND state <> 'applied'
ORDER BY received_at DESC, id DESC LIMIT ?;

-- name: portals
-- Every portal with receipts, hopping from one to the next by the index.
WITH RECURSIVE hop (portal) AS (
    SELECT min(portal) FROM receipts
    UNION ALL
    SELECT (SELECT min(r.portal) FROM receipts AS r WHERE r.portal > hop.portal) FROM hop
    WHERE hop.portal IS NOT NULL
)
SELECT portal FROM hop WHERE portal IS NOT NULL;

-- name: prune
DELETE FROM receipts WHERE id IN (
    SELECT id FROM receipts WHERE portal = ? AND received_at < ? ORDER BY received_at LIMIT ?
);

-- name: erase
DELETE FROM receipts WHERE portal = ?;
