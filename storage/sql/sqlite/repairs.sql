-- name: save
INSERT INTO repairs (portal, id, created_at, doc) VALUES (?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET doc = excluded.doc;

-- name: one
SELECT doc FROM repairs WHERE portal = ? AND id = ?;

-- name: latest
-- Ids begin with their time, so their order is that of the repairs.
SELECT doc FROM repairs WHERE portal = ? ORDER BY id DESC LIMIT ?;

-- name: erase
DELETE FROM repairs WHERE portal = ?;
