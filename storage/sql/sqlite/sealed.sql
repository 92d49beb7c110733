-- What is sealed, for a change of keys (resealing.py). Small tables, read whole once at a start.

-- name: portals
SELECT member_id, application_token, unitalk_key FROM portals;

-- name: pairs
-- A dead pair is not used any more, so nobody needs to open it.
SELECT portal, user_id, access, refresh FROM tokens WHERE NOT dead;

-- name: webhook_tokens
SELECT portal, hash, token FROM webhook_tokens WHERE expires_at IS NULL OR expires_at >= ?;

-- name: reseal_portal
UPDATE portals SET application_token = ?, unitalk_key = ? WHERE member_id = ?;

-- name: reseal_pair
-- The generation stays: it is the same pair.
UPDATE tokens SET access = ?, refresh = ? WHERE portal = ? AND user_id = ?;

-- name: reseal_webhook_token
UPDATE webhook_tokens SET hash = ?, token = ? WHERE portal = ? AND hash = ?;
