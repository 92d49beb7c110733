-- part: request
portal, platform, operation, at, seconds, status, code, request, answer, correlation_id

-- name: add
INSERT INTO requests ({request}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: latest
SELECT {request} FROM requests WHERE portal = ? ORDER BY at DESC, id DESC LIMIT ?;

-- name: portals
-- Every portal in the log, hopping from one to the next by the index.
WITH RECURSIVE hop (portal) AS (
    SELECT min(portal) FROM requests
    UNION ALL
    SELECT (SELECT min(r.portal) FROM requests AS r WHERE r.portal > hop.portal) FROM hop
    WHERE hop.portal IS NOT NULL
)
SELECT portal FROM hop WHERE portal IS NOT NULL;

-- name: prune
DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE portal = ? AND at < ? ORDER BY at LIMIT ?
);

-- name: erase
DELETE FROM requests WHERE portal = ?;

-- name: probe
INSERT INTO probe (one, at) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET at = excluded.at;
